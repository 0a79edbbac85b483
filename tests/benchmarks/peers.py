"""Clients of the load generator, as light as Python allows: no task and no queue per connection."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable
from typing import Any

import orjson

from tests.benchmarks import wire

SUBPROTOCOL = "session-mgmt.v1"
ACK_EVERY = 32
VALUE = "v" * 120
_POSITION = re.compile(rb'"position":\["(\w+)",(\d+)')


class Peer(asyncio.Protocol):
    """Connection; ``opened`` is set when it may begin. Subclasses count in ``got``."""

    def __init__(self, plan: dict[str, Any], token: str | None) -> None:
        self.plan, self.token = plan, token
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost: str | None = None
        self._reader = wire.Reader()
        self._take: Callable[[bytes], None] = self._shake
        self._head = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        protocol = SUBPROTOCOL if self.token else None
        transport.write(wire.handshake(self.plan["ports"][0], self.plan["path"], protocol))

    def data_received(self, data: bytes) -> None:
        self._take(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = repr(error)
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("The server closed a connection while it was opened."))

    def say(self, frame: dict[str, Any]) -> None:
        self.transport.write(wire.text(orjson.dumps(frame)))

    def list_wishes(self) -> dict[str, Any]:
        """Return what ``connect`` says besides."""
        return {}

    def _shake(self, data: bytes) -> None:
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if not end:
            return
        if b" 101 " not in head.partition(b"\r\n")[0]:
            raise ConnectionError(head.decode())
        if self.token is None:
            self._ready()
        else:
            self.say(
                {"type": "connect", "token": self.token, "logs": dict.fromkeys(self.plan["logs"]), **self.list_wishes()}
            )
            self._take = self._open
        if rest:
            self._take(rest)

    def _open(self, data: bytes) -> None:
        for frame in self._reader.feed(data):
            if frame.startswith(b'{"type":"connected"'):
                # Answered once the logs named in connect are being followed.
                self.say({"type": "ping", "id": 1})
            elif frame.startswith(b'{"type":"pong"'):
                self._ready()
            elif frame.startswith((b'{"type":"bye"', b'{"type":"error"')):
                raise ConnectionError(frame.decode())

    def _ready(self) -> None:
        self._take = self._count
        self.opened.set_result(None)

    def _count(self, data: bytes) -> None:
        raise NotImplementedError


class Updater(Peer):
    """Client with ``window`` updates in flight; it records latencies while ``measuring``."""

    def __init__(self, plan: dict[str, Any], token: str | None) -> None:
        super().__init__(plan, token)
        self.seq = self.got = self.refused = 0
        self.running = False
        self.latencies: list[float] = []
        self._sent: deque[float] = deque()
        self._base = ""
        self._now = asyncio.get_running_loop().time

    def start(self, window: int) -> None:
        self.running = True
        self._send(window)

    @property
    def in_flight(self) -> int:
        return len(self._sent)

    def _send(self, count: int) -> None:
        now = self._now()
        frames = []
        for _ in range(count):
            self.seq += 1
            self._sent.append(now)
            frames.append(wire.text(self._update()))
        self.transport.write(b"".join(frames))

    def _update(self) -> bytes:
        if self.token is None:
            return b'{"seq":%d,"value":"%s"}' % (self.seq, VALUE.encode())
        return b'{"type":"update","seq":%d,"doc":"main"%s,"ops":[["set","/field","%s"]]}' % (
            self.seq,
            self._base.encode(),
            VALUE.encode(),
        )

    def _count(self, data: bytes) -> None:
        answered = 0
        for frame in self._reader.feed(data):
            if b'"ok":true' in frame or b'"ok": true' in frame:
                answered += 1
                if self.plan.get("based"):
                    self._rebase(frame)
            elif b'"ok":false' in frame:
                self.refused += 1
                answered += 1
        if not answered:
            return
        now = self._now()
        for _ in range(answered):
            self.latencies.append(now - self._sent.popleft())
        self.got += answered
        if self.token is not None and self.got // ACK_EVERY != (self.got - answered) // ACK_EVERY:
            self.say({"type": "ack", "seq": self.seq - len(self._sent)})
        if self.running:
            self._send(answered)

    def _rebase(self, receipt: bytes) -> None:
        found = _POSITION.search(receipt)
        if found:
            self._base = f',"epoch":"{found[1].decode()}","base":{int(found[2])}'


class Listener(Peer):
    """Listener that counts deliveries by a mark that each message carries once, and reads nothing else."""

    def __init__(self, plan: dict[str, Any], token: str | None, on_count: Callable[[int], None]) -> None:
        super().__init__(plan, token)
        self._mark = plan["mark"].encode()
        self._on_count = on_count
        self._tail = b""

    def _count(self, data: bytes) -> None:
        data = self._tail + data
        self._tail = data[1 - len(self._mark) :]
        found = data.count(self._mark)
        if found:
            self._on_count(found)
