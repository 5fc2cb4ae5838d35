"""Pages in a real browser: Debian's Chromium without a window, told to stay on this machine."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from dual_update.adapters.store import SqliteStore
from dual_update.edges.web.app import create_app
from dual_update.edges.web.auth import WebSettings
from tests.conftest import missing
from tests.edges.web.pages_world import TOKEN, PagesService, fleet
from tests.integration.conftest import broom, images, registry, world
from tests.integration.world import free_port

__all__ = ["broom", "images", "registry", "world"]

QUIET = [
    "--no-sandbox",
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]

DESKTOP = {"width": 1200, "height": 900}
PHONE = {"width": 320, "height": 640}

PICTURES = Path(os.environ["SCREENSHOTS"]) if "SCREENSHOTS" in os.environ else None
"""Where pictures for the documentation go, when they are asked for."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Closed after each file: as long as it is open, nothing else in this thread can have an event loop."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        missing("chromium is not on PATH; run scripts/bootstrap --tests")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def complaints() -> list[str]:
    """What pages logged: errors of scripts, refusals by the content security policy, files not found."""
    return []


@pytest.fixture
def browse(chromium: Browser, complaints: list[str]) -> Iterator[Callable[..., BrowserContext]]:
    """Opens browsers of their own and keeps what their pages complain about."""
    opened: list[BrowserContext] = []

    def context(**options: Any) -> BrowserContext:
        found = chromium.new_context(**{"viewport": DESKTOP, **options})
        found.set_default_timeout(15_000)
        found.on("console", lambda m: complaints.append(f"{m.type}: {m.text}") if m.type == "error" else None)
        found.on("weberror", lambda error: complaints.append(f"script: {error.error}"))
        found.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        opened.append(found)
        return found

    yield context
    for one in opened:
        one.close()


@contextmanager
def served(app: Any, port: int = 0) -> Iterator[str]:
    """The application on this port, or on one of its own, until the end of the block."""
    port = port or free_port()
    server = uvicorn.Server(
        uvicorn.Config(app, port=port, log_level="error", lifespan="off", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server ended before it began"
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[PagesService]:
    """The made-up cluster, with its history on disk."""
    with SqliteStore(tmp_path / "state") as store:
        found = PagesService(store)
        for run in reversed(found.runs):
            store.begin(run)
            store.finish(run["run"], run["outcome"], run)
        store.notes.note_health(found.looks())
        yield found


@pytest.fixture
def site(service: PagesService) -> Iterator[str]:
    """Its address."""
    app = create_app(service, WebSettings(api_token=TOKEN))  # type: ignore[arg-type]
    app.state.has_fleet_page = True
    app.state.fleet.answer, app.state.fleet.at = fleet(), float("inf")
    with served(app) as address:
        yield address


def picture(page: Page, name: str) -> None:
    """The page on a desk in daylight, and on a phone at night."""
    if PICTURES is None:
        return
    size = page.viewport_size
    for scheme, width, height in (("light", 1040, 700), ("dark", 390, 780)):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
        page.set_viewport_size({"width": width, "height": height})
        page.screenshot(path=PICTURES / f"{name}-{scheme}.png", full_page=True)
    page.emulate_media(color_scheme="null", reduced_motion="null")
    if size:
        page.set_viewport_size(size)


def sign_in(page: Page, site: str, then: str = "/", token: str = TOKEN) -> None:
    page.goto(f"{site}/login?next={then}")
    page.get_by_label("API token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{site}{then}")
