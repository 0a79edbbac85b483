"""The tutorial, block by block: the project that it builds is built, started, used from Python and from a browser."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from session_mgmt.client import SessionClient
from tests.browser.chromium import launch
from tests.browser.waiting import PATIENCE, open_context
from tests.docs.pages import ROOT, blocks
from tests.ports import take_port
from tests.started import start_server

TUTORIAL = ROOT / "docs" / "tutorial.md"
FILE = re.compile(r"(?:#|<!--) (\S+), (the whole file|at the end)")
# The test's own environment has the packages, and the server takes a free port.
NOT_RUN = ("python3 -m venv", ".venv/bin/pip", ". .venv/bin", "uvicorn ")


class Shop:
    """The tutorial's project in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = take_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self._server: subprocess.Popen[str] | None = None

    def run(self, line: str) -> None:
        """One line of shell, with the interpreter of this test."""
        tools = {"python": sys.executable, "django-admin": f"{sys.executable} -m django"}
        program, rest = line.split(" ", 1)
        subprocess.run(f"{tools[program]} {rest}", shell=True, cwd=self.folder, env=self._environment(), check=True)

    def write(self, block: str) -> None:
        first = FILE.match(block)
        assert first, f"a block of the tutorial does not say which file it is: {block[:60]}"
        path = self.folder / first[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w" if first[2] == "the whole file" else "a", encoding="utf-8") as file:
            file.write(block.split("\n", 1)[1] if path.suffix == ".html" else block)

    def start(self) -> None:
        command = [
            sys.executable,
            "-m",
            "uvicorn",
            "shop.asgi:application",
            "--ws",
            "session_mgmt.uvicorn:WebSocketProtocol",
        ]
        command += ["--port", str(self.port), "--no-access-log"]
        self._server = start_server(command, self.folder, self._environment(), self.folder / "server.log")
        httpx.get(self.url, trust_env=False, timeout=PATIENCE).raise_for_status()

    def kill(self) -> None:
        if self._server is not None:
            self._server.send_signal(signal.SIGKILL)
            self._server.wait()

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
        return kept | {"PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The project after step 6, running."""
    shop = Shop(tmp_path_factory.mktemp("shop"))
    publishing = step_seven()
    for line in (line for line in shell_lines() if line != publishing):
        if line.startswith("python manage.py migrate"):
            for block in (*blocks("python", [TUTORIAL]), *blocks("html", [TUTORIAL])):
                shop.write(block.text)
        shop.run(line)
    shop.run("python manage.py check --fail-level WARNING")
    shop.start()
    yield shop
    shop.kill()


def shell_lines() -> list[str]:
    lines = [line for block in blocks("sh", [TUTORIAL]) for line in block.text.splitlines()]
    return [line for line in lines if not line.startswith(NOT_RUN)]


def step_seven() -> str:
    return next(line for line in shell_lines() if "publish(" in line)


@pytest.mark.sqlite
async def test_the_tutorials_server_answers_as_it_says(shop: Shop) -> None:
    client = await SessionClient.start(f"{shop.url}api/")
    try:
        await client.state.inc("/cart/Tea")
        answer = await client.send({"do": "check out"})
        assert answer["data"] == {"ordered": ["Tea"]}
    finally:
        await client.close()


@pytest.fixture
def tabs(chromium: Path) -> Iterator[tuple[Page, Page]]:
    with sync_playwright() as playwright:
        browser = launch(playwright.chromium, chromium)
        context = open_context(browser)
        yield context.new_page(), context.new_page()
        browser.close()


def put_in(page: Page, article: str) -> None:
    page.get_by_label("Article").fill(article)
    page.get_by_label("Article").press("Enter")


@pytest.mark.browser
def test_the_tutorials_cart_survives_what_it_says_it_survives(shop: Shop, tabs: tuple[Page, Page]) -> None:
    one, two = tabs
    for page in tabs:
        page.goto(shop.url)
        expect(page.locator("#status")).to_have_text("connected")
    put_in(one, "Tea")
    one.reload()
    put_in(two, "Tea")
    for page in tabs:
        expect(page.locator("#cart li")).to_have_text(["Tea: 2"])
    one.context.set_offline(True)
    put_in(one, "Salt/Pepper")
    one.context.set_offline(False)
    expect(two.locator("#cart li")).to_have_text(["Tea: 2", "Salt/Pepper: 1"])
    shop.kill()
    put_in(one, "Tea")
    shop.start()
    for page in tabs:
        expect(page.locator("#cart li")).to_have_text(["Tea: 3", "Salt/Pepper: 1"])
    shop.run(step_seven())
    expect(two.locator("#news")).to_have_text("Ten per cent off")
    one.get_by_role("button", name="Check out").click()
    expect(one.locator("#news")).to_have_text("Ordered: Salt/Pepper, Tea")
    expect(two.locator("#cart li")).to_have_count(0)
