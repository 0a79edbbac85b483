"""Client that changes its transport: long polls, streams and sockets, one after the other, with the same writes.

Entries come by polls and by answers to writes. So what one answer repeats of another is ignored by its offset, as
PROTOCOL section 16 says; what one answer repeats of itself is not, and the checker sees it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import WebSocketException

from tests.faults.guests import Guest
from tests.faults.http_wire import GONE, post
from tests.faults.lists import Lister
from tests.faults.peer import Peer
from tests.faults.sight import Frame, Position, Write

WEBSOCKET, STREAM, LONG_POLL = "websocket", "sse", "longpoll"
JSON, EVENTS = "application/json", "text/event-stream"
# No byte for so long, and the connection is taken for dead.
SILENCE_SECONDS = 30.0
SOON = 0.05


class Refused(Exception):
    """The call was refused as a whole."""

    def __init__(self, status: int, error: Frame) -> None:
        super().__init__(error["name"])
        self.error = error
        self.is_for_now = status in (429, 503)


class Over(Exception):
    """The attachment has ended; the client attaches again."""


@dataclass(eq=False)
class Roamer(Peer):
    """Peer that is on a socket exactly while it has one; ``transports`` are those it chooses from at each attach."""

    transports: tuple[str, ...] = (LONG_POLL,)
    in_flight: int = 0
    grants: dict[str, str] = field(default_factory=dict)
    recovery: str | None = None
    _unseen: set[str] = field(default_factory=set)
    _calls: set[asyncio.WriteTransport] = field(default_factory=set)
    _leaving: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def unanswered(self) -> int:
        """Writes on the wire."""
        return super().unanswered if self.socket is not None else self.in_flight

    @property
    def is_heard(self) -> bool:
        return super().is_heard if self.socket is not None else bool(self._calls)

    def is_served_by(self, port: int) -> bool:
        return super().is_served_by(port) or bool(self._list_calls(port))

    def hang_up(self, port: int) -> None:
        super().hang_up(port)
        for call in self._list_calls(port):
            call.abort()

    def _list_calls(self, port: int) -> list[asyncio.WriteTransport]:
        return [call for call in self._calls if call.get_extra_info("peername")[1] == port]

    async def run(self, adopted: ClientConnection | None = None) -> None:
        """Attach by some transport, serve, and attach again until `stop`."""
        while not self.stopping:
            self.transport = WEBSOCKET if adopted else self._choose_transport()
            with contextlib.suppress(*GONE, WebSocketException, Refused):
                if self.transport == WEBSOCKET:
                    await self.serve(adopted or await self.join())
                else:
                    await self._visit()
            self.socket = adopted = None
            if not self.stopping:
                absence, self.absence = self.absence, 0.0
                await asyncio.sleep(absence or self.chance.uniform(0.02, 0.12))
            if self.back is not None:
                await self.back.wait()

    def _choose_transport(self) -> str:
        others = [one for one in self.transports if one != self.transport]
        return self.chance.choice(others or list(self.transports))

    async def move_on(self) -> None:
        """Leave the attachment with whatever is on its way, and attach again by another transport."""
        if not self.ready:
            return
        if self.socket is None:
            self._leaving.set()
        elif self.chance.random() < 0.5:
            self.socket.transport.abort()
        else:
            await self.socket.close()

    async def leave(self, seconds: float) -> None:
        if self.ready and not self.paused:
            self.absence = seconds
            await self.move_on()

    def attach_again(self) -> None:
        super().attach_again()
        if self.socket is None:
            self._leaving.set()

    async def stop(self) -> None:
        self._leaving.set()
        await super().stop()

    async def retry_answered(self) -> None:
        if self.socket is not None:
            await super().retry_answered()
            return
        candidates = [seq for seq in self.answered if seq > self.told and seq not in self.asking]
        if candidates and self.ready:
            self.asking.add(self.chance.choice(candidates))
            self._room.set()

    def _resend_now(self) -> None:
        if self.socket is not None:
            super()._resend_now()
            return
        # The next call takes them.
        self._resend = None
        self._room.set()

    # One attachment over HTTP.

    async def _visit(self) -> None:
        """Attach, poll and write side by side until the attachment is over or left."""
        self._leaving.clear()
        await self._attach()
        work = [asyncio.create_task(one) for one in (self._poll_on(), self._write_on(), self._leaving.wait())]
        try:
            await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in work:
                task.cancel()
            found = await asyncio.gather(*work, return_exceptions=True)
            self._end_visit()
        for error in found:
            # A fault of this client is no end of an attachment.
            if isinstance(error, Exception) and not isinstance(error, (Over, Refused)):
                raise error

    def _end_visit(self) -> None:
        self.ready, self.in_flight = False, 0
        self.asking.clear()
        if self._resend:
            self._resend.cancel()
            self._resend = None
        ops = [write.op for write in self.outbox.values()]
        self.history.add(self.name, "info", ops=ops, gen=self.generation, code=None, name=self.transport)

    async def _attach(self) -> None:
        asked = dict(self.positions)
        body = {"client_id": self.client_id, "acked": self._tell(), "transport": self.transport, "logs": asked}
        (connected,) = (await self.call("", {**body, "agent": "faults/1"}))["frames"]
        self.take(connected, asked)
        verdicts = connected["logs"]
        self.recovery = connected["recovery"]
        self.grants = {log: verdict["grant"] for log, verdict in verdicts.items() if "grant" in verdict}
        self._unseen = {log for log, verdict in verdicts.items() if verdict["mode"] == "snapshot"}

    async def call(self, name: str, body: Any) -> Any:
        """Send a call and read its answer. Raises ``GONE`` and ``Refused``."""
        async with asyncio.timeout(SILENCE_SECONDS):
            server = self._choose_server()
            async with post(server, name, self.token, body, accept=JSON, under_way=self._calls) as answer:
                content = orjson.loads(await answer.read())
        if answer.status != 200:
            raise self._note_refusal(answer.status, content)
        return content

    def _choose_server(self) -> str:
        return self.chance.choice(self.urls).split("/")[2]

    def _note_refusal(self, status: int, error: Frame) -> Refused:
        self.history.add(self.name, "error", gen=self.generation, frame=error)
        return Refused(status, error)

    @property
    def claim(self) -> Frame:
        return {"client_id": self.client_id, "generation": self.generation, "acked": self._tell()}

    async def _wait_after(self, error: Exception) -> None:
        """Wait before the same call is sent again. Raises what ends the attachment."""
        if self.stays_away:
            raise Over
        if not isinstance(error, Refused):
            await asyncio.sleep(self.chance.uniform(0.02, 0.12))
        elif error.is_for_now:
            await asyncio.sleep(error.error.get("retry_after") or 0.05)
        else:
            raise error

    # Reading.

    async def _poll_on(self) -> None:
        while True:
            try:
                await (self._stream() if self.transport == STREAM else self._poll())
            except (*GONE, Refused) as error:
                await self._wait_after(error)

    def _build_poll(self, places: dict[str, Position | None]) -> Frame:
        wishes = self.build_wishes()
        logs = {
            log: {"position": place, "grant": self.grants.get(log), "filter": wishes.get(log)}
            for log, place in places.items()
        }
        kept = {
            log: {name: value for name, value in one.items() if name == "position" or value}
            for log, one in logs.items()
        }
        return {**self.claim, "recovery": self.recovery, "logs": kept}

    def build_wishes(self) -> dict[str, Any]:
        """Build the filters, by log, of what is wanted in part."""
        return {}

    async def _poll(self) -> None:
        places = dict(self.positions)
        answer = await self.call("poll/", self._build_poll(places))
        self._take_all(answer["frames"], places)
        if answer["next_in"]:
            await asyncio.sleep(answer["next_in"])

    async def _stream(self) -> None:
        places = dict(self.positions)
        body, server = self._build_poll(places), self._choose_server()
        async with asyncio.timeout(SILENCE_SECONDS) as silence:
            async with post(server, "poll/", self.token, body, accept=EVENTS, under_way=self._calls) as answer:
                if answer.status != 200:
                    raise self._note_refusal(answer.status, orjson.loads(await answer.read()))
                async for frame in answer.read_events():
                    silence.reschedule(asyncio.get_running_loop().time() + SILENCE_SECONDS)
                    self._take_all([frame], places)

    def _take_all(self, frames: Iterable[Frame], places: dict[str, Position | None]) -> None:
        """Take the frames of one answer; ``places`` is where the answer stands, and is moved on."""
        for frame in frames:
            if frame["type"] == "grants":
                self.grants |= frame["grants"]
            elif frame["type"] in {"ping", "again"}:
                continue
            elif (kept := self._strain(frame, places)) is not None:
                self.take(kept, {})
            if frame["type"] == "recovery":
                self.recovery = None
            elif frame["type"] == "bye":
                raise Over

    def _strain(self, frame: Frame, places: dict[str, Position | None]) -> Frame | None:
        """Leave out what another answer has brought already."""
        if frame["type"] == "entries":
            return self._strain_entries(frame, places)
        if frame["type"] == "snapshot":
            log, position = frame["log"], frame["position"]
            # Where no other answer came between, this one knows best: history may have been lost.
            is_newest = places.get(log) == self.positions[log]
            places[log] = position
            if (
                log not in self._unseen
                and not is_newest
                and _has_reached(self.positions[log], position[0], position[1])
            ):
                return None
            self._unseen.discard(log)
        return frame

    def _strain_entries(self, frame: Frame, places: dict[str, Position | None]) -> Frame | None:
        log, epoch, kept = frame["log"], frame["epoch"], []
        reached = self.positions[log]
        for entry in frame["entries"]:
            offset, tag, _ = entry
            before = places.get(log)
            follows = before is None or before[0] != epoch or offset == before[1] + 1
            places[log] = [epoch, offset, tag]
            if not (follows and _has_reached(reached, epoch, offset)):
                kept.append(entry)
        return {**frame, "entries": kept} if kept or frame.get("recovered") else None

    # Writing.

    async def _write_on(self) -> None:
        while True:
            known = set(self.outbox)
            while self._may_write() and self.next_write is not None:
                self._number(self.next_write(self), self.generation)
            if self._resend is None and (self.outbox or self.asking):
                again = [self.outbox[seq] for seq in self.outbox if seq in known]
                new = [write for seq, write in self.outbox.items() if seq not in known]
                asked = [self.answered[seq] for seq in sorted(self.asking & self.answered.keys())]
                self.asking &= self.answered.keys()
                await self._exchange([*asked, *again], new)
            else:
                self._room.clear()
                await self._room.wait()

    async def _exchange(self, again: list[Write], new: list[Write]) -> None:
        for write in again:
            self._record_again(write)
        writes = [*again, *new]
        written = {f"state:{write.frame['doc']}" for write in writes if write.frame["type"] == "update"}
        places = {log: self.positions[log] for log in written}
        body = {**self.claim, "logs": places, "frames": [write.frame for write in writes]}
        self.in_flight = len(writes)
        try:
            self._take_all((await self.call("frames/", body))["frames"], places)
        except (*GONE, Refused) as error:
            await self._wait_after(error)
        finally:
            self.in_flight = 0


@dataclass(eq=False)
class RoamingGuest(Guest, Roamer):
    """Guest on changing transports. It writes nothing, so that one poll after the other brings all that it is given."""

    def build_wishes(self) -> dict[str, Any]:
        return self.filters

    def _strain(self, frame: Frame, places: dict[str, Position | None]) -> Frame | None:
        return frame

    async def _write_on(self) -> None:
        await self.visit(self._ask_by_calls)

    async def _ask_by_calls(self, kind: str, log: str, **more: Any) -> Frame:
        """Ask by one call after the other until there is an answer."""
        question = self.number_question(kind, log, **more)
        while True:
            try:
                frames = (await self.call("frames/", {**self.claim, "logs": {}, "frames": [question]}))["frames"]
                if found := [frame for frame in frames if frame.get("id") == question["id"]]:
                    return dict(found[0])
                await asyncio.sleep(SOON)
            except (*GONE, Refused) as error:
                await self._wait_after(error)


@dataclass(eq=False)
class RoamingLister(Lister, Roamer):
    """Reader of a list on changing transports."""

    async def _attach(self) -> None:
        await self.begin()
        await super()._attach()

    def _strain(self, frame: Frame, places: dict[str, Position | None]) -> Frame | None:
        return frame

    async def _write_on(self) -> None:
        await self.turn_pages()


def _has_reached(place: Position | None, epoch: str, offset: int) -> bool:
    return place is not None and place[0] == epoch and place[1] >= offset
