"""The beginning and the end of a server (ASGI lifespan): one that is told to end says good-bye before it closes.

The servers close their sockets before they tell an application to shut down, so the signal itself is heard.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from session_mgmt.consumers.hub import hub


async def lifespan(scope: Any, receive: Any, send: Any) -> None:
    """The ASGI application for scopes of type ``lifespan``."""
    await receive()
    loop = asyncio.get_running_loop()
    with _before_sigterm(lambda: loop.call_soon_threadsafe(_drain)):
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await hub().stop()
    await send({"type": "lifespan.shutdown.complete"})


def _drain() -> None:
    hub().drain()


@contextmanager
def _before_sigterm(act: Callable[[], Any]) -> Iterator[None]:
    """Do something before the server's own handler. Where there is none, the signal ends the process at once."""
    before = signal.getsignal(signal.SIGTERM)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield
        return
    handler: Callable[[int, FrameType | None], Any] = before

    def heard(number: int, frame: FrameType | None) -> None:
        act()
        handler(number, frame)

    signal.signal(signal.SIGTERM, heard)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is heard:
            signal.signal(signal.SIGTERM, before)
