"""Servers that are told to end say so first: their clients come back spread over some seconds; all rows are closed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sqlite3
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import websockets

from session_mgmt.conf import settings
from session_mgmt.consumers.websocket import SUBPROTOCOL
from session_mgmt.protocol.codes import Close
from tests.faults.servers import AppServer

CLIENTS = 20

pytestmark = [pytest.mark.faults, pytest.mark.sqlite, pytest.mark.timeout(600)]


def created(server: AppServer) -> Any:
    request = urllib.request.Request(server.url + "sessions/", b"{}", {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


async def connected(address: str, token: str) -> Any:
    socket = await websockets.connect(address, subprotocols=[SUBPROTOCOL], compression=None, open_timeout=60)  # type: ignore[list-item]
    await socket.send(json.dumps({"type": "connect", "token": token, "logs": {"state:main": None}, "acked": 0}))
    assert json.loads(await socket.recv())["type"] == "connected"
    return socket


async def last_words(socket: Any) -> Any:
    """Give the last frame that the server sends, and the code that it closes with."""
    frame = None
    try:
        while True:
            frame = json.loads(await socket.recv())
    except websockets.ConnectionClosed:
        return frame, socket.close_code


async def test_a_server_that_gets_sigterm_says_good_bye_to_everybody(server: AppServer, sqlite_file: Path) -> None:
    made = await asyncio.to_thread(created, server)
    address = server.url.replace("http", "ws").replace("/api/", "/ws/session/")
    sockets = [await connected(address, made["token"]) for _ in range(CLIENTS)]
    assert server.process is not None
    server.process.send_signal(signal.SIGTERM)
    words = await asyncio.gather(*map(last_words, sockets))
    await asyncio.to_thread(server.process.wait)
    assert {code for _, code in words} == {Close.DRAINING}
    assert {(bye["type"], bye["name"], bye["reconnect"]) for bye, _ in words} == {("bye", "draining", True)}
    waits = {bye["retry_after"] for bye, _ in words}
    assert len(waits) == CLIENTS and all(0 <= wait <= settings().drain_spread for wait in waits)
    with contextlib.closing(sqlite3.connect(sqlite_file)) as rows:
        closed = rows.execute("SELECT close_code, closed_by FROM session_mgmt_connection").fetchall()
    assert closed == [(Close.DRAINING, "server")] * CLIENTS
    assert not [line for line in server.output() if "Traceback" in line or "ERROR" in line]
