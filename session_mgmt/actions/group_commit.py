"""One transaction for all writes that wait: load, decide, write, commit.

Locks are taken in one order everywhere: sequencer, session, client, document, stream, each sorted by key, before
anything is updated. Rows that others hold are skipped and their writes reported as locked, so that one such row does
not hold up the rest.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeAlias

import orjson
from django.db import connections

from session_mgmt.actions import checking, outbox
from session_mgmt.actions.clients import ClientLedger, Fence
from session_mgmt.actions.ledgers import Ledger
from session_mgmt.actions.notify import EmittedEvent
from session_mgmt.actions.outbox import OutboxEntry
from session_mgmt.actions.outcome import Appended, Outcome, refuse_write
from session_mgmt.actions.state import bodies, prepare
from session_mgmt.actions.state.ledger import DocumentLedger
from session_mgmt.actions.state.new_revisions import Changed
from session_mgmt.actions.state.updates import Prepare, Terms, Update
from session_mgmt.actions.timeline.ledger import Record, TimelineLedger
from session_mgmt.actions.topics.ledger import Publication, StreamLedger
from session_mgmt.conf import settings
from session_mgmt.documents import size
from session_mgmt.exceptions import SeqGap, SessionMgmtError, StateUnreadable
from session_mgmt.models import clock
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Statements

logger = logging.getLogger(__name__)

Work: TypeAlias = Update | Publication | Record | SessionMgmtError
# A ledger that a write needs, and the item that it is asked for.
Need: TypeAlias = tuple[Ledger[Any], Any]
SLOW_LOCK_MILLISECONDS = 5000
DRAIN_LIMIT = 500


@dataclass(frozen=True, slots=True)
class Write:
    """One write of a group. An exception as ``work`` is a refusal decided outside; it still uses up its number."""

    work: Work
    fence: Fence | None = None


@dataclass(frozen=True, slots=True)
class Locked:
    """No decision yet: somebody else holds a row that the write needs."""


LOCKED = Locked()
Decision: TypeAlias = Outcome | Prepare | Locked


@dataclass(slots=True)
class Group:
    """Result of one transaction: a decision for each write, and the news to pass on after commit."""

    decisions: list[Decision] = field(default_factory=list)
    appended: dict[str, Appended] = field(default_factory=dict)
    changed: list[Changed] = field(default_factory=list)
    events: list[EmittedEvent] = field(default_factory=list)
    lagging: list[int] = field(default_factory=list)
    drained: int = 0
    committing: bool = False


def write_group(using: str, writes: Sequence[Write], group: Group, *, wait: bool = False) -> None:
    """Write all of them, and the outbox, in one transaction; fills ``group``.

    ``group.committing`` tells, if this raises, whether COMMIT may already have been sent: only before it may the
    group be run again.
    """
    statements = Statements(connections[using])
    with open_transaction(using):
        if wait:
            statements.limit_lock_wait(SLOW_LOCK_MILLISECONDS)
        at = clock.read(using)
        entries = outbox.take_entries(statements, DRAIN_LIMIT)
        drained = [_write_of(using, entry, at) for entry in entries]
        run = _Run(statements, at, [*drained, *writes], wait=wait)
        run.decide_all()
        run.write_all()
        _settle_outbox(statements, entries, run.decisions)
        group.decisions = run.decisions[len(entries) :]
        run.fill_group(group)
        group.drained = len(entries)
        group.committing = True


def _write_of(using: str, entry: OutboxEntry, at: datetime) -> Write:
    """Turn an outbox entry into a write. An entry that cannot be one is refused, so that it blocks nobody."""
    try:
        return Write(_work_of(using, entry, at))
    except SessionMgmtError as error:
        return Write(error)
    except (AttributeError, KeyError, TypeError, ValueError):
        logger.exception("Outbox entry %d is damaged", entry.id)
        return Write(StateUnreadable())


def _work_of(using: str, entry: OutboxEntry, at: datetime) -> Work:
    payload = entry.read_payload()
    if entry.kind == "publish":
        return Publication(entry.target, orjson.dumps(payload), entry.key)
    session, _, name = entry.target.partition("/")
    if entry.kind == "record":
        return Record(uuid.UUID(session), name, orjson.dumps(payload), entry.key)
    document = bodies.ensure_document(using, uuid.UUID(session), name, most=settings().max_documents, at=at)
    absent = payload.get("if_absent", False)
    update = prepare.prepare_blind(document, payload["kind"], payload["change"], Terms(key=entry.key, if_absent=absent))
    # Nobody waits here who could look at the document first. A whole document needs no look: its size is its own.
    whole = size.measure_extent(payload["change"]) if payload["kind"] == "data" else None
    return replace(update, kind=payload.get("as", update.kind), exact_size=whole, may_be_idle=False)


def _settle_outbox(statements: Statements, entries: list[OutboxEntry], decisions: list[Decision]) -> None:
    done, bad = [], []
    for entry, decision in zip(entries, decisions, strict=False):
        if isinstance(decision, Outcome) and decision.error is None:
            done.append(entry.id)
        elif isinstance(decision, Outcome) and decision.error is not None and _is_final(decision):
            bad.append((entry.id, decision.error.name))
        elif isinstance(decision, Prepare):
            bad.append((entry.id, "document_too_large"))
    outbox.settle_entries(statements, done, bad)


def _is_final(decision: Outcome) -> bool:
    """Tell whether an entry is set aside.

    One that cannot be read is, until an operator has put the key back and clears its mark.
    """
    return decision.is_final or isinstance(decision.error, StateUnreadable)


class _Run:
    """Ledgers of one transaction."""

    def __init__(self, statements: Statements, at: datetime, writes: list[Write], *, wait: bool) -> None:
        self._at, self._writes = at, writes
        self.decisions: list[Decision] = []
        self._timelines = TimelineLedger(statements)
        self._clients = ClientLedger(statements)
        self._documents = DocumentLedger(statements, checking.document_limits().extent)
        self._streams = StreamLedger(statements)
        # In the order of locks.
        self._ledgers: tuple[Ledger[Any], ...] = (self._timelines, self._clients, self._documents, self._streams)
        self._delayed_clients: set[int] = set()
        self._unprepared: dict[int, int] = {}
        self._needs = [self._list_needs(write) for write in writes]
        for ledger in self._ledgers:
            items = [item for needs in self._needs for owner, item in needs if owner is ledger]
            ledger.load(items, at=at, wait=wait)

    def _list_needs(self, write: Write) -> list[Need]:
        """Return the ledgers that the write needs."""
        needs: list[Need] = [(self._clients, write.fence)] if write.fence else []
        match write.work:
            case Update(terms=Terms(session=session)) as update:
                needs.append((self._documents, update))
                if session is not None:
                    needs.append((self._timelines, session))
            case Publication() as publication:
                needs.append((self._streams, publication))
            case Record() as record:
                needs.append((self._timelines, record))
        return needs

    def decide_all(self) -> None:
        for write, needs in zip(self._writes, self._needs, strict=True):
            self.decisions.append(self._decide_write(write, needs))

    def _decide_write(self, write: Write, needs: list[Need]) -> Decision:
        fence = write.fence
        if self._is_locked(write, needs):
            if fence:
                self._delayed_clients.add(fence.client)
            return LOCKED
        if fence and fence.client in self._unprepared:
            return refuse_write(SeqGap(expected=self._unprepared[fence.client]))
        answer = self._clients.decide(fence) if fence else None
        if answer is not None:
            return answer
        decision = self._decide_work(write)
        if fence and isinstance(decision, Outcome):
            self._clients.keep_answer(fence, decision)
        elif fence:
            # Its number is still open, so later writes of the same client must not pass it.
            self._unprepared[fence.client] = fence.seq
        return decision

    def _decide_work(self, write: Write) -> Outcome | Prepare:
        match write.work:
            case Update() as update:
                session = update.terms.session
                ended = None if session is None else self._timelines.find_end(session)
                if ended is not None:
                    return refuse_write(ended)
                return self._documents.decide(update, write.fence)
            case Publication() as publication:
                return self._streams.decide(publication)
            case Record() as record:
                return self._timelines.decide(record)
            case error:
                return refuse_write(error)

    def _is_locked(self, write: Write, needs: list[Need]) -> bool:
        if write.fence and write.fence.client in self._delayed_clients:
            return True
        return any(ledger.is_locked(item) for ledger, item in needs)

    def write_all(self) -> None:
        for ledger in self._ledgers:
            ledger.write(self._at)

    def fill_group(self, group: Group) -> None:
        for ledger in self._ledgers:
            group.appended.update(ledger.list_appended(self._at))
        group.changed = self._documents.list_changes()
        group.events = self._timelines.list_events()
        group.lagging = self._documents.list_lagging()
