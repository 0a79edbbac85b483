"""Sending over HTTP: one call at a time. Frames that come meanwhile are sent with the next call.

A call without an answer is repeated unchanged, because only a receipt decides about a write.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from session_mgmt.client.clock import Clock
from session_mgmt.client.transports.calls import Answer, CallFailure
from session_mgmt.client.transports.carrier import Frame
from session_mgmt.client.writing import FRAME_BYTES, STATE

MOST_FRAMES = 100
# Seconds before a call without an answer, or frames that an answer has left out, are sent again.
AGAIN_AFTER = 1.0
# The same after many answers that have left out all frames.
LONGEST_REST = 16.0
ATTEMPTS = 2


class SenderPort(Protocol):
    """Calls that `Sender` needs from its attachment."""

    async def send_frames(self, texts: list[str], documents: list[str]) -> Answer:
        """Send frames, given as JSON texts. Raises CallFailure."""

    async def take_sent(self, answer: Answer) -> None:
        """Handle the answer; return when its frames were handled."""

    def fail(self, failure: CallFailure) -> None:
        """End the attachment."""


@dataclass(frozen=True, slots=True)
class Item:
    """Waiting frame, and the text that is sent."""

    frame: Mapping[str, Any]
    text: str
    size: int

    @property
    def is_answered_twice(self) -> bool:
        """True if it may be sent twice; a message without a number could take effect twice."""
        return self.frame.get("id") is not None or self.frame.get("seq") is not None


class Sender:
    """Queue of frames. `most_bytes` limits the frames of one call."""

    def __init__(self, clock: Clock, port: SenderPort, chance: Callable[[], float] = random.random) -> None:
        self._clock, self._port, self._chance = clock, port, chance
        self.most_bytes = FRAME_BYTES
        self._queue: list[Item] = []
        self._is_paused = False
        self._flight: asyncio.Task[None] | None = None

    def add(self, frame: Mapping[str, Any]) -> int:
        """Send a frame with the next call; return the size of its text in bytes."""
        text = json.dumps(frame, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        size = len(text.encode())
        self._queue.append(Item(dict(frame), text, size + 1))
        self._take_off()
        return size

    async def finish(self) -> None:
        """Return when no frame waits and no call is running."""
        if self._flight is not None:
            await asyncio.wait([self._flight])

    async def pause(self) -> None:
        """Start no more calls; return when none is running."""
        self._is_paused = True
        await self.finish()

    def resume(self) -> None:
        self._is_paused = False
        self._take_off()

    async def stop(self) -> None:
        self._is_paused = True
        self._queue.clear()
        if self._flight is not None:
            self._flight.cancel()
            await asyncio.gather(self._flight, return_exceptions=True)

    def _take_off(self) -> None:
        # In a task, so that all frames of one turn of the loop go into one call.
        if self._flight is None and self._queue and not self._is_paused:
            self._flight = asyncio.create_task(self._fly())
            self._flight.add_done_callback(self._land)

    def _land(self, flight: asyncio.Task[None]) -> None:
        self._flight = None
        if not flight.cancelled() and (error := flight.exception()) is not None:
            raise error
        # Frames may have come after the last check.
        self._take_off()

    async def _fly(self) -> None:
        rest = AGAIN_AFTER
        while self._queue and not self._is_paused:
            batch = self._take_batch()
            answer = await self._send_batch(batch)
            if answer is None:
                self._is_paused = True
                return
            await self._port.take_sent(answer)
            left = _list_unanswered(batch, answer.frames)
            self._queue[:0] = left
            # The server makes progress if it left out only a part.
            if len(left) < len(batch):
                rest = AGAIN_AFTER
            if left:
                await self._clock.sleep(rest)
                rest = min(LONGEST_REST, 2 * rest)

    async def _send_batch(self, batch: list[Item]) -> Answer | None:
        """Send until there is an answer; return None if the attachment has ended."""
        lost = 0
        while True:
            try:
                return await self._port.send_frames([item.text for item in batch], _list_documents(batch))
            except CallFailure as failure:
                lost += failure.kind == "lost"
                if lost >= ATTEMPTS or not (failure.kind == "lost" or failure.is_passing):
                    self._port.fail(failure)
                    return None
                wait = failure.leave.retry_after or 0.0
            await self._clock.sleep(wait + self._chance() * AGAIN_AFTER)
            batch = [item for item in batch if item.is_answered_twice]

    def _take_batch(self) -> list[Item]:
        size = count = 0
        for item in self._queue[:MOST_FRAMES]:
            size += item.size
            if count and size > self.most_bytes:
                break
            count += 1
        batch, self._queue = self._queue[:count], self._queue[count:]
        return batch


def _list_documents(batch: list[Item]) -> list[str]:
    """Return the logs of the documents that these frames change."""
    return list(dict.fromkeys(STATE + item.frame["doc"] for item in batch if item.frame["type"] == "update"))


def _list_unanswered(batch: list[Item], answers: list[Frame]) -> list[Item]:
    """Return the frames that still need an answer."""
    numbers = {answer.get("seq") for answer in answers}
    ids = {answer.get("id") for answer in answers}

    def is_open(item: Item) -> bool:
        seq, id_ = item.frame.get("seq"), item.frame.get("id")
        return seq not in numbers if seq is not None else id_ is not None and id_ not in ids

    return [item for item in batch if is_open(item)]
