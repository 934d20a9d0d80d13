"""The person's page in Chromium: a dropped file becomes a video that plays, on a desk and on a phone."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from gateway_app import PART_BYTES, content, play_dispatcher, reject, running_gateway
from gateway_server import Server, run_apart, serving
from numbered_asset import numbered_asset
from playwright.sync_api import Browser, Page, expect

from cluster.metadata.lifecycle import VideoTrigger
from gateway.auth import load_secret, mint_token
from tests.e2e.chromium import HLS, chromium, needs_chromium, needs_players, watched_page
from tests.e2e.running_farm import RunningFarm

pytestmark = [pytest.mark.browser, needs_chromium]

PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "color_scheme": "dark"}
DROP = """([name, type, content]) => {
  const bytes = typeof content === 'number'
    ? new Uint8Array(content).map((_, at) => at % 251) : Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, { type, lastModified: 1 }));
  const drop = new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true });
  document.getElementById('drop').dispatchEvent(drop);
}"""
PLAYING = "() => document.getElementById('video').currentTime > 0.4"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@dataclass(frozen=True)
class Library:
    """A gateway with a READY video and a rejected one, and no dispatcher."""

    server: Server
    ready: str
    rejected: str


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    root = tmp_path_factory.mktemp("data")
    files = numbered_asset(tmp_path_factory.mktemp("asset"), 60, Fraction(30))
    with serving(root) as server:
        ready, rejected = run_apart(_filled(root, files))
        yield Library(server, ready, rejected)


async def _filled(root: Path, files: dict[str, tuple[str, bytes]]) -> tuple[str, str]:
    async with running_gateway(root) as farm:
        ready = await farm.upload(content(100), title="A ready one")
        await play_dispatcher(farm, ready["job_id"], files)
        rejected = await farm.upload(content(100), title="A long one", profile="nextplay")
        await reject(farm, rejected["job_id"], VideoTrigger.TOO_LONG, "too_long", "it lasts 41 s; 30 s are taken")
        return ready["video_id"], rejected["video_id"]


def drop(page: Page, name: str, data: bytes | int) -> None:
    """Let a file fall on the page: with this content, or of this many bytes."""
    page.evaluate(DROP, [name, "video/mp4", data if isinstance(data, int) else base64.b64encode(data).decode()])


def open_page(page: Page, url: str, token: str) -> None:
    """Open the page as `reelmill up` prints it; the token is gone from the address at once."""
    page.goto(f"{url}/#token={token}")
    expect(page.locator("#upload")).to_be_visible()
    assert "token" not in page.url


@needs_players
def test_a_dropped_file_is_processed_and_plays_by_hls(browser: Browser, farm: RunningFarm, clip: Path) -> None:
    (farm.root / "players").mkdir(exist_ok=True)
    shutil.copy(HLS, farm.root / "players")
    token = mint_token(load_secret(farm.root), "page", "paid", 600)
    with watched_page(browser) as (page, wrong):
        open_page(page, farm.url, token)
        drop(page, clip.name, clip.read_bytes())
        card = page.locator("li.video")
        expect(card).to_have_attribute("data-status", "READY", timeout=120_000)
        card.get_by_role("button", name="Play").click()
        expect(page.locator("#player-how")).to_have_text("Playing HLS by hls.js.")
        page.evaluate("document.getElementById('video').play()")
        page.wait_for_function(PLAYING)
        card.get_by_role("button", name="Publish").click()
        expect(card).to_have_attribute("data-status", "PUBLISHED")
        page.once("dialog", lambda asked: asked.dismiss())
        card.get_by_role("button", name="Delete").click()
        expect(card).to_have_attribute("data-status", "PUBLISHED")
        page.once("dialog", lambda asked: asked.accept())
        card.get_by_role("button", name="Delete").click()
        expect(card).to_have_count(0)
    assert wrong == []


@pytest.mark.parametrize(
    ("hls", "how"), [(True, "Playing HLS by the browser itself."), (False, "Playing the MP4: this browser has no HLS")]
)
def test_a_phone_plays_without_a_player_installed(browser: Browser, library: Library, hls: bool, how: str) -> None:
    with watched_page(browser, **PHONE) as (page, wrong):
        page.add_init_script(f"HTMLMediaElement.prototype.canPlayType = () => '{'maybe' if hls else ''}'")
        open_page(page, library.server.url, library.server.token())
        card = page.locator(f"li[data-video='{library.ready}']")
        expect(card.locator("img")).to_be_visible()
        card.get_by_role("button", name="Play").click()
        expect(page.locator("#player-how")).to_contain_text(how)
        page.evaluate("document.getElementById('video').play()")
        page.wait_for_function(PLAYING)
        strip = page.locator("#strip")
        strip.hover()
        expect(page.locator("#peek")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    # hls.js is not installed here: the page asks for it, and the browser notes the 404.
    assert [text for text in wrong if "404" not in text] == []


def test_a_rejected_video_says_why_and_can_be_tried_again(browser: Browser, library: Library) -> None:
    with watched_page(browser) as (page, wrong):
        open_page(page, library.server.url, library.server.token())
        card = page.locator(f"li[data-video='{library.rejected}']")
        expect(card.locator(".error")).to_have_text("It lasts 41 s; 30 s are taken. Trim it.")
        page.locator("#profile").select_option("default")
        card.get_by_role("button", name="Try again").click()
        expect(card).to_have_attribute("data-status", "UPLOADED")
        expect(card.locator(".why")).to_contain_text("waits for a dispatcher")
        card.get_by_role("button", name="Cancel").click()
        expect(card).to_have_attribute("data-status", "PROCESSING_FAILED")
    assert wrong == []


def test_an_interrupted_upload_goes_on_with_what_is_missing(browser: Browser, library: Library) -> None:
    size = 2 * PART_BYTES + 1000
    with watched_page(browser) as (page, _):
        open_page(page, library.server.url, library.server.token("rita"))
        sent: list[str] = []
        page.route("**/_data/parts/*/2?*", lambda route: route.abort())
        page.on("requestfinished", lambda request: sent.append(request.url) if "/_data/parts/" in request.url else None)
        page.route(
            "**/v1/uploads/initiate",
            lambda route: route.continue_(
                post_data={**route.request.post_data_json, "part_size_bytes": PART_BYTES}  # type: ignore[dict-item]
            ),
        )
        drop(page, "long.mp4", size)
        page.wait_for_function("() => Object.keys(localStorage).length === 1")
        while len(sent) < 2:
            page.wait_for_timeout(50)
        page.reload()
        page.unroute("**/_data/parts/*/2?*")
        sent.clear()
        drop(page, "long.mp4", size)
        expect(page.locator("li.video")).to_have_attribute("data-status", "UPLOADED")
        assert ["/2?" in url for url in sent] == [True], "only the missing part is sent"
        assert page.evaluate("Object.keys(localStorage).length") == 0


def test_a_wrong_token_is_refused_with_a_reason_and_a_right_one_signs_in(browser: Browser, library: Library) -> None:
    with watched_page(browser) as (page, _):
        page.goto(library.server.url)
        page.get_by_label("Token").fill("nonsense")
        page.get_by_role("button", name="Use this token").click()
        expect(page.locator("#sign-in-error")).to_contain_text("The token does not hold.")
        page.get_by_label("Token").fill(library.server.token("new"))
        page.get_by_role("button", name="Use this token").click()
        expect(page.locator("#who")).to_have_text("new · paid")
        expect(page.locator("#empty")).to_be_visible()


def test_an_empty_file_is_told_in_words(browser: Browser, library: Library) -> None:
    with watched_page(browser) as (page, wrong):
        open_page(page, library.server.url, library.server.token())
        drop(page, "nothing.mp4", b"")
        expect(page.locator("#upload-error")).to_contain_text("nothing.mp4: The file is empty")
    assert wrong == []


def test_a_farm_that_is_away_is_told_and_asked_again(browser: Browser, library: Library) -> None:
    with watched_page(browser) as (page, _):
        page.route("**/v1/me", lambda route: route.abort())
        page.goto(f"{library.server.url}/#token={library.server.token('new')}")
        expect(page.locator("#who")).to_contain_text("The farm does not answer.")
        page.unroute("**/v1/me")
        expect(page.locator("#who")).to_have_text("new · paid", timeout=60_000)


def test_the_docs_draw_every_route(browser: Browser, library: Library) -> None:
    with watched_page(browser) as (page, wrong):
        page.goto(f"{library.server.url}/docs")
        expect(page.get_by_role("heading", name="POST /v1/uploads/initiate")).to_be_visible()
    assert wrong == []


def test_everything_that_can_be_used_has_a_name(browser: Browser, library: Library) -> None:
    with watched_page(browser) as (page, _):
        open_page(page, library.server.url, library.server.token())
        expect(page.locator("li.video").first).to_be_visible()
        nameless = page.evaluate(
            """[...document.querySelectorAll('button, input, select, progress, a')]
               .filter((e) => e.checkVisibility())
               .filter((e) => !(e.labels?.length || e.textContent.trim() || e.getAttribute('aria-label')))
               .map((e) => e.outerHTML)"""
        )
    assert nameless == []
