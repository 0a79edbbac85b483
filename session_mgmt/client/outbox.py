"""Numbered writes of a client, from the call until the receipt (PROTOCOL section 5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from session_mgmt.protocol.position import Position

Frame = dict[str, Any]


def build_frame(frame: Frame) -> Frame:
    """Return a stored write in the form that is sent: with digests only if its base is gone."""
    sent = {name: value for name, value in frame.items() if name not in ("replaced", "unseen")}
    return {**sent, "replaced": frame.get("replaced", {})} if frame.get("unseen") else sent


def describe_base(place: Position) -> Frame:
    """Return the fields that name the version on which an update was made; the tag identifies its history."""
    return {"base": place.offset, "epoch": place.epoch, "tag": place.tag}


def _read_base(frame: Frame) -> list[Any]:
    return [frame["epoch"], frame["base"], frame.get("tag")]


class Outbox:
    """Writes without a receipt, in the order of their numbers. A number is never used twice."""

    def __init__(self, next_seq: int = 1, writes: Iterable[Frame] = ()) -> None:
        self._writes: dict[int, Frame] = {frame["seq"]: frame for frame in writes}
        self.next_seq = max([next_seq, *(seq + 1 for seq in self._writes)])

    def __len__(self) -> int:
        return len(self._writes)

    def __iter__(self) -> Iterator[Frame]:
        return iter(self._writes.values())

    def __contains__(self, seq: int) -> bool:
        return seq in self._writes

    def add(self, frame: Frame) -> Frame:
        """Number a write and keep it until `settle`."""
        # Type first, number second, so that a server finds the number even in a text that it cannot parse.
        numbered = {"type": frame["type"], "seq": self.next_seq, **frame}
        self._writes[self.next_seq] = numbered
        self.next_seq += 1
        return numbered

    def settle(self, seq: int) -> Frame | None:
        """Remove and return the write that a receipt answers, or None if it was answered before."""
        return self._writes.pop(seq, None)

    def rebase(self, seq: int, error: str, place: Position) -> None:
        """Give an undecided update another base; no other part of a write may change.

        Later updates with a base that would be refused as well get the new base too. Each is then sent with the digests
        of the values it replaced, because the changes since its old base are unknown.
        """
        refused = self._writes.get(seq)
        # It was rebased already, together with an earlier update.
        if refused is None or "base" not in refused or _read_base(refused) == place.as_json():
            return
        doc, old_epoch, old_base = refused["doc"], refused["epoch"], refused["base"]
        for frame in self._writes.values():
            behind = frame["seq"] >= seq and frame.get("doc") == doc and frame.get("epoch") == old_epoch
            if behind and (error != "too_old" or frame["base"] <= old_base):
                frame |= {**describe_base(place), "unseen": True}

    def rebase_all(self, doc: str, place: Position) -> None:
        """Give every update of a document a base in the new history; from now on they are sent with digests."""
        for frame in self._writes.values():
            if frame.get("doc") == doc and "base" in frame:
                frame |= {**describe_base(place), "unseen": True}

    @property
    def acked(self) -> int:
        """Highest number up to which every receipt has arrived."""
        return min(self._writes, default=self.next_seq) - 1

    def skip_to(self, last_seq: int) -> None:
        """Skip the numbers that the server has decided, even if this client has forgotten them."""
        self.next_seq = max(self.next_seq, last_seq + 1)

    def abandon(self) -> list[Frame]:
        """Clear the outbox and restart at 1 for a new client name; return the writes without an answer."""
        unanswered = list(self._writes.values())
        self._writes.clear()
        self.next_seq = 1
        return unanswered
