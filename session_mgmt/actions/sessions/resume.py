"""Connect clients, many in one transaction: prove their sessions, take over the clients, and give a verdict on each
log.

The number of statements is fixed for any size of the group. Everything is read first, then each member is judged
separately, then everything is written, so a refused member leaves no trace. Rows that others have locked are skipped,
and their members are returned as held.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connections

from session_mgmt.actions.sessions import looking, opening, proving, receipts, tokens
from session_mgmt.actions.sessions.attachments import HELD, Ask, AttachedGroup, Attachment, Result
from session_mgmt.actions.sessions.connections import LOST, TAKEN_OVER, WEBSOCKET
from session_mgmt.actions.sessions.looking import Log, LogWish, Looked
from session_mgmt.actions.sessions.opening import ClientRow, Opened
from session_mgmt.actions.sessions.proving import LiveSession, StoredToken
from session_mgmt.actions.timeline.ledger import Record, TimelineLedger, make_record
from session_mgmt.conf import settings
from session_mgmt.exceptions import ClientForgotten, LoginCheck, ScopeMissing, SessionMgmtError
from session_mgmt.models import clock
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Statements
from session_mgmt.models.tables import SESSION as SESSION_TABLE
from session_mgmt.protocol import events as names
from session_mgmt.protocol.frames import ANYBODY
from session_mgmt.protocol.logs import SESSION, STATE, Entry
from session_mgmt.protocol.recovery import Mode
from session_mgmt.protocol.scopes import Restriction

SLOW_LOCK_MILLISECONDS = 5000
# Most entries of a session's own log that are read together for all members of a group.
MOST_MISSED = 16


def attach_group(asks: Sequence[Ask], *, wait: bool = False, now: datetime | None = None) -> AttachedGroup:
    """Connect clients in one transaction: each is attached, refused by a ``SessionMgmtError``, or held.

    A client must occur only once in a group. With ``wait``, locked rows are waited for. The refusals are
    ``InvalidToken``, ``TokenExpired``, ``LoginCheck``, ``SessionEnded``, ``ClientForgotten`` and ``ConnectionLimit``.
    If this function raises an error, even if it is unknown whether the commit succeeded, the group may be run again.
    """
    using = settings().database
    # One count for the group, because its statements serve all members together.
    counter = _Counter()
    with connections[using].execute_wrapper(counter), open_transaction(using):
        statements = Statements(connections[using])
        # Only the slow attempt waits, and not forever, because other clients need its thread and connection.
        if wait:
            statements.limit_lock_wait(SLOW_LOCK_MILLISECONDS)
        run = _Run(statements, asks, now or clock.read(using))
        # Sessions before clients before documents before streams, which is the order of locks everywhere.
        run.prove(wait=wait)
        run.judge(wait=wait)
        run.look()
        run.write(using)
    return run.make_group(counter.count)


class _Counter:
    """Counter of the statements of a recovery, which are a part of its receipt."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        self.count += 1
        return execute(sql, params, many, context)


@dataclass(slots=True)
class _Member:
    """One request during the transaction; ``result`` is set as soon as it has an answer."""

    ask: Ask
    result: Result | None = None
    session: LiveSession | None = None
    oldest_event: int = 1
    proof: StoredToken | None = None
    mark: bytes = b""
    unbound: bytes | None = None
    restriction: Restriction | None = None
    client: ClientRow | None = None
    is_new: bool = False
    went_back: bool = False
    looked: Looked | None = None

    @property
    def name(self) -> opening.Name:
        assert self.session is not None
        return self.session.pk, self.ask.client_id


class _Run:
    """Rows of one transaction."""

    def __init__(self, statements: Statements, asks: Sequence[Ask], now: datetime) -> None:
        self._sql, self._now = statements, now
        self._members = [_Member(ask) for ask in asks]
        self._timelines = TimelineLedger(statements)
        self._surplus: list[int] = []
        self._replaced: list[tuple[int, int]] = []

    @property
    def _open_members(self) -> list[_Member]:
        return [member for member in self._members if member.result is None]

    # -- reads and locks -------------------------------------------------------------------------------------------

    def prove(self, *, wait: bool) -> None:
        """Find the sessions of the tokens, and lock their rows against expiry."""
        digests = [tokens.hash_token(member.ask.connect.token) for member in self._members]
        proofs = proving.find_proofs(self._sql, digests)
        sessions = {proof.session for proof in proofs.values()}
        self._timelines.load(sessions, at=self._now, wait=wait)
        # Only now, because under the locks these are the last committed values, and cannot change.
        standings = proving.load_standings(self._sql, sessions)
        for member, digest in zip(self._members, digests, strict=True):
            proof = proofs.get(digest)
            if proof is not None and self._timelines.is_locked(proof.session):
                member.result = HELD
                continue
            standing = standings.get(proof.session) if proof is not None else None
            member.result = proving.judge_proof(member.ask.connect.token, proof, standing, self._now)
            if standing is not None and proof is not None:
                member.session, member.oldest_event = standing.session, standing.oldest_event
                member.restriction = proving.find_restriction(proof, standing)
                member.proof, member.mark, member.unbound = proof, standing.mark, standing.unbound
            if member.result is None and standing is not None:
                member.result = _judge_user(member.ask.connect.user, standing.session.user_id)

    def judge(self, *, wait: bool) -> None:
        """Lock the clients, and accept each member or refuse it because of a limit."""
        going_on = self._open_members
        clients, held = opening.lock_clients(self._sql, [member.name for member in going_on], wait=wait)
        for member in going_on:
            self._find_client(member, clients.get(member.name), is_held=member.name in held)
        self._apply_limits(wait=wait)

    def _find_client(self, member: _Member, known: ClientRow | None, *, is_held: bool) -> None:
        connect = member.ask.connect
        member.is_new = connect.client_id is None
        if known is None and is_held:
            member.result = HELD
        # The client was deleted to make room for others, so its numbers and receipts are gone.
        elif known is None and not member.is_new:
            member.result = ClientForgotten()
        elif known is None:
            member.client = ClientRow(*member.name, agent=connect.agent)
        else:
            member.client = known

    def _apply_limits(self, *, wait: bool) -> None:
        going_on = self._open_members
        sessions = {member.name[0] for member in going_on}
        users = {user for m in going_on if m.session is not None and (user := m.session.user_id) is not None}
        room = opening.Room(self._sql, sessions, users, now=self._now)
        known = [member.client.id for member in going_on if member.client is not None and member.client.id is not None]
        # Count all members before accepting any, so that all clients that may be deleted are locked together.
        fresh = Counter(m.name[0] for m in going_on if m.client is not None and m.client.id is None)
        room.load_clients(fresh, known, wait=wait)
        # In the order of the requests, so that of two members for one place the earlier one gets it.
        for member in going_on:
            assert member.session is not None and member.client is not None
            if member.client.id is None and room.is_held(member.session.pk):
                member.result = HELD
            else:
                member.result = room.admit(
                    member.session.pk, member.session.user_id, member.client, connects=member.ask.connects
                )
        self._surplus = room.surplus

    def look(self) -> None:
        """Give verdicts on the logs of all members that were accepted. From here on no member is refused."""
        going_on = self._open_members
        wishes = [
            LogWish(member.name[0], c.logs, member.ask.granted, member.restriction, None, c.slow, c.since, c.filters)
            for member in going_on
            for c in (member.ask.connect,)
        ]
        if not wishes:
            return
        for member, looked in zip(going_on, looking.look_at_logs(self._sql, wishes, self._now), strict=True):
            member.looked = looked
            # A missing scope is a more exact reason than the denial of the application.
            unscoped = {log: error for log, error in looked.denied.items() if isinstance(error, ScopeMissing)}
            looked.denied.update({**member.ask.denied, **unscoped})
        # All clients that come back have missed at least the entries about their own connection. Reading them
        # separately for each client would cost a switch to another thread and a task.
        self._timelines.load_places(
            ((m.name[0], m.looked.place.offset) for m in going_on if m.looked and m.looked.place), MOST_MISSED
        )

    # -- writes ----------------------------------------------------------------------------------------------------

    def write(self, using: str) -> None:
        """Write clients, connections and events, and make the answers."""
        going_on = self._open_members
        # First, because new clients take the places of these.
        opening.delete_clients(using, self._surplus)
        returning = [m.client.id for m in going_on if m.client is not None and m.client.id is not None]
        # Before the new connections are stored, which would be closed too.
        lost = opening.close_older(self._sql, returning, self._now)
        for member in going_on:
            assert member.client is not None
            self._take_over(member, member.client, older=lost.get(member.client.id or 0))
        clients = [member.client for member in going_on if member.client is not None]
        # Before the connections, which need the ids that new clients get here.
        opening.store_clients(self._sql, clients, self._now)
        opened = [self._make_opened(m, m.client) for m in going_on if m.client is not None and m.ask.connects]
        connected = opening.open_connections(self._sql, opened, self._now)
        for member in going_on:
            member.result = self._make_attachment(member, connected)
        self._bind(going_on)
        self._timelines.write(self._now)

    def _bind(self, members: Sequence[_Member]) -> None:
        """Bind sessions from before there were fingerprints to their users' credentials."""
        rows = {self._sql.uuid(member.name[0]): member.unbound for member in members if member.unbound is not None}
        columns = {"id": "uuid", "auth_fingerprint": "bytea"}
        self._sql.update(SESSION_TABLE, columns, sorted(rows.items()))

    def _make_opened(self, member: _Member, client: ClientRow) -> Opened:
        if member.ask.transport == WEBSOCKET or member.is_new or member.looked is None:
            return Opened(client, member.ask.transport, member.ask.server)
        logs, generation = member.looked.logs, client.generation
        draft = receipts.draft_receipt(logs, went_back=member.went_back, generation=generation, at=self._now)
        return Opened(client, member.ask.transport, member.ask.server, *draft)

    def _take_over(self, member: _Member, client: ClientRow, *, older: str | None) -> None:
        """Raise the client's generation, and number the events of its connection. ``older`` is the transport of the
        connection that this one replaces, or ``None``.
        """
        if client.id is not None:
            client.generation += 1
            # A process that still serves the older connection is notified, and closes it.
            self._replaced.append((client.id, client.generation))
        acked = member.ask.connect.acked
        if not member.is_new and acked > client.last_seq:
            # The database was restored: the numbers that it lost were decided, and must not be used again.
            member.went_back, client.last_seq = True, acked
        if member.ask.connects:
            self._record_events(member, client, older)
        # Last, so that these events belong to the entries that the client missed; as live entries they would be read
        # once more.
        self._look_at_timeline(member, client)

    def _record_events(self, member: _Member, client: ClientRow, older: str | None) -> None:
        is_switch = older is not None and older != member.ask.transport
        # A change of transport is no loss, because the client has chosen it.
        if older is not None and not is_switch:
            self._record(make_record(client.session, names.CONNECTION_LOST, {"code": LOST, "by": TAKEN_OVER}))
        # After `connection_lost`, so that readers of the log see the end of one connection before the beginning of the
        # next.
        event = names.CONNECTION_ESTABLISHED if member.is_new else names.CONNECTION_RESTORED
        data: dict[str, Any] = {"client_id": client.name, "generation": client.generation}
        if is_switch:
            data["switched"] = f"{older}>{member.ask.transport}"
        self._record(make_record(client.session, event, data))
        synchronised = None if member.is_new else _make_synchronised(member, client)
        if synchronised is not None:
            self._record(synchronised)

    def _record(self, entry: Record) -> None:
        self._timelines.decide(entry)

    def _look_at_timeline(self, member: _Member, client: ClientRow) -> None:
        logs = member.ask.connect.logs
        if member.looked is None or SESSION not in logs or SESSION in member.looked.denied:
            return
        asked = member.looked.place
        window = self._timelines.find_window(
            client.session, oldest=member.oldest_event, asked=looking.read_offset(asked)
        )
        member.looked.logs[SESSION] = looking.make_timeline_log(client.session, window, asked, logs[SESSION])

    def _make_attachment(self, member: _Member, connected: dict[int, int]) -> Attachment:
        session, client, looked, proof = member.session, member.client, member.looked, member.proof
        assert session is not None and client is not None and client.id is not None and looked is not None
        assert proof is not None
        asked = member.ask.asked_version
        if asked is not None and asked != session.access_version:
            session = session._replace(access_version=asked)
        return Attachment(
            session=session,
            client=client.id,
            client_id=client.name,
            generation=client.generation,
            connection=connected.get(client.id, 0),
            last_seq=client.last_seq,
            went_back=member.went_back,
            is_new=member.is_new,
            logs=looked.logs,
            denied=looked.denied,
            at=self._now,
            auth_version=proof.auth_version,
            mark=member.mark,
            token_expires_at=proof.expires_at,
            restriction=member.restriction,
            subscriptions=looked.subscribed,
            missed=self._list_missed(client.session, looked.logs.get(SESSION)),
        )

    def _list_missed(self, session: uuid.UUID, log: Log | None) -> list[Entry]:
        """Return the entries of the session's own log that a client has missed; empty if there are too many to read
        here.
        """
        if log is None or log.asked is None or log.verdict.mode is not Mode.ENTRIES:
            return []
        if log.head.offset - log.asked.offset > MOST_MISSED:
            return []
        return self._timelines.list_missed(session, log.asked.offset, MOST_MISSED, self._now)

    def make_group(self, queries: int) -> AttachedGroup:
        """Return the result of the group; each member has its answer."""
        results = [member.result for member in self._members if member.result is not None]
        for result in results:
            if isinstance(result, Attachment):
                result.queries = queries
        return AttachedGroup(
            results=results,
            heads=self._timelines.list_heads(),
            events=self._timelines.list_events(),
            replaced=self._replaced,
        )


def _judge_user(expected: str | None, user_id: Any) -> SessionMgmtError | None:
    """Return the refusal of a page that was made for another user than the session's, or ``None``."""
    here = None if user_id is None else str(user_id)
    return None if expected in (here, ANYBODY) else LoginCheck("The session is not that of the expected user.")


def _make_synchronised(member: _Member, client: ClientRow) -> Record | None:
    """Return the event of a resume that brings documents up to date, or ``None`` if they are up to date."""
    assert member.looked is not None
    moved = {
        log.name.removeprefix(STATE): [log.asked.offset if log.asked else None, log.head.offset]
        for log in member.looked.logs.values()
        if log.name.startswith(STATE) and log.verdict.mode is not Mode.UP_TO_DATE
    }
    if not moved:
        return None
    data = {"client_id": client.name, "documents": moved}
    return make_record(client.session, names.STATE_SYNCHRONIZED, data)
