"""One document on the client's side: what the server confirmed, and on top of it what is on its way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from session_mgmt.documents.operations import apply
from session_mgmt.protocol.position import Position

Ops: TypeAlias = Sequence[Sequence[Any]]


class Replica:
    """`view` is what the application sees. Operations are total, so the pending ones apply to any confirmed value."""

    def __init__(self) -> None:
        self.position: Position | None = None
        self.confirmed: Any = {}
        self.fetching = False
        self.awaited = 0
        self._pending: dict[int, Ops] = {}
        self._first_values: set[int] = set()
        self._waiting: list[tuple[Position, Any]] = []
        self._view: Any = {}

    @property
    def view(self) -> Any:
        return self._view

    def expect(self, seq: int, ops: Ops, *, if_absent: bool = False) -> None:
        """Show a write before the server has answered it."""
        if if_absent:
            self._first_values.add(seq)
        self._view = self._shown(self._view, seq, ops, behind=bool(self._pending))
        self._pending[seq] = ops

    def amend(self, seq: int, ops: Ops, added: Ops) -> None:
        """The newest write, which was not sent, says `added` too; all of it is `ops`."""
        self._pending[seq] = ops
        self._view = apply(self._view, added)

    def forget(self, seq: int) -> None:
        """A write was answered: what it did, if anything, is in `confirmed`."""
        self._first_values.discard(seq)
        if self._pending.pop(seq, None) is not None:
            self._rebuild()

    def advance(self, position: Position, body: dict[str, Any], own: bool) -> None:
        """Apply the entry that makes the next version; `own` says that this client's pending write made it."""
        if self.fetching:
            self._waiting.append((position, body))
            return
        self.confirmed = apply(self.confirmed, body["ops"])
        self.position = position
        if own:
            # The receipt comes later; until then the write would count twice.
            self._pending.pop(body["seq"], None)
        self._rebuild()

    def replace(self, position: Position, data: Any, decided: int) -> None:
        """Take a snapshot. Writes up to `decided` were answered before it was made, so it holds what they did."""
        self.confirmed, self.position, self.fetching = data, position, False
        for seq in [seq for seq in self._pending if seq <= decided]:
            del self._pending[seq]
        waiting, self._waiting = self._waiting, []
        for place, body in waiting:
            if place.epoch == position.epoch and place.offset == self.position.offset + 1:
                self.confirmed = apply(self.confirmed, body["ops"])
                self.position = place
        self._rebuild()

    def await_body(self, version: int) -> None:
        """The snapshot's body comes by another way, at `version` or later; entries wait for it."""
        self.fetching, self.awaited = True, version
        self._waiting.clear()

    def _rebuild(self) -> None:
        view, behind = self.confirmed, False
        for seq, ops in self._pending.items():
            view, behind = self._shown(view, seq, ops, behind=behind), True
        self._view = view

    def _shown(self, view: Any, seq: int, ops: Ops, *, behind: bool) -> Any:
        """The value with a write on top; `behind` another that waits, which will have written before it."""
        written = self.position is not None and self.position.offset > 0
        # A first value that comes too late must not be seen for as long as its answer takes.
        late = seq in self._first_values and (behind or written)
        return view if late else apply(view, ops)
