"""Copy of one document: the confirmed value, and the pending writes on top of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from session_mgmt.documents.operations import apply_ops
from session_mgmt.protocol.position import Position

Ops: TypeAlias = Sequence[Sequence[Any]]


class Replica:
    """Document of a client; `view` is the value that the application sees.

    Operations never fail, so the pending ones can be applied to any value that the server confirms.
    """

    def __init__(self) -> None:
        self.position: Position | None = None
        self.confirmed: Any = {}
        self.fetching = False
        self.awaited = 0
        self._pending: dict[int, Ops] = {}
        self._first_values: set[int] = set()
        self._held_back: list[tuple[Position, Any]] = []
        self._view: Any = {}

    @property
    def pending(self) -> int:
        """Number of writes without an answer."""
        return len(self._pending)

    @property
    def view(self) -> Any:
        return self._view

    def expect(self, seq: int, ops: Ops, *, if_absent: bool = False) -> None:
        """Show a write before the server answers it."""
        if if_absent:
            self._first_values.add(seq)
        self._view = self._apply_pending(self._view, seq, ops, behind=bool(self._pending))
        self._pending[seq] = ops

    def amend(self, seq: int, ops: Ops, added: Ops) -> None:
        """Extend the newest, unsent write by `added`; `ops` are all its operations."""
        self._pending[seq] = ops
        self._view = apply_ops(self._view, added)

    def forget(self, seq: int) -> None:
        """Drop an answered write. If it had an effect, `confirmed` contains it."""
        self._first_values.discard(seq)
        if self._pending.pop(seq, None) is not None:
            self._rebuild_view()

    def advance(self, position: Position, body: dict[str, Any], own: bool) -> None:
        """Apply the entry of the next version; `own` is True if a pending write of this client made it."""
        if self.fetching:
            self._held_back.append((position, body))
            return
        self.confirmed = apply_ops(self.confirmed, body["ops"])
        self.position = position
        if own:
            # The receipt comes later; until then the write would be applied twice.
            self._pending.pop(body["seq"], None)
        self._rebuild_view()

    def replace(self, position: Position, data: Any, decided: int) -> None:
        """Replace the value by a snapshot. It contains all writes up to `decided`, which were answered before."""
        self.confirmed, self.position, self.fetching = data, position, False
        for seq in [seq for seq in self._pending if seq <= decided]:
            del self._pending[seq]
        waiting, self._held_back = self._held_back, []
        for place, body in waiting:
            # Skip entries that the snapshot already contains, and entries of another history.
            if place.epoch == position.epoch and place.offset == self.position.offset + 1:
                self.confirmed = apply_ops(self.confirmed, body["ops"])
                self.position = place
        self._rebuild_view()

    def await_body(self, version: int) -> None:
        """Hold entries back until a snapshot of `version` or later has arrived over HTTP."""
        self.fetching, self.awaited = True, version
        self._held_back.clear()

    def _rebuild_view(self) -> None:
        view, behind = self.confirmed, False
        for seq, ops in self._pending.items():
            view, behind = self._apply_pending(view, seq, ops, behind=behind), True
        self._view = view

    def _apply_pending(self, view: Any, seq: int, ops: Ops, *, behind: bool) -> Any:
        """Return the value with a write on top; `behind` is True if another pending write comes before it."""
        written = self.position is not None and self.position.offset > 0
        # A first value that comes too late will have no effect, so do not show it.
        late = seq in self._first_values and (behind or written)
        return view if late else apply_ops(view, ops)
