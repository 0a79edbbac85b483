"""Knowledge about the way to a server, for later connections and, with a file as storage, for later processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from session_mgmt.client.clock import Clock
from session_mgmt.client.storage import Saved

BEGIN_SECONDS = 600.0
MOST_SECONDS = 86_400.0
# Number of failures after which a connection begins without a socket.
ENOUGH_FAILURES = 2


@dataclass(frozen=True, slots=True)
class Known:
    """Facts about the way that `of` names. `failures` counts sockets that failed while HTTP got through.

    No connection begins with a socket before `blocked_until`, which was `blocked_for` seconds ahead when it was chosen;
    no stream is tried before `buffered_until`.
    """

    of: str
    failures: int = 0
    blocked_until: float = 0.0
    blocked_for: float = 0.0
    buffered_until: float = 0.0


class Memory:
    """Facts in the storage; `save` stores them."""

    def __init__(self, saved: Saved, of: str, clock: Clock, save: Callable[[], None]) -> None:
        self._saved, self._of, self._clock, self._save = saved, of, clock, save

    @property
    def is_blocked(self) -> bool:
        return self._is_ahead(self._read().blocked_until)

    @property
    def is_buffered(self) -> bool:
        return self._is_ahead(self._read().buffered_until)

    def note_failure(self) -> None:
        """Note that a socket failed while HTTP got through."""
        known = self._read()
        known = replace(known, failures=known.failures + 1)
        if known.failures >= ENOUGH_FAILURES:
            seconds = min(MOST_SECONDS, known.blocked_for * 2 or BEGIN_SECONDS)
            known = replace(known, blocked_for=seconds, blocked_until=self._clock.now() + seconds)
        self._write(known)

    def note_buffered(self) -> None:
        """Note that something on the way buffers streams."""
        self._write(replace(self._read(), buffered_until=self._clock.now() + MOST_SECONDS))

    def clear_failures(self) -> None:
        """Forget failures of sockets, because one was useful."""
        known = self._read()
        if known.failures:
            self._write(replace(known, failures=0, blocked_until=0.0, blocked_for=0.0))

    def _is_ahead(self, until: float) -> bool:
        # Limit the time, or a clock that was set back would extend it to years.
        return 0.0 < until - self._clock.now() <= MOST_SECONDS

    def _read(self) -> Known:
        stored: dict[str, Any] = self._saved.way or {}
        try:
            known = Known(**stored)
        except TypeError:
            return Known(self._of)
        return known if known.of == self._of else Known(self._of)

    def _write(self, known: Known) -> None:
        self._saved.way = None if known == Known(self._of) else asdict(known)
        self._save()
