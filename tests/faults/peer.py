"""Client written from PROTOCOL.md alone: raw frames over a raw WebSocket, and a record of everything."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, WebSocketException

from tests.faults.history import History
from tests.faults.sight import Frame, Position, Sight, Write

PIPELINE = 16
ACK_EVERY = 32
# Longer than a slow machine takes: only a fault of the network that is not noticed lasts so long.
OPEN_SECONDS = 30.0
# Records of what a client was told.
HEARD = frozenset({"connected", "entries", "snapshot", "gap", "recovery", "error", "bye", "ok", "fail", "temporary"})
BAD_BASE = {"unknown_version", "too_old", "epoch_changed"}


@contextlib.contextmanager
def abort_on_failure(socket: ClientConnection) -> Iterator[None]:
    """Abort a connection that nobody is going to serve, also when its task is cancelled."""
    try:
        yield
    except BaseException:
        socket.transport.abort()
        raise


@dataclass(frozen=True, slots=True)
class Group:
    """Clients that share one session, hence its documents, and one topic."""

    name: str
    session: str
    token: str
    topic: str

    @property
    def logs(self) -> list[str]:
        return ["session", "state:main", "state:cart", f"topic:{self.topic}"]


@dataclass(eq=False)
class Peer:
    """Logical client. `next_write` makes its writes; `urls` are the servers it may use.

    `refused` names the refusal that it must meet whenever it comes. With so many writes acknowledged as `rest_at` says
    it begins no new ones.
    """

    name: str
    group: Group
    urls: list[str]
    history: History
    chance: random.Random
    next_write: Callable[[Peer], Write] | None
    client_id: str | None = None
    generation: int = 0
    next_seq: int = 1
    outbox: dict[int, Write] = field(default_factory=dict)
    answered: dict[int, Write] = field(default_factory=dict)
    asking: set[int] = field(default_factory=set)
    told: int = 0
    oks: int = 0
    connections: int = 0
    ready: bool = False
    stopping: bool = False
    paused: bool = False
    writing: bool = True
    pipeline: int = PIPELINE
    rest_at: int | None = None
    absence: float = 0.0
    back: asyncio.Event | None = None
    answer_seconds: float = OPEN_SECONDS
    refused: str | None = None
    transport: str = "websocket"
    socket: ClientConnection | None = None
    task: asyncio.Task[None] | None = None
    _room: asyncio.Event = field(default_factory=asyncio.Event)
    _resend: asyncio.TimerHandle | None = None

    def __post_init__(self) -> None:
        self.sight = Sight(self.group.logs)
        self.history.add(self.name, "start", **self.describe_home())

    def describe_home(self) -> dict[str, Any]:
        """Describe for the checker what this client is to see."""
        home = {"session": self.group.session, "group": self.group.name, "topic": self.group.topic}
        return home | ({"refused": self.refused} if self.refused else {})

    @property
    def unanswered(self) -> int:
        """Writes on the wire of a living connection."""
        return len(self.outbox) if self.ready else 0

    @property
    def is_heard(self) -> bool:
        """Tell whether a server can still say something to this client."""
        return self.ready

    def is_served_by(self, port: int) -> bool:
        """Tell whether it has anything open to the server at this port."""
        return self.socket is not None and self.socket.remote_address[1] == port

    def hang_up(self, port: int) -> None:
        """End what it has open to a server, as clients do when one that says nothing has missed their beats."""
        if self.socket is not None and self.is_served_by(port):
            self.socket.transport.abort()

    @property
    def positions(self) -> dict[str, Position | None]:
        return self.sight.positions

    @property
    def acked(self) -> int:
        return min(self.outbox, default=self.next_seq) - 1

    @property
    def token(self) -> str:
        """Token to connect with."""
        return self.group.token

    # The connection.

    def start(self, adopted: ClientConnection | None = None) -> None:
        """Let it run as a task of its own."""
        self.socket = adopted
        self.task = asyncio.create_task(self.run(adopted))

    async def run(self, adopted: ClientConnection | None = None) -> None:
        """Connect, serve and connect again until `stop`; `adopted` is a connection that was answered already."""
        while not self.stopping:
            with contextlib.suppress(OSError, TimeoutError, WebSocketException):
                await self.serve(adopted or await self.join())
            adopted = None
            if not self.stopping:
                absence, self.absence = self.absence, 0.0
                await asyncio.sleep(absence or self.chance.uniform(0.02, 0.12))
            if self.back is not None:
                await self.back.wait()

    async def leave(self, seconds: float) -> None:
        """Go with writes on their way, and come back that much later."""
        if self.socket is not None and self.ready and not self.paused:
            self.absence = seconds
            await self.socket.close()

    def describe(self) -> str:
        """Say what somebody must know who asks why it does not answer."""
        mine = [record for record in self.history.records if record["p"] == self.name]
        turns = [record for record in mine if record["type"] in {"connected", "info"}][-1:]
        heard = [record for record in mine if record["type"] in HEARD][-1:]
        parts = [f"{self.name} ({'ready' if self.ready else 'not ready'}, {len(self.outbox)} unanswered)"]
        parts += [f"last {one['type']} {(time.monotonic_ns() - one['t']) / 1e9:.1f} s ago" for one in turns + heard]
        parts += [f"close code {one['code']}" for one in turns if one["type"] == "info"]
        if self.task is not None and self.task.done():
            is_ended = self.task.cancelled()
            parts.append("its task was cancelled" if is_ended else f"its task ended: {self.task.exception()!r}")
        return ", ".join([*parts, *(["paused"] if self.paused else [])])

    def stay_away(self) -> None:
        """When this connection ends, do not open another before `come_back`."""
        self.back = asyncio.Event()

    @property
    def stays_away(self) -> bool:
        return self.back is not None and not self.back.is_set()

    def come_back(self) -> None:
        if self.back is not None:
            self.back.set()

    async def stop(self) -> None:
        self.stopping = True
        self.come_back()
        if self.socket is not None:
            await self.socket.close()

    async def open(self) -> ClientConnection:
        """Open a new socket and send `connect` on it."""
        socket = await connect(
            self.chance.choice(self.urls),
            subprotocols=["session-mgmt.v1"],  # type: ignore[list-item]
            compression=None,
            ping_interval=None,
            open_timeout=self.answer_seconds,
            close_timeout=1,
            max_size=None,
            proxy=None,
        )
        with abort_on_failure(socket):
            await self._put(self.build_connect(), socket)
        return socket

    def build_connect(self) -> Frame:
        """Build the frame that begins a connection."""
        return {
            "type": "connect",
            "token": self.token,
            "client_id": self.client_id,
            "acked": self._tell(),
            "logs": dict(self.positions),
            "agent": "faults/1",
        }

    async def join(self) -> ClientConnection:
        """Open a connection and wait until its `connect` is answered."""
        asked = dict(self.positions)
        socket = await self.open()
        with abort_on_failure(socket):
            async with asyncio.timeout(self.answer_seconds):
                first = await socket.recv()
            self.take(orjson.loads(first), asked)
        return socket

    async def serve(self, socket: ClientConnection) -> None:
        """Send again what is unanswered, then read and write until the connection ends, or is taken away."""
        self.socket = socket
        work = []
        try:
            if self.stopping:
                # While this connection was opened.
                await socket.close()
                return
            await self._send_unanswered(socket)
            work.append(asyncio.create_task(self._pump(socket, self.generation)))
            async for message in socket:
                self.take(orjson.loads(message), {})
        except ConnectionClosed:
            pass
        finally:
            if self.socket is socket:
                # Also when this client has failed.
                socket.transport.abort()
                self._lost(socket)
            for pump in work:
                pump.cancel()
            await asyncio.gather(*work, return_exceptions=True)

    def _lost(self, socket: ClientConnection) -> None:
        self.ready = False
        self.asking.clear()
        if self._resend:
            self._resend.cancel()
            self._resend = None
        self.history.add(
            self.name,
            "info",
            ops=[write.op for write in self.outbox.values()],
            gen=self.generation,
            code=socket.close_code,
            name=socket.close_reason,
        )

    async def _put(self, frame: Frame, socket: ClientConnection | None = None) -> None:
        await (socket or self.socket).send(orjson.dumps(frame).decode())  # type: ignore[union-attr]

    # Writing.

    async def _send_unanswered(self, socket: ClientConnection) -> None:
        """Send again before anything is read, so that writes reach the server on their old bases on any machine."""
        with contextlib.suppress(ConnectionClosed):
            for write in list(self.outbox.values()) if self.ready else ():
                await self._again(write, socket)

    async def _pump(self, socket: ClientConnection, generation: int) -> None:
        with contextlib.suppress(ConnectionClosed):
            while self.ready and not self.stopping:
                while self._may_write() and self.next_write is not None:
                    await self._new(self.next_write(self), socket, generation)
                self._room.clear()
                await self._room.wait()

    def _may_write(self) -> bool:
        if self.rest_at is not None and self.oks >= self.rest_at:
            return False
        return self.writing and not self.paused and self._resend is None and len(self.outbox) < self.pipeline

    async def _new(self, write: Write, socket: ClientConnection, generation: int) -> None:
        self._number(write, generation)
        await self._put(write.frame, socket)

    def _number(self, write: Write, generation: int) -> None:
        """Give a new write its number, and record it."""
        write.frame["seq"] = self.next_seq
        write.digests = self.sight.list_digests(write.frame, self.outbox.values())
        self.outbox[self.next_seq] = write
        self.next_seq += 1
        self.history.add(
            self.name,
            "invoke",
            op=write.op,
            f=write.frame["type"],
            gen=generation,
            client=self.client_id,
            seq=write.frame["seq"],
            frame=dict(write.frame),
        )

    async def _again(self, write: Write, socket: ClientConnection) -> None:
        self._record_again(write)
        await self._put(write.frame, socket)

    def _record_again(self, write: Write) -> None:
        base, tag = write.frame.get("base"), write.frame.get("tag")
        digests = write.frame.get("replaced")
        self.history.add(self.name, "again", op=write.op, gen=self.generation, base=base, tag=tag, digests=digests)

    async def retry_answered(self) -> None:
        """Ask again for an answer that was given, as a client that lost it would."""
        candidates = [seq for seq in self.answered if seq > self.told and seq not in self.asking]
        if candidates and self.ready and self.socket is not None:
            seq = self.chance.choice(candidates)
            self.asking.add(seq)
            with contextlib.suppress(ConnectionClosed):
                await self._again(self.answered[seq], self.socket)

    def wake(self) -> None:
        self._room.set()

    # Reading.

    def take(self, frame: Frame, asked: dict[str, Position | None]) -> None:
        kind = frame["type"]
        if kind == "receipt":
            self._receipt(frame)
        elif kind == "connected":
            self._connected(frame, asked)
        elif kind in {"entries", "snapshot", "gap", "recovery", "error", "bye"}:
            self.history.add(self.name, kind, gen=self.generation, frame=frame)
            if kind in {"entries", "snapshot", "gap"} and self.sight.advance(frame):
                self._leave_history(frame["log"])
            elif kind == "error" and frame.get("seq") is not None:
                self._receipt({"seq": frame["seq"], "ok": False, "error": frame})
        elif kind == "ping":
            self._later({"type": "pong", "ping": frame["ping"], "acked": self._tell()})

    def _connected(self, frame: Frame, asked: dict[str, Position | None]) -> None:
        self.client_id, self.generation, self.ready = frame["client_id"], frame["generation"], True
        self.connections += 1
        more = {"transport": self.transport, "frame": frame, "asked": asked}
        self.history.add(self.name, "connected", gen=self.generation, client=self.client_id, **more)
        self.sight.take_verdicts(frame["logs"])

    def _receipt(self, frame: Frame) -> None:
        seq = frame["seq"]
        write = self.outbox.get(seq) or self.answered.get(seq)
        if write is None:
            return
        error = frame.get("error") or {}
        temporary = not frame["ok"] and bool(error.get("temporary"))
        kind = "ok" if frame["ok"] else "temporary" if temporary else "fail"
        confirmed = seq <= self.told
        self.history.add(self.name, kind, op=write.op, gen=self.generation, receipt=frame, confirmed=confirmed)
        if temporary:
            self._undecided(write, error)
            return
        self.oks += kind == "ok"
        self.asking.discard(seq)
        self.outbox.pop(seq, None)
        self.answered[seq] = write
        self.answered.pop(seq - 2 * ACK_EVERY, None)
        if self.acked >= self.told + ACK_EVERY:
            self._later({"type": "ack", "seq": self._tell()})
        self._room.set()

    def _tell(self) -> int:
        """Confirm what was answered, except what is being asked again: its receipt is still needed."""
        self.told = max(self.told, min([self.acked, *(seq - 1 for seq in self.asking)]))
        return self.told

    def _undecided(self, write: Write, error: Frame) -> None:
        if write.frame["seq"] not in self.outbox:
            return
        if error["name"] == "seq_gap" and write.frame["seq"] == self.acked + 1:
            # The server has lost numbers that it had decided, and learns from `acked` how many.
            self.attach_again()
            return
        if error["name"] in BAD_BASE and f"state:{write.frame['doc']}" not in self.sight.lost:
            self._rebase(write.frame["doc"], write.frame.get("base", 0))
        if self._resend is None:
            delay = error.get("retry_after") or 0.05
            self._resend = asyncio.get_running_loop().call_later(delay, self._resend_now)

    def attach_again(self) -> None:
        """Leave the attachment; another one follows."""
        if self.socket is not None:
            self.socket.transport.abort()

    def _rebase(self, doc: str, base: int) -> None:
        """Let writes on this base or an older one go by their digests from now on."""
        known = self.positions[f"state:{doc}"]
        # One without a base was made on whatever is there.
        based = [write for write in self.outbox.values() if write.frame.get("doc") == doc and "base" in write.frame]
        for write in based:
            if known and write.frame["base"] <= base < known[1]:
                # A new frame: the old one may be on its way, and goes out as it was recorded.
                write.frame = write.frame | write.build_base(known)

    def _leave_history(self, log: str) -> None:
        """Let every pending write of a document go by its digests: a lost version is no base of the new history."""
        known = self.positions[log]
        for write in self.outbox.values():
            if known and f"state:{write.frame.get('doc')}" == log and "base" in write.frame:
                write.frame = write.frame | write.build_base(known)

    def _resend_now(self) -> None:
        self._resend = None
        for write in list(self.outbox.values()):
            self._record_again(write)
            self._later(write.frame)
        self._room.set()

    def _later(self, frame: Frame) -> None:
        """Send from a callback; order is kept, because the library writes at once unless it is flow controlled."""
        task = asyncio.get_running_loop().create_task(self._quietly(frame))
        _KEEP.add(task)
        task.add_done_callback(_KEEP.discard)

    async def _quietly(self, frame: Frame) -> None:
        with contextlib.suppress(ConnectionClosed, AttributeError, InvalidMessage):
            await self._put(frame)


# The loop itself holds tasks only weakly.
_KEEP: set[asyncio.Task[None]] = set()
