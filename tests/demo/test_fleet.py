"""The demo on two servers: whom the balancer takes, what a kill and a restart in turn do, and that nothing is left."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from project.demo import fleet, stage
from project.demo.balancing import Balancer
from project.demo.proxy import Streams
from project.demo.supervisor import Server
from tests import programs
from tests.demo.test_command import ROOT
from tests.ports import take_port

PATIENCE = 120.0
# Listens on the socket that it inherits, and says its number to everybody until the end of its parent; at SIGTERM it
# first answers whoever has come.
SERVING = """
import contextlib, os, select, signal, socket, sys
ended, ending = os.pipe()
signal.signal(signal.SIGTERM, lambda *_: os.write(ending, b"x"))
place = socket.socket(fileno=int(sys.argv[1].removeprefix("--socket=")))
place.listen(16)
while True:
    ready = select.select([place, ended, sys.stdin], [], [])[0]
    if place in ready:
        with place.accept()[0] as taken, contextlib.suppress(OSError):
            taken.recv(65536)
            body = str(os.getpid()).encode()
            head = b"HTTP/1.1 200 OK\\r\\nconnection: close\\r\\ncontent-length: %d\\r\\n\\r\\n" % len(body)
            taken.sendall(head + body)
    elif ready:
        sys.exit()
"""
COMMAND = (sys.executable, "-SEc", SERVING)

pytestmark = [pytest.mark.sqlite, pytest.mark.timeout(300)]


def opener(name: str, log: list[str], *, takes: bool = True) -> Callable[[], Awaitable[Streams | None]]:
    async def open_streams() -> Streams | None:
        log.append(name)
        return (name, name) if takes else None  # type: ignore[return-value]

    return open_streams


async def test_each_connection_goes_to_the_next_server_that_takes_it() -> None:
    tried: list[str] = []
    balancer = Balancer([opener("A", tried), opener("B", tried, takes=False), opener("C", tried)])
    found = [await balancer.open_streams() for _ in range(3)]
    assert found == [("A", "A"), ("C", "C"), ("A", "A")]
    assert tried == ["A", "B", "C", "A"]


async def test_without_a_server_that_takes_it_each_is_asked_once() -> None:
    tried: list[str] = []
    balancer = Balancer([opener(name, tried, takes=False) for name in "AB"])
    assert await balancer.open_streams() is None and tried == ["A", "B"]


@asynccontextmanager
async def playing() -> AsyncIterator[tuple[list[Server], httpx.AsyncClient, asyncio.Task[None]]]:
    """Two servers that cost nothing, behind the demo's address."""
    servers = [Server(name, COMMAND) for name in "AB"]
    said: asyncio.Queue[str] = asyncio.Queue()
    playing = asyncio.create_task(stage.play(servers, [], "127.0.0.1", take_port(), said.put_nowait))
    try:
        async with asyncio.timeout(PATIENCE):
            while not (found := re.search(r"http://\S+", await said.get())):
                pass
            async with httpx.AsyncClient(base_url=found.group(), trust_env=False, timeout=PATIENCE) as client:
                yield servers, client, playing
    finally:
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)


async def ask(client: httpx.AsyncClient) -> int:
    return int((await client.get("")).text)


async def control(client: httpx.AsyncClient, verb: str, **wish: Any) -> dict[str, Any]:
    answer: dict[str, Any] = (await client.post(f"demo-control/{verb}", json=wish)).json()
    return answer


async def test_a_killed_server_leaves_all_to_the_other_one_until_its_successor_serves() -> None:
    async with playing() as ((one, two), client, _):
        assert {await ask(client), await ask(client)} == {one.pid, two.pid}
        killed = two.pid
        status = await control(client, "kill", server="B")
        assert [server["up"] for server in status["servers"]] == [True, False]
        assert {await ask(client) for _ in range(4)} <= {one.pid, two.pid}
        await two.up.wait()
        assert two.pid != killed and (one.starts, two.starts, two.kills) == (1, 2, 1)
        assert {await ask(client), await ask(client)} == {one.pid, two.pid}


async def test_a_restart_in_turn_always_leaves_one_that_serves() -> None:
    async with playing() as ((one, two), client, _):
        before, up = [one.pid, two.pid], []
        restart = one.restart

        async def restart_and_look() -> None:
            await restart()
            up.append((one.up.is_set(), two.starts))

        one.restart = restart_and_look  # type: ignore[method-assign]
        assert (await control(client, "roll"))["rolling"]
        # Twice pressed is once done.
        await control(client, "roll")
        while (await client.get("demo-control/status")).json()["rolling"]:
            await ask(client)
        # The second one was left alone until the first one served again.
        assert up == [(True, 1)]
        assert (one.starts, two.starts, one.kills) == (2, 2, 0) and before != [one.pid, two.pid]


async def test_an_end_takes_both_servers_along() -> None:
    async with playing() as ((one, two), _, playing_):
        pids = [one.pid, two.pid]
        os.kill(os.getpid(), signal.SIGINT)
        await playing_
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.parametrize("part", ["worker", "beat"])
def test_a_worker_and_a_beat_end_with_their_parent(part: str, tmp_path: Path) -> None:
    variables = {"DJANGO_SETTINGS_MODULE": "project.settings", "SQLITE_PATH": str(tmp_path / "unused.sqlite3")}
    command = [sys.executable, "-m", "project.embedded", "--with-parent", "--part", part]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, env={**os.environ, **variables})
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0


def test_a_missing_program_is_said_with_what_helps(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(programs, "install_missing", lambda names: None)
    monkeypatch.setattr(programs, "on_this_machine", lambda name: None)
    monkeypatch.setattr(programs, "in_a_wheel", lambda relative: None)
    monkeypatch.setattr(programs.glob, "glob", lambda pattern: [])
    monkeypatch.setattr(sys, "argv", ["fleet"])
    with pytest.raises(SystemExit) as ended:
        fleet.main()
    assert str(ended.value).startswith("The demo cannot start: no PostgreSQL on this machine")
    assert "install the package postgresql" in str(ended.value)


def test_services_that_are_given_are_used_and_none_is_started(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "environ", {"DATABASE_URL": "postgres://given/", "REDIS_URL": "redis://given/"})
    with fleet.ExitStack() as stack:
        fleet.prepare_services(stack, with_redis=True)
    assert "the one of DATABASE_URL" in (said := capsys.readouterr().out) and "starting" not in said
    assert os.environ["DATABASE_URL"] == "postgres://given/"


def test_without_redis_none_is_used_even_if_one_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"DATABASE_URL": "postgres://given/", "REDIS_URL": "redis://given/"})
    with fleet.ExitStack() as stack:
        fleet.prepare_services(stack, with_redis=False)
        assert "REDIS_URL" not in os.environ and Path(os.environ["DEMO_TASKS"]).is_dir()
