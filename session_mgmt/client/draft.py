"""Delayed synchronisation: updates gather in the newest, still unsent write, and go as one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from session_mgmt.client.coalesce import coalesced
from session_mgmt.documents import replaced

Frame = dict[str, Any]
# One update has one of each: on another base the server would see other conflicts.
_GROUND = ("doc", "strategy", "base", "epoch")


@dataclass(frozen=True, slots=True)
class Sync:
    """When updates are sent, in seconds: `delay` after the last of them, `max_delay` after the first."""

    mode: Literal["immediate", "delayed"] = "immediate"
    delay: float = 0.2
    max_delay: float = 2.0

    def __post_init__(self) -> None:
        if self.mode not in ("immediate", "delayed"):
            raise ValueError("mode is immediate or delayed")


@dataclass(slots=True)
class Draft:
    """`frame` is the outbox's own; `view` is the document before the first part."""

    frame: Frame
    view: Any

    def join(self, frame: Frame, fits: Callable[[Frame], bool]) -> bool:
        """Take an update in; False if it must be a write of its own."""
        if any(self.frame.get(name) != frame.get(name) for name in _GROUND):
            return False
        amended = {**self.frame, "ops": coalesced(self.frame["ops"], frame["ops"])}
        if "replaced" in amended:
            amended["replaced"] = replaced.digests(self.view, amended["ops"])
        if not fits(amended):
            return False
        self.frame.update(amended)
        return True


class Pace:
    """Calls `flush` when the time of a draft has come."""

    def __init__(self, sync: Sync, flush: Callable[[], None]) -> None:
        self._sync, self._flush = sync, flush
        self._seq: int | None = None
        self._began = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def plan(self, draft: Draft) -> None:
        """A draft has been begun or added to."""
        loop = asyncio.get_running_loop()
        self.cancel()
        if draft.frame["seq"] != self._seq:
            self._seq, self._began = draft.frame["seq"], loop.time()
        left = self._began + self._sync.max_delay - loop.time()
        self._timer = loop.call_later(max(0.0, min(self._sync.delay, left)), self._flush)

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
