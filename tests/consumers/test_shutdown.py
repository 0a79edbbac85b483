"""The end of a process: what it has gathered is written first, and a database that does not answer holds it up for a
while only.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import Any

import pytest

from session_mgmt.actions.sessions import attachments, closing, lifecycle
from session_mgmt.bridge import bridge
from session_mgmt.consumers import hub as hub_module
from session_mgmt.consumers.hub import hub
from session_mgmt.consumers.lifespan import lifespan
from session_mgmt.models import Connection
from session_mgmt.protocol.frames import Connect
from tests.attaching import attach_client
from tests.ends import end

pytestmark = pytest.mark.django_db(transaction=True)


def attach() -> attachments.Attachment:
    token = lifecycle.create_session().token.secret
    frame = Connect(token=token, client_id=None, acked=0, logs={}, agent="test")
    return attach_client(frame)


async def test_ends_that_wait_are_written_before_the_process_ends() -> None:
    one = await bridge().call(attach)
    hub().late_writes.add_ended(end(one), one.client_id)
    await hub().stop()
    row = await bridge().read(Connection.objects.get)
    assert (row.close_code, row.closed_by) == (1006, "client")


async def test_a_database_that_does_not_answer_holds_up_no_shutdown(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    def hang(*args: Any, **kwargs: Any) -> Any:
        go_on.wait(30)
        return closing.Closed([], [])

    one = await bridge().call(attach)
    monkeypatch.setattr(closing, "close_connections", hang)
    monkeypatch.setattr(hub_module, "FLUSH_SECONDS", 0.01)
    hub().late_writes.add_ended(end(one), one.client_id)
    try:
        await hub().stop()
        assert (await bridge().read(Connection.objects.get)).closed_at is None
    finally:
        go_on.set()
        await hub().late_writes.flush()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_that_stops_the_server_first_sends_the_clients_away(peers: Any, number: int) -> None:
    peer = peers()
    await peer.open((await bridge().call(lifecycle.create_session)).token.secret, logs={})
    told: asyncio.Queue[str] = asyncio.Queue()
    stops: list[int] = []

    async def send(message: dict[str, str]) -> None:
        told.put_nowait(message["type"])

    asked: asyncio.Queue[None] = asyncio.Queue()
    asked.put_nowait(None)
    before = signal.signal(number, lambda received, frame: stops.append(received))
    serving = asyncio.ensure_future(lifespan({"type": "lifespan"}, asked.get, send))
    try:
        assert await told.get() == "lifespan.startup.complete"
        signal.raise_signal(number)
        bye = await peer.until_type("bye")
        assert (bye["code"], stops) == (4000, [number]) and bye["retry_after"] is not None
        asked.put_nowait(None)
        await serving
    finally:
        signal.signal(number, before)
