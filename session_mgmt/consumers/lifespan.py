"""Start and end of a server (ASGI lifespan): a server that shuts down first says goodbye to its clients.

Servers close their sockets before they report the shutdown to an application, so the signal itself is handled.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

from session_mgmt.consumers.hub import hub

# Signals that stop a server; Ctrl-C sends the second one.
STOPS = (signal.SIGTERM, signal.SIGINT)


async def lifespan(scope: Any, receive: Any, send: Any) -> None:
    """Serve scopes of type ``lifespan``."""
    await receive()
    loop = asyncio.get_running_loop()
    with ExitStack() as watched:
        for number in STOPS:
            watched.enter_context(_act_before(number, lambda: loop.call_soon_threadsafe(_drain_hub)))
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await hub().stop()
    await send({"type": "lifespan.shutdown.complete"})


def _drain_hub() -> None:
    hub().drain()


@contextmanager
def _act_before(number: int, act: Callable[[], Any]) -> Iterator[None]:
    """Call ``act`` before the server's own handler; without a handler the signal ends the process at once."""
    before = signal.getsignal(number)
    # Python sets signal handlers only in the main thread, and a server in a test may run in another one.
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield
        return
    handler: Callable[[int, FrameType | None], Any] = before

    def handle(received: int, frame: FrameType | None) -> None:
        act()
        handler(received, frame)

    signal.signal(number, handle)
    try:
        yield
    finally:
        # Another handler may have been installed after this one, and must stay.
        if signal.getsignal(number) is handle:
            signal.signal(number, before)
