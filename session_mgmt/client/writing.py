"""Numbered writes of the core: show them, number them, gather them, and send them again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from session_mgmt.client.batch import Draft
from session_mgmt.client.effects import Changed, Effect, Send
from session_mgmt.client.errors import Refused
from session_mgmt.client.outbox import Outbox, build_frame, describe_base
from session_mgmt.client.replica import Replica
from session_mgmt.client.storage import Saved
from session_mgmt.documents import replaced
from session_mgmt.exceptions import FrameTooLarge
from session_mgmt.protocol import position as positions

SESSION_LOG = "session"
STATE = "state:"
# Limits until the server has named its own.
FRAME_BYTES, MOST_OPERATIONS = 262_144, 500
# Bytes of a frame around its write.
FRAME_MARGIN = 64

Frame = dict[str, Any]
Effects = Iterator[Effect]


class Writing:
    """Writes and documents of one client.

    `logs` maps each followed log to its position; `draft` is the update that later ones may join.
    """

    def __init__(self, saved: Saved, *, delayed: bool) -> None:
        self.outbox = Outbox(saved.next_seq, saved.writes)
        self.replicas: dict[str, Replica] = {}
        self.logs: dict[str, positions.Position | None] = {SESSION_LOG: None}
        # By log, the way to go on that the application wants if this client reads too slowly.
        self.ways: dict[str, str] = {}
        # By topic's log, the filter that the application wants.
        self.filters: dict[str, Frame] = {}
        # By log, where to begin if there is no position.
        self.beginnings: dict[str, Frame] = {}
        # Positions of topics that are not followed yet, because without a subscriber their entries would be lost.
        self._stored_places: dict[str, positions.Position | None] = {}
        self._take_places(saved)
        self.limits: Frame = {}
        self.ready = False
        self.draft: Draft | None = None
        self._delayed = delayed
        # Documents whose history was lost, until their snapshot has arrived.
        self._lost: set[str] = set()
        self._holding = False

    def _take_places(self, saved: Saved) -> None:
        for log, place in saved.positions.items():
            known = self.logs if log == SESSION_LOG else self._stored_places
            known[log] = positions.parse(place)

    def open_replica(self, doc: str) -> Replica:
        """Return this client's copy of a document; a new copy shows the writes of a stored outbox at once."""
        if doc not in self.replicas:
            self.replicas[doc] = replica = Replica()
            self.logs.setdefault(STATE + doc, None)
            for frame in self.outbox:
                if frame["type"] == "update" and frame["doc"] == doc:
                    replica.expect(frame["seq"], frame["ops"], if_absent=frame.get("if_absent", False))
        return self.replicas[doc]

    def add_write(self, frame: Frame) -> tuple[int, list[Effect]]:
        """Number a `publish` or `send`, and send it after the draft; return its number and the effects.

        Raises Refused if it is too large for a frame.
        """
        self._check_size(frame)
        # The draft has an earlier number, so it must be sent first.
        before = [*self.flush_draft()]
        numbered = self.outbox.add(frame)
        return numbered["seq"], [*before, *self._send_write(numbered)]

    def add_update(
        self, doc: str, ops: list[list[Any]], strategy: str | None = None, *, atomic: bool = False
    ) -> tuple[int, list[Effect]]:
        """Change a document at once in the replica, and send the change with the version it is based on.

        With delayed synchronisation it may join the draft and have the same number.
        """
        replica = self.open_replica(doc)
        frame: Frame = {"type": "update", "doc": doc, "ops": ops, **({"strategy": strategy} if strategy else {})}
        if atomic:
            frame["atomic"] = True
        if replica.position is not None:
            frame |= describe_base(replica.position)
            # Used only if the base is lost, see `build_frame`.
            frame["replaced"] = replaced.digest_replaced(replica.view, ops)
        before = replica.view
        if self.draft is not None and self.draft.join(frame, self._is_sendable):
            joined = self.draft.frame
            replica.amend(joined["seq"], joined["ops"], ops)
            return joined["seq"], [Changed(doc, before, replica.view)]
        self._check_size(frame)
        effects = [*self.flush_draft()]
        numbered = self.outbox.add(frame)
        if self._delayed:
            self.draft = Draft(numbered, before)
        else:
            effects += self._send_write(numbered)
        # After the write was numbered, because the receipt will remove it by its number.
        replica.expect(numbered["seq"], ops)
        return numbered["seq"], [*effects, Changed(doc, before, replica.view)]

    def add_first_value(self, doc: str, data: Any) -> tuple[int, list[Effect]]:
        """Give a document its first value; show it at once only if no version is known here."""
        replica = self.open_replica(doc)
        before, ops = replica.view, [["set", "", data]]
        # An update that requires that no version exists has no base.
        seq, effects = self.add_write({"type": "update", "doc": doc, "ops": ops, "if_absent": True})
        replica.expect(seq, ops, if_absent=True)
        return seq, [*effects, Changed(doc, before, replica.view)]

    def flush_draft(self) -> Effects:
        """Send the draft. Without a connection it waits in the outbox, and no update joins it any more."""
        draft, self.draft = self.draft, None
        if draft is not None:
            yield from self._send_write(draft.frame)

    def resend_writes(self) -> Effects:
        """Send every write without a receipt again, in order. If the base of one is lost, first wait for the document's
        snapshot.
        """
        self._holding = any(frame.get("doc") in self._lost and "base" in frame for frame in self.outbox)
        if self.ready and not self._holding:
            for frame in list(self.outbox):
                # The draft was never sent, and may still grow.
                if self.draft is None or frame is not self.draft.frame:
                    yield Send(build_frame(frame))

    def _rebase_update(self, seq: int, error: str) -> None:
        for frame in self.outbox:
            place = self.open_replica(frame["doc"]).position if frame["seq"] == seq else None
            if place is not None:
                self.outbox.rebase(seq, error, place)
                return

    def _send_write(self, frame: Frame) -> list[Effect]:
        return [Send(build_frame(frame))] if self.ready and not self._holding else []

    def _check_size(self, frame: Frame) -> None:
        if self._measure_frame(frame) > self._read_frame_limit():
            # The server would refuse it at every attempt, without reading its number.
            raise Refused(FrameTooLarge(limit=self._read_frame_limit()).as_dict())

    def _is_sendable(self, frame: Frame) -> bool:
        is_short = len(frame["ops"]) <= self.limits.get("ops", MOST_OPERATIONS)
        return is_short and self._measure_frame(frame) <= self._read_frame_limit()

    def _measure_frame(self, frame: Frame) -> int:
        text = json.dumps(build_frame(frame), separators=(",", ":"), ensure_ascii=False)
        return len(text.encode()) + FRAME_MARGIN

    def _read_frame_limit(self) -> int:
        return int(self.limits.get("frame_bytes", FRAME_BYTES))
