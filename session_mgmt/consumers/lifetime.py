"""Times of a connection: when it was opened, the present time of the database's clock, and when its token ends."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

# Seconds after the end of a token in which it may still be refreshed over the socket.
TOKEN_GRACE = 30.0


class Lifetime:
    """Times of one connection, in seconds of the event loop's clock, which never goes back, unless they are a
    ``datetime``.

    The clock of this machine is not used, because it may be wrong, and may be set back.
    """

    __slots__ = ("_at", "_clock", "_timestamp_offset", "opened_at", "token_over_at")

    def __init__(self, clock: Callable[[], float], at: datetime, token_expires_at: datetime) -> None:
        self._clock, self._at = clock, at
        self.opened_at = now = clock()
        self.token_over_at = now + (token_expires_at - at).total_seconds()
        self._timestamp_offset = at.timestamp() - now

    def read_server_time(self) -> datetime:
        """Return the database's time, computed from the time of connecting, without a query."""
        return self.find_server_time(self._clock())

    def find_server_time(self, moment: float) -> datetime:
        """Return the database's clock at a moment."""
        return self._at + timedelta(seconds=moment - self.opened_at)

    def read_server_timestamp(self) -> float:
        """Return the database's clock as ``read_server_time`` does, in seconds since 1970."""
        return self._timestamp_offset + self._clock()

    def note_refresh(self, expires_in: float) -> None:
        """Note that the client has a new token, which is valid for this many seconds from now on."""
        self.token_over_at = max(self.token_over_at, self._clock() + expires_in)


def find_over(now: float) -> float:
    """Return the latest end of a token for which the time to refresh it is over as well."""
    return now - TOKEN_GRACE
