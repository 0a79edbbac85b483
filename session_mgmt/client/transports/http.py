"""Attachment over HTTP: an attach, polls to receive, and calls to send (PROTOCOL section 16)."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import httpx

from session_mgmt.client.clock import limit_time
from session_mgmt.client.effects import Leave
from session_mgmt.client.transports.calls import STREAM, Answer, CallFailure, Calls
from session_mgmt.client.transports.carrier import Frame, Host, Traffic, TransportName, build_close
from session_mgmt.client.transports.places import Asked, Places
from session_mgmt.client.transports.poller import Poller
from session_mgmt.client.transports.sender import Sender
from session_mgmt.client.transports.way import Way
from session_mgmt.protocol.codes import Close

# Frames that are not sent over HTTP, because polls confirm receipts and are the sign of life.
_NOT_SENT = frozenset({"ack", "pong", "disconnect"})
# Members of `connect` that the call itself proves.
_PROOFS = frozenset({"type", "token", "auth"})
# Bytes of a call with frames that are not frames.
ROOM = 8_192
ATTACH_SECONDS = 15.0
# The server answers within 20 s.
ANSWER_SECONDS = 30.0
# Seconds that a leaving client waits for its last writes, and for the answer.
LEAVE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Arrived:
    """Frame of an answer; `asked` are the positions that its call has sent."""

    frame: Frame
    asked: Asked


class HttpCarrier:
    """Attachment over HTTP, which begins with `connect`."""

    has_beats = False

    def __init__(self, host: Host, way: Way) -> None:
        self.traffic = Traffic()
        self._host, self._way = host, way
        self._calls = Calls(host.rest)
        self._sender = Sender(host.clock, self)
        self._poller = Poller(host.clock, "sse" if way.prefers_streams else "longpoll", self)
        self._places = Places(lambda: host.core.logs, lambda: host.core.list_wishes(), self._poller.restart)
        self._attach: asyncio.Task[None] | None = None
        self._arrived: asyncio.Queue[Arrived | Leave] = asyncio.Queue()
        self._given: Arrived | None = None
        self._client: dict[str, Any] | None = None
        # The same, while the server must still be told of the end.
        self._leaving: dict[str, Any] | None = None
        # Id of the recovery, until it is complete.
        self._recovery: str | None = None
        # Positions that the running calls have sent.
        self._polled: Asked = {}
        self._sent: Asked = {}

    @property
    def name(self) -> TransportName:
        return self._poller.mode

    async def open(self) -> Leave | None:
        return None

    def send_frame(self, frame: Mapping[str, Any]) -> None:
        if frame["type"] == "connect":
            self._attach = asyncio.create_task(self._open_attachment(frame))
        elif frame["type"] not in _NOT_SENT:
            self._places.note_sent(frame)
            self.traffic.note_sent(self._sender.add(frame))

    async def receive_frame(self, patience: float | None) -> Frame | Leave:
        """Return the next frame or the end. Each call has its own time limit, so `patience` is not used."""
        self._finish_given()
        while True:
            arrived = await self._arrived.get()
            if isinstance(arrived, Leave):
                return arrived
            self._given = arrived
            if self._prepare(arrived):
                return arrived.frame
            self._finish_given()

    def interrupt(self, leave: Leave) -> None:
        self._arrived.put_nowait(leave)

    async def pause(self) -> None:
        """Start no more calls that send frames; return when none is running."""
        await self._sender.pause()

    def resume(self) -> None:
        self._sender.resume()

    async def close(self, code: int, last: Mapping[str, Any] | None = None) -> None:
        if code in (1000, Close.DETACHED):
            await self._leave(is_last=code == 1000)
        self.interrupt(build_close(code))

    async def abandon(self) -> None:
        self._client = self._leaving = None
        if self._attach is not None:
            self._attach.cancel()
            await asyncio.gather(self._attach, return_exceptions=True)
        await self._poller.stop()
        await self._sender.stop()

    async def _leave(self, *, is_last: bool) -> None:
        """Report the end of this attachment to the server; with `is_last` first send the waiting writes."""
        client, self._leaving = self._leaving, None
        if client is None:
            return
        with contextlib.suppress(TimeoutError, CallFailure):
            async with limit_time(self._host.clock, LEAVE_SECONDS):
                if is_last:
                    await self._sender.finish()
                await self._calls.ask("leave", json.dumps(client), patience=LEAVE_SECONDS)

    # Frames that have arrived.

    def _prepare(self, arrived: Arrived) -> bool:
        """Note what a frame says about the attachment; return True if the client must receive it as well."""
        frame = arrived.frame
        if frame["type"] == "connected":
            self._take_connected(frame)
        elif frame["type"] == "bye":
            self._leaving = None
        elif frame["type"] == "recovery":
            self._recovery = None
        self._places.note_frame(frame)
        return frame["type"] not in ("again", "grants") and not self._places.is_stale(frame, arrived.asked)

    def _take_connected(self, frame: Frame) -> None:
        self._client = self._leaving = {"client_id": frame["client_id"], "generation": frame["generation"]}
        self._recovery = frame.get("recovery")
        self._places.take_connected(frame)
        self._poller.hold = frame["heartbeat"].get("interval") or self._poller.hold
        if most := frame["limits"].get("frame_bytes"):
            self._sender.most_bytes = most - ROOM

    def _finish_given(self) -> None:
        """Go on after the last frame was handled, so that the next call sends the new positions."""
        given, self._given = self._given, None
        if given is None:
            return
        self._places.advance(given.frame, given.asked)
        self._places.note_answer(given.frame)
        if given.frame["type"] == "connected":
            self._poller.start()
        self._arrived.task_done()

    async def _take_frames(self, frames: list[Frame], size: int, asked: Asked) -> None:
        for frame in frames:
            self.traffic.note_received(size)
            size = 0
            self._arrived.put_nowait(Arrived(frame, asked))
        await self._arrived.join()

    # Calls.

    async def _open_attachment(self, connect: Mapping[str, Any]) -> None:
        fields = {name: value for name, value in connect.items() if name not in _PROOFS}
        text = json.dumps({**fields, "transport": self.name}, separators=(",", ":"))
        begun = self._host.clock.now()
        try:
            answer = await self._calls.ask("connections", text, patience=ATTACH_SECONDS)
        except CallFailure as failure:
            if failure.error is not None:
                # As on a socket, the error comes before the end, because it may concern the session.
                self._arrived.put_nowait(Arrived(failure.error, {}))
            self.fail(failure)
        else:
            self._poller.note_round_trip(begun)
            await self._take_frames(answer.frames, answer.size, {})

    def _build_body(self, **more: Any) -> dict[str, Any]:
        return {**(self._client or {}), "acked": self._host.core.outbox.acked, **more}

    def _build_poll(self, hold: float) -> str:
        self._polled, logs = self._places.describe_for_poll()
        body = self._build_body(recovery=self._recovery, hold=hold, logs=logs)
        return json.dumps(body, separators=(",", ":"))

    async def ask_poll(self, hold: float) -> Answer:
        return await self._calls.ask("poll", self._build_poll(hold), patience=None)

    def open_stream(self, hold: float) -> AbstractAsyncContextManager[httpx.Response]:
        return self._calls.open("poll", self._build_poll(hold), patience=None, accept=STREAM)

    async def take_polled(self, frames: list[Frame], size: int) -> None:
        await self._take_frames(frames, size, self._polled)

    async def send_frames(self, texts: list[str], documents: list[str]) -> Answer:
        self._sent = self._places.list_places(documents)
        places = {log: place and place.as_json() for log, place in self._sent.items()}
        head = json.dumps(self._build_body(logs=places), separators=(",", ":"))
        text = f'{head[:-1]},"frames":[{",".join(texts)}]}}'
        return await self._calls.ask("frames", text, patience=ANSWER_SECONDS)

    async def take_sent(self, answer: Answer) -> None:
        await self._take_frames(answer.frames, answer.size, self._sent)

    def leave_streams(self) -> None:
        self._way.note_buffered()

    def tell_missed(self, missed: int) -> None:
        self._host.tell_missed(missed)

    def tell_round_trip(self, milliseconds: float) -> None:
        self._host.tell_round_trip(milliseconds)

    def fail(self, failure: CallFailure) -> None:
        leave = failure.leave
        if failure.kind != "refused":
            self.interrupt(leave)
            return
        bye = {"type": "bye", "code": leave.code, "name": leave.name, "reconnect": leave.reconnect}
        bye |= {"retry_after": leave.retry_after, "reason": leave.reason}
        self._arrived.put_nowait(Arrived(bye, {}))
