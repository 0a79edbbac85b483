"""Write a session's own log: each event or message is written in the same transaction as its effect."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

import orjson

from session_mgmt.actions import ends
from session_mgmt.actions.access import Proof
from session_mgmt.actions.notify import EmittedEvent
from session_mgmt.actions.outcome import Appended, Outcome, accept_write, refuse_write
from session_mgmt.actions.webhooks.recording import Recorded, put_deliveries
from session_mgmt.exceptions import InvalidToken, SessionMgmtError, SessionNotFound
from session_mgmt.models import ClientSession
from session_mgmt.models.clock import as_text
from session_mgmt.models.deadlines import render_over
from session_mgmt.models.identifiers import new_tag
from session_mgmt.models.sql import Statements
from session_mgmt.models.tables import ACTIVITY, EVENT
from session_mgmt.protocol.events import MESSAGE
from session_mgmt.protocol.logs import Entry, timeline_key
from session_mgmt.protocol.position import Position
from session_mgmt.protocol.recovery import Window
from session_mgmt.registry import registry

_EVENT_COLUMNS = {
    "session_id": "uuid",
    "seq": "bigint",
    "tag": "text",
    "type": "text",
    "data": "bytea",
    "key": "text",
    "pending": "boolean",
    "at": "timestamptz",
}


# Larger entries are not read for a whole group at once.
SMALL_BYTES = 1024
# Tag, type, data (``None`` if it is large), and the moment as it is stored (``None`` for an entry of this group).
_Placed: TypeAlias = tuple[str, str, bytes | None, Any]


class Record(NamedTuple):
    """Entry to write; ``data`` is compact JSON, and an entry with a known ``key`` is not written again."""

    session: uuid.UUID
    type: str
    data: bytes
    key: str | None = None


def make_record(session: uuid.UUID, type_: str, data: Any = None) -> Record:
    """Return a ``Record`` with data that can be encoded as JSON; ``None`` stands for ``{}``."""
    return Record(session, type_, orjson.dumps({} if data is None else data))


@dataclass(slots=True)
class _Timeline:
    live: bool
    due: bool
    epoch: str
    seq: int
    tag: str
    moved: bool = False


class TimelineLedger:
    """Session logs of one group of writes."""

    def __init__(self, statements: Statements) -> None:
        self._sql = statements
        self._timelines: dict[uuid.UUID, _Timeline] = {}
        self._known: dict[tuple[uuid.UUID, str], Position] = {}
        self._rows: list[tuple[Record, int, str]] = []
        self._states: dict[uuid.UUID, tuple[str, str]] = {}
        self._locked: set[uuid.UUID] = set()
        self._auth_versions: dict[uuid.UUID, int] = {}
        self._placed: dict[tuple[uuid.UUID, int], _Placed] = {}

    def load(self, items: Iterable[Record | uuid.UUID], *, at: datetime, wait: bool) -> None:
        """Lock the activity rows of these sessions, which number their entries, and read whether each session
        is live.
        """
        listed = list(items)
        wanted = {_session_of(item) for item in listed}
        stored = {self._sql.uuid(session) for session in wanted}
        over, moments = render_over(self._sql, at)
        rows = self._sql.select_locked(
            f"session_id, live, {over}, epoch, event_seq, event_tag",
            ACTIVITY,
            stored,
            key="session_id",
            wait=wait,
            given=moments,
        )
        self._timelines = {self._sql.as_uuid(row[0]): _Timeline(bool(row[1]), bool(row[2]), *row[3:]) for row in rows}
        # One more query, only if a session has ended: it shows whether the deadline or somebody ended it.
        self._states = self._read_states([session for session, line in self._timelines.items() if not line.live])
        # A row that the lock has skipped and that still exists is locked by another transaction.
        self._locked = set() if wait else self._find_existing(wanted - self._timelines.keys())
        # Under the locks, so that the second of two entries with the same key finds the first.
        self._find_keys(item for item in listed if isinstance(item, Record))

    def has_locked(self) -> bool:
        return bool(self._locked)

    def is_locked(self, item: Record | uuid.UUID) -> bool:
        return _session_of(item) in self._locked

    def find_end(self, session: uuid.UUID) -> SessionMgmtError | None:
        """Return the error that says how the session ended, or ``None`` if it is live. A passed deadline is an end."""
        timeline = self._timelines.get(session)
        if timeline is None:
            return SessionNotFound()
        if timeline.live:
            return ends.explain_state(ClientSession.State.EXPIRED, ends.TIMEOUT) if timeline.due else None
        return ends.explain_state(*self._states.get(session, (ClientSession.State.TERMINATED, "")))

    def find_refusal(self, session: uuid.UUID, proof: Proof | None) -> SessionMgmtError | None:
        """Return the error that says how the session ended, or that the token that permitted a write is no longer
        valid.

        If ``proof`` is given, ``load_auth_versions`` must have read its session.
        """
        ended = self.find_end(session)
        if ended is not None or proof is None or proof.auth_version == self._auth_versions.get(session):
            return ended
        return InvalidToken()

    def decide(self, entry: Record) -> Outcome:
        """Number the entry. Messages are accepted by live sessions only; events may also report the end of a
        session.
        """
        timeline = self._timelines.get(entry.session)
        if timeline is None:
            return refuse_write(SessionNotFound())
        # Events are facts that have happened, such as the end itself; only messages require a live session.
        ended = self.find_end(entry.session) if entry.type == MESSAGE else None
        if ended is not None:
            return refuse_write(ended)
        known = self._known.get((entry.session, entry.key)) if entry.key else None
        if known is not None:
            return accept_write(known, log=timeline_key(entry.session))
        timeline.seq += 1
        timeline.tag, timeline.moved = new_tag(), True
        self._rows.append((entry, timeline.seq, timeline.tag))
        # A client that resumes in this group may be at the position of an entry that the group itself has written.
        self._placed[entry.session, timeline.seq] = timeline.tag, entry.type, entry.data, None
        position = Position(timeline.epoch, timeline.seq, timeline.tag)
        if entry.key:
            # A second entry with this key in the same group must find the first, which is in no table yet.
            self._known[entry.session, entry.key] = position
        return accept_write(position, log=timeline_key(entry.session))

    def write(self, at: datetime) -> None:
        moment = self._sql.moment(at)
        self._sql.insert(
            EVENT,
            _EVENT_COLUMNS,
            [
                # Decided when the event is written: a handler that is declared later does not get old events.
                (self._sql.uuid(e.session), seq, tag, e.type, e.data, e.key, registry.is_durable(e.type), moment)
                for e, seq, tag in self._rows
            ],
        )
        self._sql.update(
            ACTIVITY,
            {"session_id": "uuid", "event_seq": "bigint", "event_tag": "text"},
            [(self._sql.uuid(key), line.seq, line.tag) for key, line in self._timelines.items() if line.moved],
        )
        put_deliveries(self._sql, (Recorded(e.session, e.type, e.data, seq) for e, seq, _ in self._rows), at)

    def list_appended(self, at: datetime) -> dict[str, Appended]:
        """Return the written entries by log key."""
        logs: dict[str, Appended] = {}
        for entry, seq, tag in self._rows:
            epoch = self._timelines[entry.session].epoch
            log = logs.setdefault(timeline_key(entry.session), Appended(epoch, []))
            log.entries.append(Entry(seq, tag, encode_body(entry.type, entry.data, at)))
        return logs

    def find_window(self, session: uuid.UUID, *, oldest: int, asked: int | None) -> Window:
        """Return the window of a session's log, including the entries that were numbered so far.

        ``oldest`` is its first entry. The tag at the offset ``asked`` is known only if ``load_places`` has read that
        place or if the group has written it.
        """
        timeline = self._timelines[session]
        placed = None if asked is None else self._placed.get((session, asked))
        tag = None if placed is None else placed[0]
        return Window(Position(timeline.epoch, timeline.seq, timeline.tag), oldest, tag)

    def load_auth_versions(self, sessions: set[uuid.UUID]) -> None:
        """Read the current ``auth_version`` of sessions, under their locks, which are also needed to make tokens
        invalid.
        """
        if not sessions:
            return
        rows = ClientSession.objects.using(self._sql.connection.alias).filter(pk__in=sessions)
        self._auth_versions = dict(rows.values_list("pk", "auth_version"))

    def load_places(self, places: Iterable[tuple[uuid.UUID, int]], most: int) -> None:
        """Read the entries at offsets that clients name, and up to ``most`` entries after each."""
        wanted = {
            (self._sql.uuid(session), seq)
            for session, seq in places
            if session in self._timelines and 0 <= seq <= self._timelines[session].seq
        }
        # Large entries would be megabytes for a group. A client that missed one reads it separately.
        data = f"CASE WHEN LENGTH(e.data) <= {SMALL_BYTES} THEN e.data END"
        rows = self._sql.select_placed(
            f"SELECT e.session_id, e.seq, e.tag, e.type, {data}, {self._sql.plain(self._sql.as_utc('e.at'))}"
            f" FROM wanted CROSS JOIN {EVENT} e WHERE e.session_id = wanted.log"
            f" AND e.seq BETWEEN wanted.after AND wanted.after + {int(most)}",
            sorted(wanted),
            kind="uuid",
        )
        self._placed.update({(self._sql.as_uuid(row[0]), row[1]): row[2:] for row in rows})

    def list_missed(self, session: uuid.UUID, after: int, most: int, now: datetime) -> list[Entry]:
        """Return the entries after an offset that ``load_places`` has read, and those of this group, up to the first
        one that is not available.
        """
        found: list[Entry] = []
        while len(found) < most and (placed := self._placed.get((session, after + len(found) + 1))) is not None:
            tag, type_, data, at = placed
            if data is None:
                break
            body = encode_body(type_, bytes(data), now if at is None else self._sql.as_moment(at))
            found.append(Entry(after + len(found) + 1, tag, body))
        return found

    def list_heads(self) -> dict[str, int]:
        """Return the new head of each log, for doorbells."""
        return {timeline_key(entry.session): seq for entry, seq, _ in self._rows}

    def list_events(self) -> list[EmittedEvent]:
        """Return each written entry in the form for signals and handlers after the commit."""
        return [EmittedEvent(entry.session, entry.type, orjson.loads(entry.data), seq) for entry, seq, _ in self._rows]

    def _find_existing(self, sessions: set[uuid.UUID]) -> set[uuid.UUID]:
        keys = [self._sql.uuid(session) for session in sessions]
        rows = self._sql.select_rows("session_id", ACTIVITY, keys, key="session_id")
        return {self._sql.as_uuid(row[0]) for row in rows}

    def _read_states(self, ended: list[uuid.UUID]) -> dict[uuid.UUID, tuple[str, str]]:
        if not ended:
            return {}
        rows = ClientSession.objects.using(self._sql.connection.alias).filter(pk__in=ended)
        return {key: (state, reason) for key, state, reason in rows.values_list("pk", "state", "end_reason")}

    def _find_keys(self, entries: Iterable[Record]) -> None:
        """Find the keys that were used before, with one query."""
        keyed = [entry for entry in entries if entry.key and entry.session in self._timelines]
        wanted = {(self._sql.uuid(entry.session), entry.key) for entry in keyed}
        columns = {"session_id": "uuid", "key": "text"}
        rows = self._sql.select_pairs('session_id, "key", seq, tag', EVENT, columns, wanted)
        for stored, key, seq, tag in rows:
            session = self._sql.as_uuid(stored)
            self._known[session, key] = Position(self._timelines[session].epoch, seq, tag)


def encode_body(type_: str, data: bytes, at: datetime) -> bytes:
    """Return an entry's JSON as it is sent to clients; ``data`` is compact JSON already."""
    return b'{"type":"%s","data":%s,"at":"%s"}' % (type_.encode(), data, as_text(at).encode())


def _session_of(item: Record | uuid.UUID) -> uuid.UUID:
    return item.session if isinstance(item, Record) else item
