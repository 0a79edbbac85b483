"""Polls of an attachment, one after another, until it ends.

A stream is a poll with a long answer: it ends by itself, and the next one follows.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol, TypeAlias

import httpx

from session_mgmt.client.clock import Clock, limit_time
from session_mgmt.client.transports.calls import STREAM, Answer, CallFailure, build_lost
from session_mgmt.client.transports.carrier import Frame
from session_mgmt.client.transports.stream import FIRST_BYTES_WITHIN, FlowWatch, read_events

Mode: TypeAlias = Literal["sse", "longpoll"]

# Seconds to wait for an answer in addition to the time for which the server may hold it.
ANSWER_WITHIN = 10.0
# Seconds to wait for an answer if the connection is in doubt.
SIGN_WITHIN = 3.0
# Seconds between polls that the server should have held but did not.
SHORTEST = 1.0
LONGEST_HOLD = 55.0
AGAIN_AFTER = 1.0
ATTEMPTS = 2
# Name of the failure if something on the way buffers a stream.
BUFFERED = "stream_buffered"


class PollerPort(Protocol):
    """Calls that `Poller` needs from its attachment."""

    async def ask_poll(self, hold: float) -> Answer:
        """Poll once. Raises CallFailure."""

    def open_stream(self, hold: float) -> AbstractAsyncContextManager[httpx.Response]:
        """Poll for a stream; yield its answer. Raises CallFailure."""

    async def take_polled(self, frames: list[Frame], size: int) -> None:
        """Handle frames; return when this is done."""

    def fail(self, failure: CallFailure) -> None:
        """End the attachment."""

    def leave_streams(self) -> None:
        """Note that streams do not get through."""

    def tell_missed(self, missed: int) -> None:
        """Report how many polls in a row had no answer."""

    def tell_round_trip(self, milliseconds: float) -> None: ...


class Poller:
    """Polling until `stop`. `hold` is in seconds."""

    def __init__(self, clock: Clock, mode: Mode, port: PollerPort, chance: Callable[[], float] = random.random) -> None:
        self._clock, self._port, self._chance = clock, port, chance
        self.mode: Mode = mode
        self.hold = 25.0
        self._round_trip = 0.0
        self._running: asyncio.Task[None] | None = None
        self._turn: asyncio.Task[None] | None = None
        # True if the next poll must be answered at once, because the network may be gone.
        self._is_in_doubt = False
        self._lost = 0

    def start(self) -> None:
        if self._running is None:
            self._running = asyncio.create_task(self._run())

    def restart(self) -> None:
        """Cancel the running poll and start a new one, because the list of logs has changed."""
        if self._turn is not None:
            self._turn.cancel()

    def note_round_trip(self, begun: float) -> None:
        """Measure a call that began at this time and was answered at once."""
        # The clock may have been set back.
        self._round_trip = max(self._clock.now() - begun, 0.0)
        self._port.tell_round_trip(self._round_trip * 1000)

    async def stop(self) -> None:
        running = [task for task in (self._running, self._turn) if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            self._turn = asyncio.create_task(self._take_turn())
            await asyncio.wait([self._turn])
            # Cancelled by `restart`, so poll again.
            if self._turn.cancelled():
                continue
            failure = self._turn.exception()
            if failure is None:
                continue
            if not isinstance(failure, CallFailure):
                raise failure
            if not await self._get_over(failure):
                self._port.fail(failure)
                return

    async def _take_turn(self) -> None:
        """Poll once, and wait until the next poll is due."""
        begun, is_held = self._clock.now(), not self._is_in_doubt
        if is_held and self.mode == "sse":
            has_frames, next_in = await self._read_stream(), 0.0
        else:
            answer = await self._ask(is_held=is_held)
            has_frames, next_in = bool(answer.frames), answer.next_in
        self._is_in_doubt, self._lost = False, 0
        is_short = is_held and not has_frames and self._clock.now() - begun < SHORTEST
        wait = max(next_in, SHORTEST) if is_short else next_in
        if wait > 0:
            await self._clock.sleep(wait)

    async def _ask(self, *, is_held: bool) -> Answer:
        hold = min(LONGEST_HOLD, self.hold) if is_held else 0.0
        patience = hold + ANSWER_WITHIN if is_held else max(SIGN_WITHIN, 4 * self._round_trip)
        begun = self._clock.now()
        try:
            async with limit_time(self._clock, patience):
                answer = await self._port.ask_poll(hold)
        except TimeoutError as error:
            raise build_lost("heartbeat_lost") from error
        if not is_held:
            self.note_round_trip(begun)
        await self._port.take_polled(answer.frames, answer.size)
        return answer

    async def _read_stream(self) -> bool:
        """Pass on the frames of a stream until it ends; return True if there were any."""
        watch, has_frames, begun = FlowWatch(self._clock), False, self._clock.now()
        try:
            async with asyncio.timeout(None) as within:
                watch.begin(within, FIRST_BYTES_WITHIN + self._round_trip)
                async with self._port.open_stream(self.hold) as answer:
                    if not answer.headers.get("content-type", "").startswith(STREAM):
                        raise build_lost(BUFFERED)
                    self.note_round_trip(begun)
                    async for frame, size in read_events(answer.aiter_bytes(), watch):
                        has_frames = True
                        await self._port.take_polled([frame], size)
        except TimeoutError as error:
            raise build_lost(BUFFERED if watch.is_in_test else "heartbeat_lost") from error
        finally:
            watch.stop()
        return has_frames

    async def _get_over(self, failure: CallFailure) -> bool:
        """Wait after a failure as long as necessary; return False if it ends the attachment."""
        if self.mode == "sse" and (failure.leave.name == BUFFERED or failure.status == 406):
            self.mode = "longpoll"
            self._port.leave_streams()
            return True
        if failure.kind == "lost":
            self._lost += 1
            self._is_in_doubt = True
            self._port.tell_missed(self._lost)
        if self._lost >= ATTEMPTS or not (failure.kind == "lost" or failure.is_passing):
            return False
        await self._clock.sleep((failure.leave.retry_after or 0.0) + self._chance() * AGAIN_AFTER)
        return True
