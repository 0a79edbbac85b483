"""Follows one client through one log, and says where the server broke its word."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.faults.evidence import LOST, Position, Record, Violation

Lost = Callable[[Position, int], bool]


def _is_never_lost(asked: Position, record: int) -> bool:
    return False


@dataclass(slots=True)
class Walk:
    """`position` is where the client stands, None before it was told; `replay_to` is set during a replay."""

    process: str
    log: str
    is_lost: Lost = _is_never_lost
    position: Position | None = None
    since: int = 0
    replay_from: int = 0
    replay_to: int | None = None
    replayed: bool = False
    # Over HTTP answers to writes bring entries too, and these are not marked as recovered.
    by_calls: bool = False

    def connected(self, record: Record) -> Iterator[Violation]:
        verdict = record["frame"]["logs"].get(self.log)
        asked = record["asked"].get(self.log)
        self.replay_to, self.replayed, self.since = None, False, record["i"]
        if verdict is None:
            yield self._broken("T2", "has no verdict", record)
            return
        mode = verdict["mode"]
        self.by_calls = "recovery" in record["frame"]
        lost = asked is not None and self.is_lost(asked, record["i"])
        if lost and verdict.get("reason") not in LOST:
            yield self._broken("T7", f"was at {asked} of a lost history, and is told {verdict}", record)
        if mode == "denied":
            yield self._broken("T2", "was denied", record)
        elif mode == "up_to_date":
            yield from self._up_to_date(record, asked, verdict)
        elif mode == "entries":
            if asked is None or verdict["from"] != asked[1] or verdict["to"] < verdict["from"]:
                yield self._broken("T2", f"asked from {asked}, is replayed from {verdict['from']}", record)
            self.position = asked
            self.replay_from, self.replay_to = verdict["from"], verdict["to"]
        elif asked is not None:
            if not lost:
                yield from self._lost(verdict.get("reason"), record)
            self.position = verdict["position"] if mode == "gap" else None
        else:
            self.position = verdict["position"] if mode == "gap" else None

    def _up_to_date(self, record: Record, asked: Position | None, verdict: Record) -> Iterator[Violation]:
        if asked is not None and verdict["position"] != asked:
            yield self._broken("T2", f"is at {asked} and is told that {verdict['position']} is up to date", record)
        self.position = verdict["position"]

    def _lost(self, reason: str | None, record: Record) -> Iterator[Violation]:
        if reason in LOST:
            yield self._broken("T7", f"is told {reason}, but no history was lost", record)

    def entries(self, record: Record) -> Iterator[Violation]:
        frame = record["frame"]
        if "prev" in frame:
            yield from self._part(record)
            return
        if self.position is not None and self.is_lost(self.position, record["i"]):
            yield self._broken("T7", f"was at {self.position} of a lost history, and is given what follows", record)
        for offset, tag, _ in frame["entries"]:
            if self.position is None:
                yield self._broken("T8", f"is given {offset} before it has a place", record)
            elif frame["epoch"] != self.position[0]:
                yield self._broken(
                    "T7", f"went from epoch {self.position[0]} to {frame['epoch']} without a word", record
                )
            elif offset <= self.position[1]:
                yield self._broken("T3", f"is given {offset} again", record)
            elif offset > self.position[1] + 1:
                yield self._broken("T2", f"jumps from {self.position[1]} to {offset} without a gap", record)
            self.position = [frame["epoch"], offset, tag]
        if frame.get("recovered"):
            yield from self._recovered(record)

    def _part(self, record: Record) -> Iterator[Violation]:
        """Take a frame of a part, which stands for all entries from `prev` to its position."""
        frame = record["frame"]
        first, last = frame["prev"], frame["position"]
        offsets = [offset for offset, *_ in frame["entries"]]
        if self.position is None:
            yield self._broken("T8", f"is given a part up to {last} before it has a place", record)
        elif frame["epoch"] != self.position[0]:
            yield self._broken("T7", f"went from epoch {self.position[0]} to {frame['epoch']} without a word", record)
        elif first > self.position[1]:
            yield self._broken("T2", f"jumps from {self.position[1]} to {first} without a gap", record)
        elif again := [offset for offset in offsets if offset <= self.position[1]]:
            yield self._broken("T3", f"is given {again} of its part again", record)
        elif last[1] < self.position[1]:
            yield self._broken("T2", f"goes back from {self.position[1]} to {last[1]}", record)
        if offsets != sorted(set(offsets)) or any(not first < offset <= last[1] for offset in offsets):
            yield self._broken("T2", f"is given {offsets} as the part from {first} to {last[1]}", record)
        self.position = last
        if frame.get("recovered"):
            yield from self._recovered(record)

    def _recovered(self, record: Record) -> Iterator[Violation]:
        reached = self.position[1] if self.position else 0
        if self.replay_to is None and not self.replayed:
            yield self._broken("T6", "is told that it recovered, but nothing was to be replayed", record)
        elif self.replay_to is not None and reached < self.replay_to:
            yield self._broken("T6", f"is told that it recovered at {reached} of {self.replay_to}", record)
        self.replay_to, self.replayed = None, True

    def snapshot(self, record: Record) -> None:
        self.position = record["frame"]["position"]
        if self.replay_to is not None and self.position is not None and self.position[1] >= self.replay_to:
            # What was to be replayed was trimmed meanwhile; the whole document holds it.
            self.replay_to, self.replayed = None, True

    def gap(self, record: Record) -> Iterator[Violation]:
        if self.position is None or not self.is_lost(self.position, record["i"]):
            yield from self._lost(record["frame"].get("reason"), record)
        self.position = record["frame"]["position"]

    def recovery(self, record: Record) -> Iterator[Violation]:
        """Check the receipt of the whole connection against each log's part."""
        receipt = record["frame"]["receipt"]
        reached = self.position[1] if self.position else 0
        if self.replay_to is not None and not (self.by_calls and reached >= self.replay_to):
            yield self._broken("T6", f"has a receipt before it has reached {self.replay_to}", record)
        told = receipt.get("replayed", {}).get(self.log)
        if told and self.position and self.position[1] < told[1]:
            yield self._broken("T6", f"the receipt says replayed to {told[1]}, but it is at {self.position[1]}", record)
        if self.log in receipt.get("lost", {}) and receipt["verdict"] == "full":
            yield self._broken("T6", "lost entries, but the receipt says full", record)

    def _broken(self, promise: str, text: str, record: Record) -> Violation:
        return Violation(promise, f"{self.process} {self.log} {text}", (self.since, record["i"]))


def follow(
    process: str, log: str, records: list[Record], is_lost: Lost = _is_never_lost
) -> Iterator[tuple[Walk, list[Violation]]]:
    """Take every record that concerns the log, in order; gives the walk after each."""
    walk = Walk(process, log, is_lost)
    for record in records:
        found: list[Violation] = []
        if record["type"] == "connected":
            found = list(walk.connected(record))
        elif record["type"] == "recovery":
            found = list(walk.recovery(record))
        elif (record.get("frame") or {}).get("log") == log:
            found = list(_step(walk, record))
        yield walk, found


def _step(walk: Walk, record: Record) -> Iterator[Violation]:
    kind: Any = record["type"]
    if kind == "entries":
        yield from walk.entries(record)
    elif kind == "snapshot":
        walk.snapshot(record)
    elif kind == "gap":
        yield from walk.gap(record)
