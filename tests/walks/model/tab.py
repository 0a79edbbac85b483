"""One client: the real core of the Python SDK on a real connection, or on none, and a record of what it was told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from session_mgmt.client.core import Core
from session_mgmt.client.effects import Abandon, Effect, Leave, ResendAfter, Send, Settle
from session_mgmt.client.storage import Saved
from session_mgmt.documents import pointer
from tests.faults.evidence import strip
from tests.walks.conftest import Peer

DOCUMENTS = ("main", "side")
MOST_FRAMES = 5000

Frame = dict[str, Any]


@dataclass(slots=True)
class Asked:
    """A write as the application made it: what it saw just before (`view`), and the frames as they were last sent, on
    its base (`frame`) and with digests.
    """

    doc: str
    kind: str
    change: Any
    strategy: str | None
    view: Any
    frame: Frame | None = None
    digested: Frame | None = None


class Tab:
    """`asked` and `answers` by number; an answer is the first final one, without its mark `replayed`."""

    def __init__(self, number: int, token: str) -> None:
        self.number, self._token = number, token
        self.asked: dict[int, Asked] = {}
        self.answers: dict[int, Frame] = {}
        self.too_old = self.repeated = 0
        self._peer: Peer | None = None
        self._pings = self._told = 0
        self._start(Saved())

    def _start(self, saved: Saved) -> None:
        self.core = Core(saved)
        self._resend, self._in_flight = False, 0
        for doc in DOCUMENTS:
            self.core.open_replica(doc)

    @property
    def online(self) -> bool:
        return self._peer is not None

    @property
    def can_reload(self) -> bool:
        """The SDK writes operations only; a frame of another kind is ours alone, and it could not show it again."""
        return all("ops" in frame for frame in self.core.outbox)

    def view(self, doc: str) -> Any:
        return self.core.open_replica(doc).view

    # Writing.

    async def update(self, doc: str, ops: list[list[Any]], strategy: str | None) -> int:
        asked = Asked(doc, "ops", ops, strategy, self.view(doc))
        seq, effects = self.core.add_update(doc, ops, strategy)
        return await self._ask(seq, asked, effects)

    async def other(self, doc: str, kind: str, change: Any, strategy: str | None) -> int:
        """A frame of a kind that the SDK turns into operations, as another client may send it."""
        asked = Asked(doc, kind, change, strategy, self.view(doc))
        frame: Frame = {"type": "update", "doc": doc, kind: change, **({"strategy": strategy} if strategy else {})}
        if (place := self.core.open_replica(doc).position) is not None:
            frame |= {"base": place.offset, "epoch": place.epoch}
        seq, effects = self.core.add_write(frame)
        return await self._ask(seq, asked, effects)

    async def _ask(self, seq: int, asked: Asked, effects: list[Effect]) -> int:
        self.asked[seq] = asked
        await self.perform(effects)
        return seq

    async def repeat(self) -> None:
        """Send everything without an answer again, whether the first is still on its way or not."""
        await self.perform(list(self.core.resend_writes()))

    async def ask_again(self, seq: int) -> None:
        """As if its answer had been lost."""
        frame = self.asked[seq].digested or self.asked[seq].frame
        if self.core.ready and frame is not None:
            await self._send(frame)

    # The network.

    async def connect(self) -> None:
        self._peer = Peer()
        await self._peer.handshake()
        self._told = max(self._told, self.core.outbox.acked)
        await self._peer.say(**self.core.build_connect(self._token))

    async def drop(self) -> None:
        """What was on its way in either direction may be lost."""
        peer, self._peer = self._peer, None
        self._resend, self._in_flight = False, 0
        self.core.mark_disconnected()
        if peer is not None:
            await peer.drop()

    async def lose_answers(self) -> None:
        """The server hears and does everything; nothing of what it says comes through."""
        while self._peer is not None and self._in_flight:
            self._count(await self._peer.next())
        await self.drop()

    async def reload(self) -> None:
        """The page goes: what is left is what it had stored."""
        await self.drop()
        outbox = self.core.outbox
        self._start(Saved(client_id=self.core.client_id, next_seq=outbox.next_seq, writes=list(outbox)))

    # Reading.

    async def take(self, *, twice: bool) -> None:
        """Everything that the server has said by now."""
        assert self._peer is not None
        self._pings += 1
        await self._peer.say(type="ping", id=self._pings)
        while self._peer is not None:
            frame = await self._peer.next()
            if frame["type"] == "pong" and frame["id"] == self._pings:
                return
            await self.receive(frame, twice=twice)

    async def settle(self) -> None:
        """Until every write is answered."""
        for _ in range(MOST_FRAMES):
            if not len(self.core.outbox):
                return
            await self._next()
        raise AssertionError(f"{len(self.core.outbox)} writes have no answer after {MOST_FRAMES} frames")

    async def reach(self, doc: str, version: int) -> None:
        for _ in range(MOST_FRAMES):
            if (place := self.core.open_replica(doc).position) is not None and place.offset >= version:
                return
            await self._next()
        raise AssertionError(f"{doc} is at {place} of {version} after {MOST_FRAMES} frames")

    async def _next(self) -> None:
        if self._peer is None:
            await self.connect()
        if self._resend and not self._in_flight:
            # Only when the last attempt is wholly answered: each refusal of it would send everything once more.
            self._resend = False
            await self.repeat()
        assert self._peer is not None
        await self.receive(await self._peer.next())

    async def receive(self, frame: Frame, *, twice: bool = False) -> None:
        self._count(frame)
        self._keep(frame)
        again = twice and frame["type"] in ("receipt", "entries")
        for _ in range(2 if again else 1):
            before = {doc: self.core.open_replica(doc).position for doc in DOCUMENTS}
            await self.perform(list(self.core.receive_frame(frame)))
            for doc, old in before.items():
                new = self.core.open_replica(doc).position
                assert old is None or new is None or new.epoch != old.epoch or new.offset >= old.offset, (
                    f"{doc} went back from {old} to {new}"
                )

    def _count(self, frame: Frame) -> None:
        if frame["type"] == "receipt":
            self._in_flight -= 1

    def _keep(self, frame: Frame) -> None:
        if frame["type"] != "receipt":
            return
        error = frame.get("error") or {}
        if error.get("temporary"):
            self.too_old += error["name"] == "too_old"
            return
        if error.get("name") == "receipt_gone" and frame["seq"] <= self._told:
            return
        self.repeated += bool(frame.get("replayed"))
        answer = strip(frame)
        first = self.answers.setdefault(frame["seq"], answer)
        assert answer == first, f"{frame['seq']} was answered by {first} and by {answer}"

    async def perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(frame):
                    await self._send(frame)
                case ResendAfter():
                    self._resend = True
                case Settle(seq, _):
                    assert seq in self.answers
                case Abandon(frame):
                    raise AssertionError(f"the server forgot this client, and with it {frame}")
                case Leave():
                    await self.drop()

    async def _send(self, frame: Frame) -> None:
        if self._peer is None:
            return
        if frame["type"] == "update":
            self._in_flight += 1
            asked = self.asked[frame["seq"]]
            if "replaced" in frame:
                asked.digested = frame
            else:
                asked.frame = frame
        self._told = max(self._told, frame.get("acked", 0), frame["seq"] if frame["type"] == "ack" else 0)
        await self._peer.say(**frame)


def grown(view: Any, edit: tuple[Any, ...]) -> list[Any]:
    """An edit as an operation on what the application sees: arrays are written anew, with one entry more or less."""
    name, path, *rest = edit
    if name not in ("grow", "shrink"):
        return list(edit)
    found = pointer.find_value(view, path)
    entries = found if isinstance(found, list) else []
    return ["set", path, [*entries, rest[0]] if name == "grow" else entries[1:]]
