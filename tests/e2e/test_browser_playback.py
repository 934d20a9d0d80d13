"""An asset plays in Chromium by hls.js and dash.js: from start to end, and on the right frame after every seek."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from gateway_app import content, play_dispatcher, running_gateway
from gateway_server import run_apart, serving
from numbered_asset import numbered_asset

from tests.e2e.chromium import chromium, needs_chromium, needs_players, players_site, watched_page

pytestmark = [pytest.mark.browser, needs_chromium, needs_players]

FPS = Fraction(30)
FRAMES = 180
MEDIA_SEGMENT = 30
"""Frames of a media segment in the profile of tests."""
SOUGHT = (0, 1, 29, 30, 31, 59, 60, 119, 120, 121, 90, 150, 178, 179, 15)
"""On both sides of segment boundaries, backwards, the first and the last."""


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Addresses of a published asset on a gateway that serves it."""
    root = tmp_path_factory.mktemp("data")
    files = numbered_asset(tmp_path_factory.mktemp("asset"), FRAMES, FPS)
    with serving(root) as server:
        video_id = run_apart(_published(root, files))
        yield server.get(f"/v1/videos/{video_id}")["assets"]


async def _published(root: Path, files: dict[str, tuple[str, bytes]]) -> str:
    async with running_gateway(root) as farm:
        done = await farm.upload(content(100))
        await play_dispatcher(farm, done["job_id"], files)
        await farm.call("POST", f"/v1/videos/{done['video_id']}/publish", {"visibility": "unlisted"})
        return str(done["video_id"])


@pytest.mark.parametrize("kind", ["hls", "dash"])
def test_the_asset_plays_to_its_end_and_seeks_to_the_frame(assets: dict[str, Any], kind: str) -> None:
    with chromium() as browser, players_site() as site, watched_page(browser) as (page, wrong):
        page.goto(site)
        page.wait_for_function("window.ready === true")
        asked = [kind, assets[kind], float(FPS), list(SOUGHT)]
        shown = page.evaluate("([kind, url, fps, frames]) => window.play(kind, url, fps, frames)", asked)
    assert shown["errors"] == []
    assert shown["seeks"] == [[frame, frame] for frame in SOUGHT]
    assert shown["last"] == FRAMES - 1
    assert len(shown["buffered"]) == 1, "one range without a gap"
    [[start, end]] = shown["buffered"]
    assert start == 0
    assert end == pytest.approx(FRAMES / FPS, abs=0.03)
    assert shown["duration"] == pytest.approx(FRAMES / FPS, abs=0.03)
    assert wrong == []
