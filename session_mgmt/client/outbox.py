"""A client's numbered writes, from the call until the receipt (PROTOCOL section 5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

Frame = dict[str, Any]


def on_the_wire(frame: Frame) -> Frame:
    """A stored write as it is sent: with digests only where its base is gone."""
    sent = {name: value for name, value in frame.items() if name not in ("replaced", "unseen")}
    return {**sent, "replaced": frame.get("replaced", {})} if frame.get("unseen") else sent


class Outbox:
    """Writes without a receipt in the order of their numbers. A number is given once and never again."""

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
        """Number the write; it is kept until `settle`."""
        # The type first and the number next: where a server finds it even in a text that it cannot read.
        numbered = {"type": frame["type"], "seq": self.next_seq, **frame}
        self._writes[self.next_seq] = numbered
        self.next_seq += 1
        return numbered

    def settle(self, seq: int) -> Frame | None:
        """The write that a receipt answers, or None if it was answered before."""
        return self._writes.pop(seq, None)

    def rebase(self, seq: int, error: str, base: int, epoch: str) -> None:
        """Let an undecided update speak of another version: the only part of a write that may change.

        What was written behind it on a base that is refused too goes along. From then on each is sent with the digests
        of what it replaced, because nobody can tell any more what was changed in between.
        """
        refused = self._writes.get(seq)
        if refused is None or "base" not in refused or (refused["base"], refused["epoch"]) == (base, epoch):
            return
        doc, old_epoch, old_base = refused["doc"], refused["epoch"], refused["base"]
        for frame in self._writes.values():
            behind = frame["seq"] >= seq and frame.get("doc") == doc and frame.get("epoch") == old_epoch
            if behind and (error != "too_old" or frame["base"] <= old_base):
                frame |= {"base": base, "epoch": epoch, "unseen": True}

    @property
    def acked(self) -> int:
        """The highest number up to which every receipt has come."""
        return min(self._writes, default=self.next_seq) - 1

    def skip_to(self, last_seq: int) -> None:
        """Never give a number that the server has decided, even after this side lost its memory of it."""
        self.next_seq = max(self.next_seq, last_seq + 1)

    def abandon(self) -> list[Frame]:
        """Empty it and start again at 1, for a new client name; gives the writes that nobody answered."""
        unanswered = list(self._writes.values())
        self._writes.clear()
        self.next_seq = 1
        return unanswered
