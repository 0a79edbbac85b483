"""The half of the core that makes numbered writes: shows them, numbers them, gathers them, sends them again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from session_mgmt.client.draft import Draft
from session_mgmt.client.effects import Changed, Effect, Send
from session_mgmt.client.errors import Refused
from session_mgmt.client.outbox import Outbox, on_the_wire
from session_mgmt.client.replica import Replica
from session_mgmt.client.storage import Saved
from session_mgmt.documents import replaced
from session_mgmt.exceptions import FrameTooLarge
from session_mgmt.protocol import position as positions

SESSION_LOG = "session"
STATE = "state:"
# Until the server has told its limits.
FRAME_BYTES, MOST_OPERATIONS = 262_144, 500
# What a frame says around its write.
FRAME_MARGIN = 64

Frame = dict[str, Any]
Effects = Iterator[Effect]


class Writing:
    """`logs` are the followed logs with the place in each; `draft` is the write that others may still join."""

    def __init__(self, saved: Saved, *, delayed: bool) -> None:
        self.outbox = Outbox(saved.next_seq, saved.writes)
        self.replicas: dict[str, Replica] = {}
        self.logs: dict[str, positions.Position | None] = {SESSION_LOG: None}
        for log, place in saved.positions.items():
            self.logs[log] = positions.parse(place)
        self.limits: Frame = {}
        self.ready = False
        self.draft: Draft | None = None
        self._delayed = delayed
        self._holding = False

    def replica(self, doc: str) -> Replica:
        """The document as this client knows it; writes that a stored outbox holds are shown from the start."""
        if doc not in self.replicas:
            self.replicas[doc] = replica = Replica()
            self.logs.setdefault(STATE + doc, None)
            for frame in self.outbox:
                if frame["type"] == "update" and frame["doc"] == doc:
                    replica.expect(frame["seq"], frame["ops"], if_absent=frame.get("if_absent", False))
        return self.replicas[doc]

    def write(self, frame: Frame) -> tuple[int, list[Effect]]:
        """Number a `publish` or `send` and put it on its way, behind what gathers; gives its number.

        Raises Refused for what no frame can hold.
        """
        self._check(frame)
        before = [*self.flush()]
        numbered = self.outbox.add(frame)
        return numbered["seq"], [*before, *self._sent(numbered)]

    def update(self, doc: str, ops: list[list[Any]], strategy: str | None = None) -> tuple[int, list[Effect]]:
        """Change a document: seen at once in the replica, sent with the version that it was made on.

        With delayed synchronisation it may join what gathers: then its number is that one's.
        """
        replica = self.replica(doc)
        frame: Frame = {"type": "update", "doc": doc, "ops": ops, **({"strategy": strategy} if strategy else {})}
        if replica.position is not None:
            frame |= {"base": replica.position.offset, "epoch": replica.position.epoch}
            frame["replaced"] = replaced.digests(replica.view, ops)  # kept aside, see `on_the_wire`
        before = replica.view
        if self.draft is not None and self.draft.join(frame, self._fits):
            joined = self.draft.frame
            replica.amend(joined["seq"], joined["ops"], ops)
            return joined["seq"], [Changed(doc, before, replica.view)]
        self._check(frame)
        effects = [*self.flush()]
        numbered = self.outbox.add(frame)
        if self._delayed:
            self.draft = Draft(numbered, before)
        else:
            effects += self._sent(numbered)
        replica.expect(numbered["seq"], ops)
        return numbered["seq"], [*effects, Changed(doc, before, replica.view)]

    def create(self, doc: str, data: Any) -> tuple[int, list[Effect]]:
        """Give a document its first value, if it has none: seen at once only where nothing is known of it."""
        replica = self.replica(doc)
        before, ops = replica.view, [["set", "", data]]
        # A condition on there being no version goes without one.
        seq, effects = self.write({"type": "update", "doc": doc, "ops": ops, "if_absent": True})
        replica.expect(seq, ops, if_absent=True)
        return seq, [*effects, Changed(doc, before, replica.view)]

    def flush(self) -> Effects:
        """Send what gathers; without a connection it waits in the outbox, closed."""
        draft, self.draft = self.draft, None
        if draft is not None:
            yield from self._sent(draft.frame)

    def resend(self) -> Effects:
        """Send every write without a receipt again, in order."""
        self._holding = False
        if self.ready:
            for frame in list(self.outbox):
                if self.draft is None or frame is not self.draft.frame:
                    yield Send(on_the_wire(frame))

    def _rebase_update(self, seq: int, error: str) -> None:
        for frame in self.outbox:
            place = self.replica(frame["doc"]).position if frame["seq"] == seq else None
            if place is not None:
                self.outbox.rebase(seq, error, place.offset, place.epoch)
                return

    def _sent(self, frame: Frame) -> list[Effect]:
        return [Send(on_the_wire(frame))] if self.ready and not self._holding else []

    def _check(self, frame: Frame) -> None:
        if self._bytes(frame) > self._most_bytes():
            # The server would refuse it without reading its number, again and again.
            raise Refused(FrameTooLarge(limit=self._most_bytes()).as_dict())

    def _fits(self, frame: Frame) -> bool:
        few = len(frame["ops"]) <= self.limits.get("ops", MOST_OPERATIONS)
        return few and self._bytes(frame) <= self._most_bytes()

    def _bytes(self, frame: Frame) -> int:
        text = json.dumps(on_the_wire(frame), separators=(",", ":"), ensure_ascii=False)
        return len(text.encode()) + FRAME_MARGIN

    def _most_bytes(self) -> int:
        return int(self.limits.get("frame_bytes", FRAME_BYTES))
