"""A headless Chromium of this machine, and the pages and players that browser tests load."""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

PLAYERS = Path(__file__).parent / "players"
HLS = PLAYERS / "node_modules" / "hls.js" / "dist" / "hls.min.mjs"
DASH = PLAYERS / "node_modules" / "dashjs" / "dist" / "modern" / "esm" / "dash.all.min.js"
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--autoplay-policy=no-user-gesture-required",
]
"""Nothing but the page under test reaches for the network; videos play without a click; root needs no sandbox."""


def chromium_path() -> str | None:
    """Where Chromium is; Playwright's own browsers are not used."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


needs_chromium = pytest.mark.skipif(chromium_path() is None, reason="Chromium is not installed (apt install chromium)")
needs_players = pytest.mark.skipif(
    not (HLS.is_file() and DASH.is_file()), reason="the players are not installed (npm ci in tests/e2e/players)"
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser for the length of the block."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=QUIET)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def watched_page(browser: Browser, **options: object) -> Iterator[tuple[Page, list[str]]]:
    """A page, and what went wrong on it: exceptions, and errors on its console (a refusal by its policy is one)."""
    context = browser.new_context(**options)  # type: ignore[arg-type]
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    try:
        yield page, wrong
    finally:
        context.close()


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript"}

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@contextmanager
def players_site() -> Iterator[str]:
    """The players' page on an origin of its own."""
    handler = functools.partial(_QuietHandler, directory=str(PLAYERS))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="players")
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
