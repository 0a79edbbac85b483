"""`manage.py demo` as a whole: one command, one address, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from project.demo.stage import play
from tests.ports import take_port
from tests.sqlite_files import copy_migrated

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 120.0

pytestmark = [pytest.mark.sqlite, pytest.mark.faults]


@contextmanager
def running(database: Path) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """The demo on a free port, and a client of its address."""
    process = subprocess.Popen(
        [sys.executable, "manage.py", "demo", "--port", str(take_port())],
        cwd=ROOT,
        env={**os.environ, "SQLITE_PATH": str(database), "DJANGO_SETTINGS_MODULE": "project.settings"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        urls = (re.search(r"http://\S+", line) for line in process.stdout)
        url = next(found.group() for found in urls if found)
        with httpx.Client(base_url=url, trust_env=False, timeout=PATIENCE) as client:
            yield process, client
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def serving(client: httpx.Client) -> dict[str, Any]:
    server: dict[str, Any] = client.get("demo-control/status").json()["servers"][0]
    return server


def ends(pid: int) -> bool:
    """Wait for the end of a process that is no child of ours."""
    descriptor = os.pidfd_open(pid)
    try:
        return bool(select.select([descriptor], [], [], PATIENCE)[0])
    finally:
        os.close(descriptor)


def test_a_killed_server_is_started_again_and_a_polite_end_takes_it_along(tmp_path: Path) -> None:
    with running(tmp_path / "db.sqlite3") as (process, client):
        before = serving(client)["pid"]
        assert client.post("demo-control/kill").json()["servers"][0]["up"] is False
        # Requests wait for it.
        assert client.get("").status_code == 200
        after = serving(client)
        assert after["pid"] != before and (after["starts"], after["kills"]) == (2, 1)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
        assert not Path(f"/proc/{after['pid']}").exists()


@pytest.mark.parametrize(
    ("method", "path", "body", "origin", "status"),
    [
        ("POST", "kill", {}, "http://evil.example", 403),
        ("GET", "kill", None, None, 404),
        ("POST", "cut", {"clients": ["three"]}, None, 400),
        ("POST", "cut", {"clients": [["one"]]}, None, 400),
        ("POST", "cut", {"seconds": -1}, None, 400),
        ("POST", "cut", [], None, 400),
        ("POST", "kill", {"server": "C"}, None, 400),
        ("POST", "roll", {}, "http://evil.example", 403),
    ],
)
def test_a_wrong_wish_is_refused(
    demo_client: httpx.Client, method: str, path: str, body: Any, origin: str | None, status: int
) -> None:
    headers = {"Origin": origin} if origin else {}
    assert demo_client.request(method, f"demo-control/{path}", json=body, headers=headers).status_code == status
    assert serving(demo_client)["kills"] == 0


@pytest.mark.parametrize(("method", "path"), [("GET", "status"), ("POST", "cut"), ("POST", "kill")])
@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", ""])
def test_controls_answer_only_the_hosts_that_are_allowed(
    demo_client: httpx.Client, method: str, path: str, host: str
) -> None:
    # A page that rebinds its own name to this machine is of one site with what it calls.
    headers = {"Host": host, "Origin": f"http://{host}"} if host else {"Host": host}
    answer = demo_client.request(method, f"demo-control/{path}", json={}, headers=headers)
    assert (answer.status_code, answer.json()["error"].split(":")[0]) == (400, "Invalid HTTP_HOST header")
    status = demo_client.get("demo-control/status").json()
    assert (status["cut"], status["servers"][0]["kills"]) == ([], 0)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """A demo for all tests that change nothing for the others, and for the last one, which ends it.

    Its file has the tables; a demo without them makes them first, as the first test here shows.
    """
    database = tmp_path_factory.mktemp("demo") / "db.sqlite3"
    copy_migrated(database)
    with running(database) as both:
        yield both


@pytest.fixture
def demo_client(demo: tuple[subprocess.Popen[str], httpx.Client]) -> httpx.Client:
    return demo[1]


def test_a_cut_may_mend_itself(demo_client: httpx.Client) -> None:
    assert demo_client.post("demo-control/cut", json={"clients": ["one"], "seconds": 0.05}).json()["cut"] == ["one"]
    # The page of a client that is cut off waits until the cut is over.
    assert demo_client.get("client/one/").status_code == 200
    assert demo_client.get("demo-control/status").json()["cut"] == []


async def test_a_port_that_is_taken_is_said() -> None:
    port, said, has_said = take_port(), list[str](), asyncio.Event()

    def say(text: str) -> None:
        said.append(text)
        if len(said) == 2:
            has_said.set()

    with socket.create_server(("127.0.0.1", port)):
        # With no server to wait for it says its address at once.
        playing = asyncio.create_task(play([], [], "127.0.0.1", port, say))
        async with asyncio.timeout(PATIENCE):
            await has_said.wait()
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)
    taken, address, _ = said
    found = re.fullmatch(rf"Port {port} is taken by another program; using (\d+)\.", taken)
    assert found and found[1] != str(port) and f"http://127.0.0.1:{found[1]}/" in address


def test_a_killed_supervisor_leaves_no_server_behind(demo: tuple[subprocess.Popen[str], httpx.Client]) -> None:
    process, client = demo
    server = serving(client)["pid"]
    process.kill()
    assert ends(server)
