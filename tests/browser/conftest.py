"""The demo as a stranger starts it, and Chromium to look at it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from tests.browser.chromium import launch
from tests.browser.people import register_people
from tests.browser.waiting import PATIENCE, open_context
from tests.browser.watching import Demo, Room
from tests.canary import canary, check_log
from tests.ports import take_port
from tests.sqlite_files import copy_migrated

ROOT = Path(__file__).resolve().parent.parent.parent
# Hosts that are sisters to a browser, for tests that serve them.
HOSTS = "--host-resolver-rules=MAP *.shop.test 127.0.0.1"
# What a browser says by itself when a request fails; everything else in the console is a fault of ours.
FAILED_REQUEST = re.compile(r"Failed to load resource|WebSocket connection to .* failed")


@pytest.fixture(scope="package")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """`manage.py demo` on a port and a database of its own."""
    database = tmp_path_factory.mktemp("demo") / "db.sqlite3"
    copy_migrated(database)
    log = database.with_name("demo.log")
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "demo", "--port", str(take_port())],
            cwd=ROOT,
            env={**os.environ, "SQLITE_PATH": str(database), "DJANGO_SETTINGS_MODULE": "project.settings"},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        assert process.stdout is not None
        urls = (re.search(r"http://\S+", line) for line in process.stdout)
        found = next((url for url in urls if url), None)
        assert found, f"the demo did not start: {log.read_text()[-2000:]}"
        yield Demo(found.group(), database)
    finally:
        process.terminate()
        exit_code = process.wait(PATIENCE)
        if process.stdout is not None:
            canary.look_through("demo", process.stdout)
            process.stdout.close()
        check_log(log)
        assert exit_code == 0


@pytest.fixture(scope="package")
def people(demo: Demo) -> Demo:
    """Demo with people who may log in."""
    register_people(demo.database)
    return demo


@pytest.fixture(scope="package")
def debugging_port() -> int:
    """Port on which the browser answers as it does to developer tools."""
    return take_port()


@pytest.fixture(scope="package")
def browser(chromium: Path, debugging_port: int) -> Iterator[Browser]:
    """One Chromium for all; it ends with the package, for its event loop would be in the way of other tests."""
    with sync_playwright() as playwright:
        browser = launch(playwright.chromium, chromium, HOSTS, f"--remote-debugging-port={debugging_port}")
        yield browser
        browser.close()


@pytest.fixture
def viewport() -> dict[str, int]:
    return {"width": 1280, "height": 900}


@pytest.fixture(autouse=True)
def mended(demo: Demo) -> Iterator[None]:
    """A test that failed in the middle of a cut leaves no dead network to the next ones."""
    yield
    urllib.request.urlopen(f"{demo.url}demo-control/mend", b"{}").close()


@pytest.fixture
def context(browser: Browser, viewport: dict[str, int]) -> Iterator[BrowserContext]:
    """A browser profile of its own; afterwards, its console must be clean."""
    context = open_context(browser, viewport=viewport)
    faults: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not FAILED_REQUEST.search(message.text):
            faults.append(message.text)
        canary.look_through("console", [message.text])

    def look_at(address: str) -> None:
        canary.look_through("address", [address])

    context.on("console", note)
    context.on("request", lambda request: look_at(request.url))
    context.on("page", lambda page: page.on("websocket", lambda socket: look_at(socket.url)))
    context.on("weberror", lambda error: faults.append(str(error.error)))
    yield context
    context.close()
    assert faults == []


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


@pytest.fixture
def room(page: Page, demo: Demo) -> Room:
    """The demo's page with both clients connected."""
    return Room.enter(page, demo)
