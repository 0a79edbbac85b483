"""Presence: clients enter and leave topics, and everybody with the permission reads who is present.

Rows are changed at once, and ``telling.py`` publishes the changes, at most once a second for each topic. Only the
connections of a client show whether it is still online: nothing is written when a connection closes, and nothing when
it opens again.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from django.db import connections
from django.utils.crypto import salted_hmac

from session_mgmt.actions import access, checking
from session_mgmt.actions.clients import Attached
from session_mgmt.actions.topics.beginnings import derive_epoch
from session_mgmt.actions.topics.ledger import ensure_streams
from session_mgmt.conf import settings
from session_mgmt.documents import strict
from session_mgmt.exceptions import (
    InvalidField,
    PublicationTooLarge,
    Replaced,
    SessionMgmtError,
    SubscriptionLimit,
    TopicDenied,
)
from session_mgmt.models import ClientSession, clock
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Statements
from session_mgmt.models.tables import ATTENDANCE, CLIENT, MEMBER, STREAM
from session_mgmt.protocol.logs import PRESENCE
from session_mgmt.protocol.patterns import is_topic
from session_mgmt.protocol.position import Position
from session_mgmt.registry import registry

# Longest wait for a lock: other moves wait behind the one that waits.
LOCK_MILLISECONDS = 5000
_MEMBER_LIMIT = 100
_PURPOSE = "session_mgmt.presence"
_ATTENDANCE_KEY = {"client_id": "bigint", "stream_id": "bigint"}
_MEMBER_KEY = {"stream_id": "bigint", "member": "text"}


class Move(NamedTuple):
    """Request of a client to enter a topic as a member, with the data of the member as compact JSON. Without a member,
    it is a request to leave.
    """

    topic: str
    attached: Attached
    member: str | None = None
    data: bytes = b"null"


@dataclass(frozen=True, slots=True)
class Members:
    """Members of a topic at a position of its presence log; ``rows`` is ``None`` if only the count is shown."""

    position: Position
    count: int
    rows: dict[str, dict[str, Any]] | None

    def as_json(self) -> dict[str, Any]:
        return {"position": self.position.as_json(), "count": self.count, "members": self.rows}


def prepare_entry(session: ClientSession, topic: str, data: Any, attached: Attached) -> Move:
    """Return the move of a session that enters a topic, after all checks.

    This runs the project's code: call it without any lock or transaction. Raises ``TopicDenied``, ``ReauthRequired``,
    ``InvalidField`` or ``PublicationTooLarge``.
    """
    if not is_topic(PRESENCE + topic):
        raise TopicDenied("One cannot enter this topic.")
    presence, member = access.ask_member(session, topic)
    body = strict.dump_json(checking.check_value(data))
    if len(body) > presence.data_bytes:
        text = f"What a member says of itself has at most {presence.data_bytes} bytes here."
        raise PublicationTooLarge(text, limit=presence.data_bytes)
    if member is None:
        member = hide_session(session.pk, topic)
    elif not (0 < len(member) <= _MEMBER_LIMIT and member.isprintable()):
        raise TopicDenied("One cannot enter this topic.")
    return Move(topic, attached, member, body)


def hide_session(session: uuid.UUID, topic: str) -> str:
    """Return the id of a session as a member of a topic. It is always the same in one topic, differs between topics,
    and does not reveal the session.
    """
    return salted_hmac(_PURPOSE, f"{session.hex}/{topic}", algorithm="sha256").hexdigest()[:24]


def move_all(moves: Sequence[Move], *, now: datetime | None = None) -> list[SessionMgmtError | None]:
    """Apply moves in one transaction, with a fixed number of statements, and one more for each member that a client
    leaves.

    Return for each move the error that refused it, or ``None``. If a client moves several times in one topic, the last
    move counts.
    """
    using = settings().database
    statements = Statements(connections[using])
    with open_transaction(using):
        statements.limit_lock_wait(LOCK_MILLISECONDS)
        now = now or clock.read(using)
        return _Moving(statements, now).run(moves)


class _Moving:
    """Moves of one transaction."""

    def __init__(self, statements: Statements, now: datetime) -> None:
        self._sql, self._now = statements, now

    def run(self, moves: Sequence[Move]) -> list[SessionMgmtError | None]:
        fenced = self._find_fenced(moves)
        last = {(move.attached.client, move.topic): move for move in moves if move.attached not in fenced}
        streams = self._find_streams(last.values())
        # The current member of each client, by client and stream.
        known = self._find_attendances({(c, streams[topic]) for c, topic in last if topic in streams})
        over = self._find_over([key for key, move in last.items() if move.member is not None], streams, known)
        entering = [move for key, move in last.items() if move.member is not None and key not in over]
        members = self._put_members(entering, streams)
        left: set[tuple[int, int]] = set()
        changed: set[int] = set()
        rows = []
        for move in last.values():
            if move.topic not in streams or (move.attached.client, move.topic) in over:
                continue
            place = move.attached.client, streams[move.topic]
            before = known.get(place)
            member = None if move.member is None else members[streams[move.topic], move.member]
            if before is not None and before != member:
                left.add(place)
                changed.add(before)
            if member is not None and before != member:
                rows.append((*place, member))
                changed.add(member)
        self._delete_attendances(left)
        self._sql.insert(ATTENDANCE, {**_ATTENDANCE_KEY, "member_id": "bigint"}, rows)
        mark_waiting(self._sql, changed)
        return [self._explain(move, fenced, over) for move in moves]

    @staticmethod
    def _explain(move: Move, fenced: set[Attached], over: set[tuple[int, str]]) -> SessionMgmtError | None:
        if move.attached in fenced:
            return Replaced()
        is_over = move.member is not None and (move.attached.client, move.topic) in over
        return SubscriptionLimit(limit=settings().max_subscriptions) if is_over else None

    def _find_fenced(self, moves: Iterable[Move]) -> set[Attached]:
        """Return the attachments that are no longer current. The rows of the clients stay locked, so that the other
        attachments remain current.
        """
        asked = {move.attached for move in moves}
        clients = {attached.client for attached in asked}
        rows: dict[int, int] = dict(self._sql.select_locked("id, generation", CLIENT, clients, wait=True))
        return {attached for attached in asked if rows.get(attached.client) != attached.generation}

    def _find_streams(self, moves: Iterable[Move]) -> dict[str, int]:
        """Return the ids of the streams by topic. Create a missing stream only if somebody enters its topic."""
        listed = list(moves)
        found = self._load_streams({move.topic for move in listed})
        missing = {move.topic for move in listed if move.member is not None} - found.keys()
        if missing:
            ensure_streams(self._sql, [PRESENCE + topic for topic in missing], at=self._now)
            found |= self._load_streams(missing)
        return found

    def _load_streams(self, topics: Iterable[str]) -> dict[str, int]:
        rows = self._sql.select_rows("topic, id", STREAM, [PRESENCE + topic for topic in topics], key="topic")
        return {topic.removeprefix(PRESENCE): stream for topic, stream in rows}

    def _find_attendances(self, places: set[tuple[int, int]]) -> dict[tuple[int, int], int]:
        columns = "t.client_id, t.stream_id, t.member_id"
        rows = self._sql.select_pairs(columns, ATTENDANCE, _ATTENDANCE_KEY, places)
        return {(client, stream): member for client, stream, member in rows}

    def _find_over(
        self, wanted: Iterable[tuple[int, str]], streams: dict[str, int], known: dict[tuple[int, int], int]
    ) -> set[tuple[int, str]]:
        """Return the entries that exceed the limit of topics that one client may enter."""
        fresh = [(client, topic) for client, topic in wanted if (client, streams[topic]) not in known]
        if not fresh:
            return set()
        among, params = self._sql.among("client_id", sorted({client for client, _ in fresh}))
        counted = f"SELECT client_id, COUNT(*) FROM {ATTENDANCE} WHERE {among} GROUP BY client_id"
        counts: Counter[int] = Counter(dict(self._sql.fetch(counted, params)))
        over = set()
        for client, topic in fresh:
            counts[client] += 1
            if counts[client] > settings().max_subscriptions:
                over.add((client, topic))
        return over

    def _put_members(self, moves: Iterable[Move], streams: dict[str, int]) -> dict[tuple[int, str], int]:
        """Insert the members or update their data, and return their ids. If two tabs are the same member, the last data
        counts.
        """
        wanted = {(streams[move.topic], str(move.member)): move.data for move in moves}
        known = self._load_members(wanted)
        missing = sorted(wanted.keys() - known.keys())
        if missing:
            at, rows = self._sql.moment(self._now), ", ".join(["(%s, %s, %s, %s, %s)"] * len(missing))
            # Two processes may insert the same members. Only one insert succeeds, and both lock the same row.
            self._sql.run(
                f"INSERT INTO {MEMBER} (stream_id, member, data, waiting, since) VALUES {rows} ON CONFLICT DO NOTHING",
                [value for key in missing for value in (*key, wanted[key], True, at)],
            )
            known |= self._load_members(missing)
        changed = [(known[key][0], data, True) for key, data in wanted.items() if known[key][1] != data]
        self._sql.update(MEMBER, {"id": "bigint", "data": "bytea", "waiting": "boolean"}, changed)
        return {key: row for key, (row, _) in known.items()}

    def _load_members(self, keys: Iterable[tuple[int, str]]) -> dict[tuple[int, str], tuple[int, bytes]]:
        # Locked, because ``telling.py`` deletes a member that no client attends.
        columns = "t.stream_id, t.member, t.id, t.data"
        rows = self._sql.lock_pairs(columns, MEMBER, _MEMBER_KEY, keys, wait=True)
        return {(stream, member): (row, bytes(data)) for stream, member, row, data in rows}

    def _delete_attendances(self, places: set[tuple[int, int]]) -> None:
        for client, stream in sorted(places):
            self._sql.run(f"DELETE FROM {ATTENDANCE} WHERE client_id = %s AND stream_id = %s", [client, stream])


def mark_waiting(statements: Statements, members: Iterable[int]) -> None:
    """Mark these members as changed, so that the next entries of their logs include them."""
    ordered = sorted(members)
    statements.select_locked("id", MEMBER, ordered, wait=True)
    statements.update(MEMBER, {"id": "bigint", "waiting": "boolean"}, [(member, True) for member in ordered])


def read_members(topic: str) -> Members:
    """Read the members of a topic, as its log has published them. Each statement sees one moment. Permissions are not
    checked.

    Raises ``InvalidField`` for a topic without presence.
    """
    found = registry.find_presence(topic)
    if found is None:
        raise InvalidField("This topic has no presence: declare it with presence=True.", field="topic")
    statements, name = Statements(connections[settings().database]), PRESENCE + topic
    most = found[0].members_shown
    rows = statements.fetch(
        f"SELECT s.epoch, s.head, s.head_tag, m.member, m.told, {statements.as_utc('m.since')} FROM {STREAM} s"
        f" LEFT JOIN {MEMBER} m ON m.stream_id = s.id AND m.told IS NOT NULL WHERE s.topic = %s LIMIT %s",
        [name, most + 1],
    )
    if not rows:
        return Members(Position(derive_epoch(name), 0, ""), 0, {})
    if len(rows) > most:
        return _count_members(statements, name)
    members = {
        member: {"data": orjson.loads(bytes(data)), "since": clock.as_text(statements.as_moment(since))}
        for *_, member, data, since in rows
        if member is not None
    }
    return Members(Position(*rows[0][:3]), len(members), members)


def _count_members(statements: Statements, name: str) -> Members:
    counted = f"SELECT COUNT(*) FROM {MEMBER} m WHERE m.stream_id = s.id AND m.told IS NOT NULL"
    rows = statements.fetch(
        f"SELECT s.epoch, s.head, s.head_tag, ({counted}) FROM {STREAM} s WHERE s.topic = %s", [name]
    )
    # No row: the stream was deleted in the meantime.
    epoch, head, tag, count = rows[0] if rows else (derive_epoch(name), 0, "", 0)
    return Members(Position(epoch, head, tag), count, None)
