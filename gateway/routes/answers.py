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
    410: "Gone",
    413: "File too large",
    415: "Content type not allowed",
    416: "Range not satisfiable",
    422: "Request does not fit",
    429: "Too many uploads started, or too much under way",
    503: "The farm takes no more of this work now",
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries of problem answers."""
    schema = {"$ref": "#/components/schemas/ProblemResponse"}
    return {
        status: {"description": MEANINGS[status], "content": {MEDIA_TYPE: {"schema": schema}}} for status in statuses
    }


def declare_problem(document: dict[str, Any]) -> dict[str, Any]:
    """Add the problem model, which no route returns, to an OpenAPI document."""
    model = schemas.ProblemResponse.model_json_schema(ref_template="#/components/schemas/{model}")
    document.setdefault("components", {}).setdefault("schemas", {})["ProblemResponse"] = model
    return document
