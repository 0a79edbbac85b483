"""Logs that one connection follows."""

from __future__ import annotations

import asyncio
from typing import Protocol

from session_mgmt.actions.logs import LogRow
from session_mgmt.actions.sessions.attachments import Attachment
from session_mgmt.actions.sessions.looking import Log
from session_mgmt.consumers.following import Following, Reader
from session_mgmt.consumers.judging import make_judged_following
from session_mgmt.consumers.rechecks import Rechecks
from session_mgmt.consumers.serving import Serving
from session_mgmt.consumers.writes import Writes
from session_mgmt.protocol.logs import STATE


class Joiner(Reader, Protocol):
    """Interface of the connection that follows logs."""

    attachment: Attachment
    writes: Writes


class Followings(dict[str, Following]):
    """Followings of one connection, by the names of their logs."""

    __slots__ = ("_connection", "_judging_turn", "_rechecks", "_serving")

    def __init__(self, connection: Joiner, serving: Serving, rechecks: Rechecks) -> None:
        super().__init__()
        self._connection: Joiner | None = connection
        self._serving, self._rechecks = serving, rechecks
        # Pages of topics that ask about each entry are judged one at a time.
        self._judging_turn = asyncio.Lock()

    def join(self, log: Log) -> Following:
        """Join a log; if it is followed already, follow it again from the given position."""
        # The old following must not send anything after the new one has begun.
        self.leave(log.name)
        connection = self._connection
        assert connection is not None  # nothing is joined after the end
        session = connection.attachment.session
        feed = self._serving.follow_log(LogRow(log.key, log.name), log.head)
        judged = make_judged_following(connection, feed, log, session, self._judging_turn)
        following = self[log.name] = judged or Following(connection, feed, log)
        if log.name.startswith(STATE) and log.id is not None:
            connection.writes.add_document(log.name.removeprefix(STATE), log.id)
        self._rechecks.watch_log(session.pk, log.name)
        return following

    def leave(self, name: str) -> None:
        """Leave a log; do nothing if it is not followed."""
        following = self.pop(name, None)
        if following is not None:
            following.stop()
            self._serving.unfollow_log(following.feed)

    def close(self) -> None:
        """Leave every log, for good."""
        for name in list(self):
            self.leave(name)
        self._connection = None

    def tell_places(self) -> None:
        """Report how far logs with filters have come if no entry matched."""
        for following in self.values():
            following.tell_place()

    def list_lost(self) -> dict[str, list[int | None]]:
        """Return for each log the range of entries that are lost and were not sent."""
        return {name: list(f.lost_range) for name, f in self.items() if f.lost_range}

    def list_replayed(self) -> dict[str, list[int]]:
        """Return the range of each log that was replayed."""
        return {name: list(f.replayed) for name, f in self.items() if f.replayed}
