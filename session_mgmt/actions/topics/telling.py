"""Publish the changes of presence: for each topic at most one entry a second, by the first process that comes.

Processes share the work by locks on the rows of logs: each skips the rows that another one has locked. All data of an
entry is in the database, so if a process dies, the next one does its work.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson
from django.db import connections

from session_mgmt.actions import notify
from session_mgmt.actions.topics.ledger import Publication, StreamLedger
from session_mgmt.actions.topics.presence import LOCK_MILLISECONDS
from session_mgmt.conf import settings
from session_mgmt.models import clock
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Row, Statements
from session_mgmt.models.tables import ATTENDANCE, MEMBER, PUBLICATION, STREAM
from session_mgmt.protocol.logs import PRESENCE
from session_mgmt.registry import Presence, registry

# Shortest time between two entries of one log.
TELL_EVERY = timedelta(seconds=1)
# Most logs and members of one transaction.
MOST_LOGS = 100
MOST_MEMBERS = 10_000
# The list of members is shown again if their count is below this share of `members_shown`. At exactly the limit, the
# whole list would be sent again each time that members come and go.
SHOW_AGAIN = 0.9
_OFFSET_KEY = {"stream_id": "bigint", "offset": "bigint"}


def is_waiting() -> bool:
    """Return whether the change of any member waits to be published; it takes one lookup in an index."""
    statements = Statements(connections[settings().database])
    return bool(statements.fetch(f"SELECT 1 FROM {MEMBER} WHERE waiting LIMIT 1"))


def tell_changes(*, now: datetime | None = None) -> int:
    """Write one entry for each log with changed members, and return the number of entries.

    Logs that had an entry less than ``TELL_EVERY`` ago, and logs that another process has locked, are left out.
    """
    using = settings().database
    statements = Statements(connections[using])
    waiting = statements.fetch(f"SELECT DISTINCT stream_id FROM {MEMBER} WHERE waiting LIMIT %s", [MOST_LOGS])
    if not waiting:
        return 0
    with open_transaction(using):
        statements.limit_lock_wait(LOCK_MILLISECONDS)
        now = now or clock.read(using)
        logs = _lock_due(statements, [row[0] for row in waiting], now)
        if not logs:
            return 0
        return _write_entries(using, statements, logs, now)


@dataclass(slots=True)
class _Log:
    """Log of a topic's presence, and the content of its next entry."""

    topic: str
    id: int
    # Whether the last entry showed the members; true for a new log, false if that entry is gone.
    shown: bool
    count: int = 0
    joined: list[Row] = field(default_factory=list)
    changed: list[Row] = field(default_factory=list)
    left: list[Row] = field(default_factory=list)

    @property
    def presence(self) -> Presence:
        return find_presence(self.topic)


def find_presence(name: str) -> Presence:
    """Return the declared presence options of a topic, or the defaults if no app declares the topic any more."""
    found = registry.find_presence(name.removeprefix(PRESENCE))
    return Presence() if found is None else found[0]


def _lock_due(statements: Statements, streams: Sequence[int], now: datetime) -> list[_Log]:
    """Lock the logs that no other process has locked, and return those whose last entry is old enough."""
    rows = statements.select_locked("id, topic, head", STREAM, streams, wait=False)
    columns = f"t.stream_id, t.data, {statements.as_utc('t.at')}"
    heads = {(id_, head) for id_, _, head in rows}
    last = {row[0]: row[1:] for row in statements.select_pairs(columns, PUBLICATION, _OFFSET_KEY, heads)}
    logs = []
    for id_, topic, head in rows:
        data, at = last.get(id_, (None, None))
        # An entry from the future was written before the clock was set back: do not wait until its time comes.
        if at is None or abs(now - statements.as_moment(at)) >= TELL_EVERY:
            shown = head == 0 if data is None else len(orjson.loads(bytes(data))) > 1
            logs.append(_Log(topic, id_, shown))
    return logs


def _write_entries(using: str, statements: Statements, logs: list[_Log], now: datetime) -> int:
    by_id = {log.id: log for log in logs}
    among, params = statements.among("stream_id", list(by_id))
    rows = statements.fetch(
        f"SELECT id, stream_id, member, data, told, {statements.as_utc('since')} FROM {MEMBER}"
        f" WHERE {among} AND waiting ORDER BY id LIMIT %s" + statements.lock_clause(wait=True),
        [*params, MOST_MEMBERS],
    )
    # A separate statement, which sees clients that entered before the locks were taken.
    present = statements.select_rows("member_id", ATTENDANCE, [row[0] for row in rows], key="member_id")
    attended = {row[0] for row in present}
    kept, gone = [], []
    for id_, stream, member, data, told, since in rows:
        log, row = by_id[stream], (member, bytes(data), statements.as_moment(since))
        if id_ in attended:
            kept.append((id_, bytes(data), False))
            if told is None:
                log.joined.append(row)
            elif bytes(told) != bytes(data):
                log.changed.append(row)
        else:
            gone.append(id_)
            if told is not None:
                log.left.append(row)
    statements.update(MEMBER, {"id": "bigint", "told": "bytea", "waiting": "boolean"}, kept)
    if gone:
        among_gone, keys = statements.among("id", gone)
        statements.run(f"DELETE FROM {MEMBER} WHERE {among_gone}", keys)
    counts = statements.fetch(
        f"SELECT stream_id, COUNT(*) FROM {MEMBER} WHERE {among} AND told IS NOT NULL GROUP BY stream_id", params
    )
    for stream, count in counts:
        by_id[stream].count = count
    return _publish(using, statements, logs, now)


def _publish(using: str, statements: Statements, logs: Iterable[_Log], now: datetime) -> int:
    entries = [Publication(log.topic, body) for log in logs if (body := _build_entry(statements, log)) is not None]
    ledger = StreamLedger(statements)
    # Its streams are locked already, so it does not wait.
    ledger.load(entries, at=now, wait=True)
    for entry in entries:
        ledger.decide(entry)
    ledger.write(now)
    rings = {key: appended.entries[-1].offset for key, appended in ledger.list_appended(now).items()}
    notify.after_commit(using, rings=rings)
    return len(entries)


def _build_entry(statements: Statements, log: _Log) -> bytes | None:
    """Build the body of a log's next entry; return ``None`` if there is nothing to publish."""
    most = log.presence.members_shown
    is_shown = log.count <= (most if log.shown else most * SHOW_AGAIN)
    moved = bool(log.joined or log.left)
    if not moved and not (log.changed and is_shown):
        return None
    entry: dict[str, Any] = {"count": log.count}
    if is_shown and not log.shown:
        entry["members"] = _describe(_load_told(statements, log.id))
    elif is_shown:
        entry["joined"], entry["changed"] = _describe(log.joined), _describe(log.changed)
        entry["left"] = [member for member, *_ in log.left]
    return orjson.dumps(entry)


def _describe(rows: Iterable[Row]) -> dict[str, Any]:
    return {member: {"data": orjson.Fragment(data), "since": clock.as_text(since)} for member, data, since in rows}


def _load_told(statements: Statements, stream: int) -> list[Row]:
    rows = statements.fetch(
        f"SELECT member, told, {statements.as_utc('since')} FROM {MEMBER} WHERE stream_id = %s AND told IS NOT NULL",
        [stream],
    )
    return [(member, bytes(told), statements.as_moment(since)) for member, told, since in rows]
