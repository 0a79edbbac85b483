from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from session_mgmt.consumers.pages import Shelf
from session_mgmt.consumers.serving import Serving
from tests.clocks import Clock
from tests.consumers.crowd import Room
from tests.walks.conftest import created, declared, peers, way

__all__ = ["created", "declared", "peers", "way"]


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    clock, serving = Clock(), Serving(None)
    serving._shelf = Shelf(clock, clock.call_later)
    yield Room(serving, clock)
    serving.stop()
    for feed in serving.feeds.values():
        feed.stop()
