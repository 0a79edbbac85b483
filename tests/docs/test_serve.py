"""The servers of docs/howto/serve.md serve the SDK, REST and WebSockets with the page's own files and commands."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from session_mgmt.client import SessionClient
from tests.docs.pages import ROOT, blocks
from tests.docs.test_tutorial import PATIENCE, Shop
from tests.ports import take_port
from tests.sqlite_files import copy_migrated

PAGE = ROOT / "docs" / "howto" / "serve.md"
COMMANDS = [line for block in blocks("sh", [PAGE]) for line in block.text.splitlines()]
SETTINGS = """# shop/settings.py, at the end
INSTALLED_APPS += ["channels", "rest_framework", "session_mgmt"]
SESSION_MGMT = {"anonymous_sessions": True}
DATABASES["default"]["OPTIONS"] = {"transaction_mode": "IMMEDIATE", "timeout": 20}
"""
URLS = """# shop/urls.py, the whole file
from django.urls import include, path

urlpatterns = [path("api/", include("session_mgmt.urls"))]
"""
PORTS = {
    "uvicorn": ["--port", "{}"],
    "daphne": ["--port", "{}"],
    "runserver": ["--noreload", "127.0.0.1:{}"],
    "serve": ["127.0.0.1:{}"],
    "hypercorn": ["--bind", "127.0.0.1:{}"],
    "gunicorn": ["--bind", "127.0.0.1:{}"],
}

pytestmark = pytest.mark.sqlite


def name_server(line: str) -> str:
    return line.split()[2 if "manage" in line else 0]


class Served(Shop):
    """The project of the page, started by one of its commands."""

    def start_by(self, line: str) -> None:
        program, *rest = line.split()
        module = {"python": rest} if program == "python" else {program: ["-m", program, *rest]}
        self.port = take_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        ports = [part.format(self.port) for part in PORTS[name_server(line)]]
        command = [sys.executable, *module[program], *ports]
        self._server = subprocess.Popen(command, cwd=self.folder, env=self._environment())


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """The page's project, with its tables."""
    shop = Served(tmp_path_factory.mktemp("served"))
    make_project(shop)
    return shop


def make_project(shop: Served) -> None:
    shop.run("django-admin startproject shop .")
    for text in (SETTINGS, URLS, *(block.text for block in blocks("python", [PAGE]))):
        shop.write(text)
    # With a table of the demo besides; that the commands which make them do so is what the tutorial's test shows.
    copy_migrated(shop.folder / "db.sqlite3")


@pytest.fixture(params=COMMANDS, ids=name_server)
def served(project: Served, request: pytest.FixtureRequest) -> Iterator[Served]:
    project.start_by(request.param)
    yield project
    project.kill()


async def test_a_server_of_the_page_serves_the_sdk_rest_and_websockets(served: Served) -> None:
    await try_server(served)


async def try_server(served: Served) -> None:
    """Fetch the SDK, and write over a WebSocket."""
    transport = httpx.AsyncHTTPTransport(retries=PATIENCE)
    async with httpx.AsyncClient(transport=transport, trust_env=False, timeout=PATIENCE) as http:
        script = await http.get(served.url + "static/session_mgmt/session-client.js")
    assert script.status_code == 200 and "SessionClient" in script.text
    client = await SessionClient.start(served.url + "api/")
    try:
        await client.state.set("/hello", "world")
    finally:
        await client.close()


def test_the_celery_application_of_the_page_knows_every_task_of_the_schedule(project: Served) -> None:
    script = (
        "from shop.celery import app; app.loader.import_default_modules();"
        " assert {e['task'] for e in app.conf.beat_schedule.values()} <= set(app.tasks), list(app.tasks)"
    )
    project.run(f'python -c "{script}"')


def test_every_server_of_the_page_is_tried() -> None:
    assert [name_server(line) for line in COMMANDS] == ["serve", "uvicorn", "runserver", "daphne"]
