"""Languages of clients without a WebSocket: ours by long polls and streams, Socket.IO's polls, django-eventstream."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import orjson

from tests.benchmarks.dialects import TEXT, Ours, Plain, SocketIo
from tests.benchmarks.guests import Dialect, Guest
from tests.benchmarks.pipes import Pipe, build_request

# Frames of one call.
MOST_FRAMES = 100
JSON = "application/json"


class OverHttp:
    """Way of one guest: a connection for calls, of which one is on its way, and one for polls or a stream."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.calls = Pipe(guest.port, self._take_answer, self._lose)
        self.polls = Pipe(guest.port, self._take_poll, self._lose, self._take_piece)
        self._waiting: list[bytes] = []
        self._rest = b""

    def open(self) -> None:
        self.guest.visit = self

    def send(self, frame: bytes) -> None:
        self._waiting.append(frame)
        if not self.calls.is_waiting:
            self._call()

    def cut(self) -> None:
        self.calls.cut()
        self.polls.cut()

    def hear(self, frames: list[bytes]) -> None:
        """Have the dialect take frames, unless one of them has made the guest leave."""
        for frame in frames:
            if self.guest.visit is self:
                self.guest.dialect.hear(self.guest, frame)

    def begin_poll(self) -> None:
        raise NotImplementedError

    def build_call(self, frames: list[bytes]) -> bytes:
        raise NotImplementedError

    def read_answer(self, body: bytes) -> list[bytes]:
        raise NotImplementedError

    def _call(self) -> None:
        part, self._waiting = self._waiting[:MOST_FRAMES], self._waiting[MOST_FRAMES:]
        self.calls.ask(self.build_call(part))

    def _take_answer(self, status: int, body: bytes) -> None:
        if self._is_refused(status, body):
            return
        self.hear(self.read_answer(body))
        if self._waiting and self.guest.visit is self and not self.calls.is_waiting:
            self._call()

    def _take_poll(self, status: int, body: bytes) -> None:
        if self._is_refused(status, body):
            return
        self.hear(self.read_answer(body) if body else [])
        if self.guest.visit is self:
            self.begin_poll()

    def _take_piece(self, piece: bytes) -> None:
        *events, self._rest = (self._rest + piece).split(b"\n\n")
        for event in events:
            self.take_event(event)

    def take_event(self, event: bytes) -> None:
        if event.startswith(b"data: "):
            self.hear([event[6:]])

    def _is_refused(self, status: int, body: bytes) -> bool:
        if self.guest.visit is not self:
            return True
        if status >= 300:
            wait = orjson.loads(body).get("retry_after") if body.startswith(b"{") else None
            self.guest.refuse(wait)
            return True
        return False

    def _lose(self) -> None:
        if self.guest.visit is self:
            self.cut()
            self.guest.lose()


class OursOverHttp(OverHttp):
    """Attachment, with the grants of its topics."""

    def __init__(self, guest: Guest, transport: str) -> None:
        super().__init__(guest)
        self._transport = transport
        self._headers = {"Authorization": f"Bearer {guest.credential}", "Content-Type": JSON}
        self._accept = "text/event-stream" if transport == "sse" else JSON
        self._claim: dict[str, Any] = {}
        self._grants: dict[str, str] = {}
        self._recovery: str | None = None

    def open(self) -> None:
        super().open()
        told = orjson.loads(self.guest.dialect.greet(self.guest))
        body = {name: told[name] for name in ("client_id", "acked", "logs")} | {"transport": self._transport}
        self.calls.ask(build_request("POST", "/api/connections/", self._headers, orjson.dumps(body)))

    def hear(self, frames: list[bytes]) -> None:
        if not self._claim and frames:
            told = orjson.loads(frames[0])
            self._claim = {"client_id": told["client_id"], "generation": told["generation"]}
            self._grants = {name: verdict.get("grant") for name, verdict in told["logs"].items()}
            self._recovery = told["recovery"]
            super().hear(frames)
            if self.guest.visit is self:
                self.begin_poll()
            return
        if any(frame.startswith(b'{"type":"recovery"') for frame in frames):
            self._recovery = None
        super().hear(frames)

    def begin_poll(self) -> None:
        places = self.guest.places
        logs = {name: {"position": places.get(name), "grant": grant} for name, grant in self._grants.items()}
        body = {**self._claim, "acked": self.guest.acked, "recovery": self._recovery, "logs": logs}
        headers = {**self._headers, "Accept": self._accept}
        self.polls.ask(build_request("POST", "/api/connections/poll/", headers, orjson.dumps(body)))

    def build_call(self, frames: list[bytes]) -> bytes:
        told = [orjson.Fragment(frame) for frame in frames]
        body = {**self._claim, "acked": 0, "frames": told, "logs": {}}
        return build_request("POST", "/api/connections/frames/", self._headers, orjson.dumps(body))

    def read_answer(self, body: bytes) -> list[bytes]:
        return [orjson.dumps(frame) for frame in orjson.loads(body)["frames"]]


class SocketIoOverHttp(OverHttp):
    """Engine.IO 4 by polls: packets are parted by a control character, and a request is theirs by its ``sid``."""

    def __init__(self, guest: Guest) -> None:
        super().__init__(guest)
        self._path = "/socket.io/?EIO=4&transport=polling"

    def open(self) -> None:
        super().open()
        self.begin_poll()

    def hear(self, frames: list[bytes]) -> None:
        for frame in frames:
            if frame.startswith(b"0"):
                self._path += "&sid=" + orjson.loads(frame[1:])["sid"]
        super().hear(frames)

    def begin_poll(self) -> None:
        self.polls.ask(build_request("GET", self._path, {}))

    def build_call(self, frames: list[bytes]) -> bytes:
        return build_request("POST", self._path, {"Content-Type": "text/plain"}, b"\x1e".join(frames))

    def read_answer(self, body: bytes) -> list[bytes]:
        return [] if body == b"ok" else body.split(b"\x1e")


class EventStreamOverHttp(OverHttp):
    """Stream of server-sent events of a channel, and a view of the project for what is said there."""

    def open(self) -> None:
        super().open()
        self.begin_poll()

    def begin_poll(self) -> None:
        last = self.guest.places.get(self.guest.room)
        headers = {"Accept": "text/event-stream", "Cookie": self.guest.credential}
        headers |= {"Last-Event-ID": last} if last else {}
        self.polls.ask(build_request("GET", f"/events/?channel={quote(self.guest.room)}", headers))

    def take_event(self, event: bytes) -> None:
        fields = dict(line.split(b": ", 1) for line in event.splitlines() if b": " in line)
        if b"id" in fields:
            self.guest.places[self.guest.room] = fields[b"id"].decode()
        self.hear([b"%s %s" % (fields.get(b"event", b""), fields.get(b"data", b""))])

    def build_call(self, frames: list[bytes]) -> bytes:
        headers = {"Content-Type": JSON, "Cookie": self.guest.credential}
        return build_request("POST", "/events/say/", headers, b"[%s]" % b",".join(frames))

    def read_answer(self, body: bytes) -> list[bytes]:
        return []


class OursWithoutSocket(Ours):
    """The frames of ours, by calls."""

    def __init__(self, transport: str) -> None:
        self._transport = transport

    async def open(self, guest: Guest) -> None:
        OursOverHttp(guest, self._transport).open()

    def hear(self, guest: Guest, frame: bytes) -> None:
        # The ping of a stream looks for proxies, and is not answered.
        if not frame.startswith(b'{"type":"ping"'):
            super().hear(guest, frame)


class SocketIoByPolls(SocketIo):
    """The packets of Socket.IO, by calls."""

    async def open(self, guest: Guest) -> None:
        SocketIoOverHttp(guest).open()


class EventStream:
    """Events of django-eventstream."""

    path, subprotocol = "/events/", None

    async def open(self, guest: Guest) -> None:
        EventStreamOverHttp(guest).open()

    def greet(self, guest: Guest) -> bytes:
        return b""

    def hear(self, guest: Guest, frame: bytes) -> None:
        kind, _, data = frame.partition(b" ")
        if kind == b"stream-open":
            guest.enter()
        elif kind == b"message":
            guest.tell(orjson.loads(data)["n"])

    def ask(self, number: int) -> bytes:
        raise NotImplementedError

    def say(self, guest: Guest, room: str, number: int) -> bytes:
        return orjson.dumps({"room": room, "data": {"n": number, "text": TEXT}})


DIALECTS: dict[str, Dialect] = {
    "ours": Ours(),
    "ours, sse": OursWithoutSocket("sse"),
    "ours, longpoll": OursWithoutSocket("longpoll"),
    "plain": Plain("/plain/members/"),
    "recorded": Plain("/plain/recorded-members/"),
    "socket.io": SocketIo(),
    "socket.io, polls": SocketIoByPolls(),
    "eventstream": EventStream(),
}
