"""The error answers that routes declare in OpenAPI."""

from __future__ import annotations

from typing import Any

from gateway import schemas
from gateway.problems import MEDIA_TYPE

MEANINGS = {
    400: "Request not possible",
    401: "Not authenticated",
    403: "Address not valid, or for operators only",
    404: "Not found, or somebody else's",
    409: "Not possible in this state",
    408: "The body stood still",
    410: "Gone",
    411: "Content-Length required",
    413: "File or body too large",
    415: "Content type not allowed",
    416: "Range not satisfiable",
    422: "Request does not fit",
    429: "Too many uploads started, or too much under way",
    503: "Not now",
    507: "Storage is full",
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries of problem answers."""
    schema = {"$ref": "#/components/schemas/ProblemResponse"}
    return {
        status: {"description": MEANINGS[status], "content": {MEDIA_TYPE: {"schema": schema}}} for status in statuses
    }


def declare_problems(document: dict[str, Any]) -> dict[str, Any]:
    """Say in an OpenAPI document what no route says of itself: the problem model, and what may be answered anywhere."""
    schemas_ = document.setdefault("components", {}).setdefault("schemas", {})
    schemas_["ProblemResponse"] = schemas.ProblemResponse.model_json_schema(ref_template="#/components/schemas/{model}")
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas_.pop(unused, None)
    for operations in document["paths"].values():
        for operation in operations.values():
            answers = operation["responses"]
            if "422" in answers:  # the framework's own model, which `problems` never answers with
                answers["422"] = refusals(422)[422]
            anywhere = [503] if "401" in answers else []
            anywhere += [400, 408, 413] if "requestBody" in operation else []
            for status in anywhere:
                answers.setdefault(str(status), refusals(status)[status])
    return document
