"""Moments for which a connection waits rarely or never."""

from __future__ import annotations

import asyncio


class Moment:
    """Event that is created when something waits for it, because an ``asyncio.Event`` costs 900 bytes
    per connection.
    """

    __slots__ = ("_comes",)

    def __init__(self) -> None:
        self._comes: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        """Wait until it comes the next time."""
        if self._comes is None:
            self._comes = asyncio.get_running_loop().create_future()
        # Shielded, because others may wait for the same future.
        await asyncio.shield(self._comes)

    def come(self) -> None:
        """Wake all that wait."""
        if self._comes is not None:
            self._comes.set_result(None)
            self._comes = None
