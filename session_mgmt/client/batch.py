"""Delayed synchronisation: updates are added to the newest unsent write, and sent together."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from session_mgmt.client.coalesce import coalesce_operations
from session_mgmt.documents import replaced

Frame = dict[str, Any]
# Updates are joined only if these are equal, because on another base the server would find other conflicts.
_COMMON = ("doc", "strategy", "base", "epoch", "tag")


@dataclass(frozen=True, slots=True)
class Sync:
    """Timing of updates, in seconds: `delay` after the last update, at most `max_delay` after the first one."""

    mode: Literal["immediate", "delayed"] = "immediate"
    delay: float = 0.2
    max_delay: float = 2.0

    def __post_init__(self) -> None:
        if self.mode not in ("immediate", "delayed"):
            raise ValueError(f"mode is immediate or delayed, not {self.mode!r}")
        for name in ("delay", "max_delay"):
            seconds = getattr(self, name)
            if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
                raise ValueError(f"{name} is a number of seconds from 0 on, not {seconds!r}")


@dataclass(slots=True)
class Draft:
    """Unsent update that later updates may join. `frame` is the same object as in the outbox, `view` the document
    before the update.
    """

    frame: Frame
    view: Any

    def join(self, frame: Frame, fits: Callable[[Frame], bool]) -> bool:
        """Add an update to the draft; return False if it must be a write of its own."""
        if any(self.frame.get(name) != frame.get(name) for name in _COMMON):
            return False
        if self.frame.get("atomic") or frame.get("atomic"):
            # A refusal of one of them would become a refusal of both.
            return False
        amended = {**self.frame, "ops": coalesce_operations(self.frame["ops"], frame["ops"])}
        if "replaced" in amended:
            amended["replaced"] = replaced.digest_replaced(self.view, amended["ops"])
        if not fits(amended):
            return False
        # Change it in place, because the outbox holds the same object.
        self.frame.update(amended)
        return True


class Batch:
    """Timer that calls `flush` when a draft is due."""

    def __init__(self, sync: Sync, flush: Callable[[], None]) -> None:
        self._sync, self._flush = sync, flush
        self._seq: int | None = None
        self._began = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def plan_flush(self, draft: Draft) -> None:
        """Set the timer for a draft that is new or has grown."""
        loop = asyncio.get_running_loop()
        self.cancel_flush()
        if draft.frame["seq"] != self._seq:
            self._seq, self._began = draft.frame["seq"], loop.time()
        # The limit counts from the first update, or the edits of somebody who types without a pause would never be
        # sent.
        left = self._began + self._sync.max_delay - loop.time()
        self._timer = loop.call_later(max(0.0, min(self._sync.delay, left)), self._flush)

    def cancel_flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
