"""Errors as problem documents: the table is whole, details leak only where they are meant for the client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from cluster.errors import StoreUnavailable
from encoders.errors import Damaged, FarmError, Fault
from gateway import errors, problems


class Unlisted(FarmError):
    """A caller's error that the table does not know."""

    code = "unlisted"
    fault = Fault.CALLER


class Body(BaseModel):
    """A body with one number."""

    number: int


def application() -> FastAPI:
    app = FastAPI()
    problems.install(app)
    raised: dict[str, Exception] = {
        "missing": errors.UnknownResource("no video abc"),
        "unlisted": Unlisted("say something else"),
        "damaged": Damaged("half of it does not decode"),
        "store": StoreUnavailable("node-7.internal refused the connection"),
        "bug": KeyError("secret-value"),
        "anonymous": errors.NotAuthenticated("send a bearer token"),
    }

    @app.get("/raise/{name}")
    async def _raise(name: str) -> None:
        raise raised[name]

    @app.post("/body")
    async def _body(body: Body) -> None: ...

    return app


@pytest.fixture
def client() -> Iterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(application(), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://farm")


async def problem_of(client: httpx.AsyncClient, name: str) -> tuple[httpx.Response, dict[str, Any]]:
    async with client:
        answer = await client.get(f"/raise/{name}")
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == answer.status_code
    assert len(document["error_id"]) == 16
    return answer, document


async def test_a_known_error_has_its_status_code_and_detail(client: httpx.AsyncClient) -> None:
    answer, document = await problem_of(client, "missing")
    assert (answer.status_code, document["code"], document["detail"]) == (404, "not_found", "no video abc")


@pytest.mark.parametrize(("name", "status"), [("unlisted", 400), ("damaged", 422)])
async def test_an_error_that_the_table_lacks_is_answered_by_its_fault(
    client: httpx.AsyncClient, name: str, status: int
) -> None:
    answer, document = await problem_of(client, name)
    assert answer.status_code == status
    assert document["detail"]


async def test_infrastructure_keeps_its_details_and_asks_to_come_back(client: httpx.AsyncClient) -> None:
    answer, document = await problem_of(client, "store")
    assert answer.status_code == 503
    assert "retry-after" in answer.headers
    assert document["code"] == "store_unavailable"
    assert "node-7" not in answer.text


async def test_a_bug_tells_its_error_id_and_nothing_else(client: httpx.AsyncClient) -> None:
    answer, document = await problem_of(client, "bug")
    assert (answer.status_code, document["code"]) == (500, "internal")
    assert "secret-value" not in answer.text
    assert "KeyError" not in answer.text


async def test_a_missing_token_is_challenged(client: httpx.AsyncClient) -> None:
    answer, _ = await problem_of(client, "anonymous")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_body_that_does_not_fit_names_the_place_and_not_the_value(client: httpx.AsyncClient) -> None:
    async with client:
        answer = await client.post("/body", json={"number": "hunter2"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/body/number"
    assert "hunter2" not in answer.text


async def test_an_unknown_path_is_a_problem_too(client: httpx.AsyncClient) -> None:
    async with client:
        answer = await client.get("/nowhere")
    assert answer.json()["code"] == "not_found"


def test_every_error_of_the_gateway_has_its_own_line_in_the_table() -> None:
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.GatewayError)}
    assert kinds - {errors.GatewayError} <= set(problems.ANSWERS)


def test_a_code_means_one_status() -> None:
    statuses: dict[str, set[int]] = {}
    for kind, answer in problems.ANSWERS.items():
        statuses.setdefault(kind.code, set()).add(answer.status)
    assert {code for code, found in statuses.items() if len(found) > 1} == set()
