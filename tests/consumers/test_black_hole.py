"""Half-open peer on a real socket: its network is gone, and no close ever comes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest
import websockets

from session_mgmt.consumers import rounds
from session_mgmt.consumers.hub import hub
from session_mgmt.consumers.websocket import SUBPROTOCOL, SessionConsumer
from tests.clocks import LoopTime
from tests.consumers.test_uvicorn_fast_path import serve

__all__ = ["serve"]

pytestmark = pytest.mark.django_db(transaction=True)
INTERVAL, LIMIT = 5.0, 2


async def test_a_black_holed_client_is_found_within_interval_times_limit_and_a_second(
    settings: Any, serve: Any, created: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a real socket, with a clock of the test's own; the wheel turns as late as it ever does."""
    settings.SESSION_MGMT = {"lease_flush_interval": 3600.0, "lease_duration": timedelta(hours=3)}
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
        time = LoopTime()
        time.now = silent_from = connection.heartbeat.heard_at  # type: ignore[attr-defined]
        monkeypatch.setattr(hub().rounds, "_loop", time)
        while connection.closed_with is None:  # type: ignore[attr-defined]
            time.now += rounds.TICK * (1 + rounds.SPREAD)
            hub().rounds._beat_due()
            assert time.now - silent_from <= INTERVAL * LIMIT + 1
        assert time.now - silent_from >= INTERVAL * LIMIT
        assert connection.closed_with == 4002  # type: ignore[attr-defined]
        socket.transport.resume_reading()
        with pytest.raises(websockets.ConnectionClosed) as closed:
            while True:
                await socket.recv()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 4002
