"""The page, health, metrics, and the description of the API."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from gateway_app import Gateway, running_gateway

from gateway.problems import MEDIA_TYPE
from gateway.routes.page import FILES

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def farm(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """One gateway for the file: tests keep apart by video, user or tier."""
    async with running_gateway(tmp_path_factory.mktemp("farm")) as gateway:
        yield gateway


async def test_the_page_loads_only_its_own_files_and_its_policy_says_so(farm: Gateway) -> None:
    answer = await farm.http.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    named = re.findall(r'(?:src|href)="(/page/[^"]+)"', answer.text)
    assert named
    for path in named:
        assert (await farm.http.get(path)).status_code == 200, path


@pytest.mark.parametrize("name", sorted(FILES))
async def test_nothing_of_the_page_comes_from_elsewhere(farm: Gateway, name: str) -> None:
    text = (await farm.http.get(f"/page/{name}")).text
    outside = [url for url in re.findall(r"https?://[^\s\"'`)]+", text) if "www.w3.org" not in url]
    assert outside == []
    assert "onclick=" not in text
    assert "style=" not in text


@pytest.mark.parametrize("name", ["nothing.js", "__init__.py", "..%2fserve.py", "../serve.py"])
async def test_nothing_else_of_the_folder_is_served(farm: Gateway, name: str) -> None:
    assert (await farm.http.get(f"/page/{name}")).status_code == 404


async def test_a_player_is_served_when_it_is_installed(farm: Gateway) -> None:
    folder = farm.ports.cluster.root / "players"
    folder.mkdir()
    (folder / "hls.min.mjs").write_text("export default class {}")
    answer = await farm.http.get("/players/hls.mjs")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/javascript")


async def test_health_and_readiness_name_their_dependencies(farm: Gateway) -> None:
    assert (await farm.http.get("/healthz")).json() == {"status": "ok"}
    answer = await farm.http.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {"ready": True, "checks": {"database": "ok", "storage": "ok", "redis": "not used"}}


async def test_a_farm_without_its_database_is_not_ready(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as farm:
        await farm.ports.database.close()
        for name in ("farm.db", "farm.db-wal", "farm.db-shm"):
            (tmp_path / name).unlink(missing_ok=True)
        (tmp_path / "farm.db").mkdir()
        answer = await farm.http.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["database"] == "database_unavailable"


async def test_metrics_count_requests_by_route_and_not_by_id(farm: Gateway) -> None:
    await farm.call("GET", "/v1/videos/" + "0" * 32)
    text = (await farm.http.get("/metrics")).text
    assert 'reelmill_http_requests_total{method="GET",route="/v1/videos/{video_id}",status="404"} 1.0' in text
    assert "0" * 32 not in text


async def test_every_route_is_described_with_an_example(farm: Gateway) -> None:
    document = (await farm.http.get("/openapi.json")).json()
    assert "/v1/uploads/initiate" in document["paths"]
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            assert route.get("summary"), (method, path)
            assert route.get("description"), (method, path)
    models = document["components"]["schemas"]
    for name in ("InitiateRequest", "PresignRequest", "CompleteRequest"):
        assert "example" in models[name] or "examples" in models[name], name


async def test_every_refusal_is_described_as_the_problem_that_it_is(farm: Gateway) -> None:
    document = (await farm.http.get("/openapi.json")).json()
    assert "HTTPValidationError" not in json.dumps(document)
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            refused = {status: answer for status, answer in route["responses"].items() if status >= "400"}
            if path != "/readyz":
                assert all([*answer["content"]] == [MEDIA_TYPE] for answer in refused.values()), (method, path)
            if path.startswith("/v1/"):
                assert {"401", "503"} <= refused.keys(), (method, path)
            if "requestBody" in route:
                assert {"400", "408", "413", "422"} <= refused.keys(), (method, path)
            named = [each["name"] for each in route.get("parameters", []) if each["in"] == "path"]
            assert [f"{{{name}}}" in path for name in named] == [True] * path.count("{"), (method, path)


async def test_the_docs_page_is_there(farm: Gateway) -> None:
    assert (await farm.http.get("/docs")).status_code == 200
