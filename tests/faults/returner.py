"""Client that comes back as it is told to: after `retry_after`, or after a random time, or never."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any

from websockets.exceptions import WebSocketException

from tests.faults.peer import Frame, Peer, Position

FIRST_WAIT, LONGEST_WAIT = 0.5, 20.0
# What PROTOCOL section 9 gives a client that has been connected before.
ANSWER_SECONDS = 35.0


@dataclass(eq=False)
class Returner(Peer):
    """Peer with the words that its last connection ended with. `budget` is the number of writes it may still make."""

    answer_seconds: float = ANSWER_SECONDS
    budget: int = 0
    final: bool = False
    last_word: Frame | None = None

    def take(self, frame: Frame, asked: dict[str, Position | None]) -> None:
        if frame["type"] == "bye" or (frame["type"] == "error" and frame.get("seq") is None):
            self.last_word = frame
        super().take(frame, asked)

    async def run(self, adopted: Any = None) -> None:
        """Come, be served, and come again, until it is sent away for good."""
        attempt = 0
        while not self.stopping and not self.final:
            self.last_word, was_ready = None, self.connections
            with contextlib.suppress(OSError, TimeoutError, WebSocketException):
                await self.serve(await self.join())
            attempt = 0 if self.connections > was_ready else attempt + 1
            self.final = self.last_word is not None and self.last_word.get("reconnect") is False
            if self.back is not None:
                await self.back.wait()
                self.back = None
            elif not self.stopping and not self.final:
                await asyncio.sleep(self._pick_wait(attempt))

    def _pick_wait(self, attempt: int) -> float:
        wait = (self.last_word or {}).get("retry_after")
        # One moment at least: a server may say 0, and must not be asked again and again at once.
        drawn = self.chance.uniform(0, min(LONGEST_WAIT, FIRST_WAIT * 2**attempt))
        return max(0.02, drawn if wait is None else float(wait))

    def allow(self, writes: int) -> None:
        """Let it make so many writes more."""
        self.budget += writes
        self.writing = self.budget > 0
        self.wake()

    def cut(self) -> None:
        """Break the connection; it does not open another before `come_back`."""
        self.stay_away()
        if self.socket is not None:
            self.socket.transport.abort()
