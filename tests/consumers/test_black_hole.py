"""Half-open peer on a real socket: its network is gone, and no close ever comes."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
import websockets

from session_mgmt.consumers.hub import hub
from session_mgmt.consumers.websocket import SUBPROTOCOL, SessionConsumer
from session_mgmt.signals import heartbeat_missed
from tests.consumers.test_uvicorn_fast_path import serve

__all__ = ["serve"]

pytestmark = pytest.mark.django_db(transaction=True)
INTERVAL, LIMIT = 0.6, 2


async def test_a_black_holed_client_is_found_within_interval_times_limit_and_a_second(
    settings: Any, serve: Any, created: Any
) -> None:
    settings.SESSION_MGMT = {"interval_range": (INTERVAL, 60.0), "lease_flush_interval": 3600.0}
    loop = asyncio.get_running_loop()
    lost: asyncio.Future[float] = loop.create_future()

    def hear(missed: int, limit: int, **facts: Any) -> None:
        if missed == limit:
            loop.call_soon_threadsafe(lost.set_result, loop.time())

    heartbeat_missed.connect(hear, weak=False)
    _, address = await serve(SessionConsumer.as_asgi(), ws="session_mgmt.uvicorn:WebSocketProtocol")
    async with websockets.connect(address, compression=None, subprotocols=[SUBPROTOCOL], close_timeout=1) as socket:
        await socket.send(orjson.dumps({"type": "connect", "token": created.token.secret, "logs": {}}).decode())
        assert orjson.loads(await socket.recv())["type"] == "connected"
        wish = {"type": "configure", "id": 1, "interval": INTERVAL, "missed_limit": LIMIT}
        await socket.send(orjson.dumps(wish).decode())
        assert orjson.loads(await socket.recv())["config"]["interval"] == INTERVAL
        (connection,) = hub().serving.connections
        # The end of a cable: nothing is read, answered or closed from here on.
        socket.transport.pause_reading()
        silent_from = connection.heartbeat.heard_at  # type: ignore[attr-defined]
        try:
            found_at = await lost
        finally:
            heartbeat_missed.disconnect(hear)
        assert INTERVAL * LIMIT <= found_at - silent_from <= INTERVAL * LIMIT + 1
        assert connection.closed_with == 4002  # type: ignore[attr-defined]
        socket.transport.resume_reading()
        with pytest.raises(websockets.ConnectionClosed) as closed:
            while True:
                await socket.recv()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 4002
