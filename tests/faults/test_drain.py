"""Servers that are told to end say so first: their clients come back spread over some seconds; all rows are closed."""

from __future__ import annotations

import asyncio
import json
import signal
import urllib.request
from typing import Any

import pytest
import websockets

from session_mgmt.conf import settings
from session_mgmt.consumers.websocket import SUBPROTOCOL
from session_mgmt.protocol.codes import Close
from tests import services
from tests.faults.final import Database
from tests.faults.servers import AppServer, ServedApp
from tests.faults.subject import HANGS
from tests.faults.workload import until

CLIENTS = 20
# Only a hang lasts so long.
HANG_SECONDS = 120.0

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


def created(server: AppServer) -> Any:
    request = urllib.request.Request(server.url + "sessions/", b"{}", {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def find_sockets(server: AppServer) -> str:
    return server.url.replace("http", "ws").replace("/api/", "/ws/session/")


async def connected(address: str, token: str, client: str | None = None) -> tuple[Any, str]:
    """Give a socket that is connected, and the id of its client."""
    socket = await websockets.connect(address, subprotocols=[SUBPROTOCOL], compression=None, open_timeout=60)  # type: ignore[list-item]
    wish = {"type": "connect", "token": token, "client_id": client, "logs": {"state:main": None}, "acked": 0}
    await socket.send(json.dumps(wish))
    frame = json.loads(await socket.recv())
    assert frame["type"] == "connected"
    return socket, frame["client_id"]


async def answered(socket: Any) -> Any:
    """Give the next receipt."""
    while (frame := json.loads(await socket.recv()))["type"] != "receipt":
        pass
    return frame


async def last_words(socket: Any) -> Any:
    """Give the last frame that the server sends, and the code that it closes with."""
    frame = None
    try:
        while True:
            frame = json.loads(await socket.recv())
    except websockets.ConnectionClosed:
        return frame, socket.close_code


async def test_a_server_that_gets_sigterm_says_good_bye_to_everybody(server: AppServer, database: Database) -> None:
    made = await asyncio.to_thread(created, server)
    sockets = [(await connected(find_sockets(server), made["token"]))[0] for _ in range(CLIENTS)]
    assert server.process is not None
    server.process.send_signal(signal.SIGTERM)
    words = await asyncio.gather(*map(last_words, sockets))
    await asyncio.to_thread(server.process.wait)
    assert {code for _, code in words} == {Close.DRAINING}
    assert {(bye["type"], bye["name"], bye["reconnect"]) for bye, _ in words} == {("bye", "draining", True)}
    waits = {bye["retry_after"] for bye, _ in words}
    assert len(waits) == CLIENTS and all(0 <= wait <= settings().drain_spread for wait in waits)
    closed = database.rows("SELECT close_code, closed_by FROM session_mgmt_connection")
    assert closed == [(Close.DRAINING, "server")] * CLIENTS
    assert not [line for line in server.output() if "Traceback" in line or "ERROR" in line]


async def test_functions_that_hang_keep_no_server_from_ending_and_their_messages_are_handled_by_the_next_one(
    variables: dict[str, str],
) -> None:
    message = {"type": "send", "seq": 1, "data": {"v": "once", "topic": "faults:alone"}}
    with services.running(ServedApp("A", {**variables, "SESSION_MGMT_TEST_HANG": "1"})) as stuck:
        # One for each thread that may run functions of the project.
        made = [await asyncio.to_thread(created, stuck) for _ in range(settings().handler_threads)]
        found = [await connected(find_sockets(stuck), one["token"]) for one in made]
        for socket, _ in found:
            await socket.send(json.dumps(message))
        assert await until(lambda: stuck.output().count(HANGS) == len(made), HANG_SECONDS)
        assert stuck.process is not None
        stuck.process.send_signal(signal.SIGTERM)
        assert {(await last_words(socket))[1] for socket, _ in found} == {Close.DRAINING}
        await asyncio.to_thread(stuck.process.wait)
    with services.running(AppServer("B", variables)) as fresh:
        for one, (_, client) in zip(made, found, strict=True):
            socket, _ = await connected(find_sockets(fresh), one["token"], client)
            for replayed in (None, True):
                await socket.send(json.dumps(message))
                receipt = await answered(socket)
                assert (receipt["ok"], receipt["data"], receipt.get("replayed")) == (True, {"seen": "once"}, replayed)
            await socket.close()
