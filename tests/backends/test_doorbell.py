"""Channel layers that are down: each costs a line in the log, not a write and not a page of tracebacks."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from typing import Any

import pytest

from session_mgmt.backends import channel_layer
from session_mgmt.backends.channel_layer import LayerCarrier, LayerListener
from session_mgmt.backends.doorbell import Doorbell

WAIT = 60.0
# The package's attribute of this name is the function.
MODULE = sys.modules[Doorbell.__module__]
LOGGER = logging.getLogger("session_mgmt.backends")


class DeadLayer:
    """Layer whose Redis is gone."""

    async def group_send(self, group: str, message: Any) -> None:
        raise ConnectionError("refused")

    async def group_add(self, group: str, channel: str) -> None:
        raise ConnectionError("refused")

    async def new_channel(self) -> str:
        raise ConnectionError("refused")


class Lines(logging.Handler):
    """Lines that were logged, with an event for those who wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.came = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.came.set()


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(channel_layer, "get_channel_layer", DeadLayer)
    handler = Lines()
    LOGGER.addHandler(handler)
    yield handler
    LOGGER.removeHandler(handler)


def test_a_ring_that_the_layer_does_not_take_is_heard_here_and_logged_in_one_line(lines: Lines) -> None:
    heard: list[Any] = []
    bell = Doorbell()
    bell.listen(lambda heads, payload: heard.append(heads))
    bell.ring({"topic:1": 5})
    assert heard == [{"topic:1": 5}]
    assert lines.came.wait(WAIT)
    assert lines.records[0].exc_info is None
    assert "refused" in lines.records[0].getMessage()


async def test_a_layer_that_is_away_is_told_once_and_once_that_it_is_back(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []

    class RevivedLayer(DeadLayer):
        async def group_send(self, group: str, message: Any) -> None:
            sent.append(group)

    sender = MODULE._SenderThread(LayerCarrier())
    for _ in range(3):
        await sender._send_out({"topic:1": 5}, [])
    monkeypatch.setattr(channel_layer, "get_channel_layer", RevivedLayer)
    for _ in range(2):
        await sender._send_out({"topic:1": 6}, [])
    assert [record.getMessage()[:32] for record in lines.records] == [
        "The channel layer does not take ",
        "The channel layer takes doorbell",
    ]
    assert len(sent) == 2


async def test_a_listener_goes_on_without_the_layer(lines: Lines) -> None:
    listening = asyncio.create_task(LayerListener(print, lambda: None).run())
    await asyncio.to_thread(lines.came.wait, WAIT)
    assert not listening.done()
    listening.cancel()
    assert lines.records[0].exc_info is None


class ForgingLayer:
    """Layer to which somebody else writes."""

    def __init__(self, *messages: Any) -> None:
        self._messages = list(messages)

    async def new_channel(self) -> str:
        return "channel"

    async def receive(self, channel: str) -> Any:
        if not self._messages:
            await asyncio.Event().wait()
        return self._messages.pop(0)


async def test_a_message_that_is_no_doorbell_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = ForgingLayer({"type": "doorbell"}, {"type": "doorbell", "heads": "s:1"}, {"heads": {"s:1": 4}})
    monkeypatch.setattr(channel_layer, "get_channel_layer", lambda: layer)
    heard: asyncio.Queue[Any] = asyncio.Queue()
    listening = asyncio.create_task(LayerListener(lambda heads, payload: heard.put_nowait(heads), lambda: None).run())
    assert await asyncio.wait_for(heard.get(), WAIT) == {"s:1": 4}
    listening.cancel()
