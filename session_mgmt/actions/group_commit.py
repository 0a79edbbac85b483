"""One transaction for all writes that wait: load, decide, write, commit.

Locks are taken in one order everywhere: sequencer, session, client, document, stream, each sorted by key, before
anything is updated. Rows held by others are skipped and their members reported as held, so that one held row does not
hold up the rest.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeAlias

import orjson
from django.db import connections, transaction

from session_mgmt.actions import outbox
from session_mgmt.actions.clients import ClientLedger, Fence
from session_mgmt.actions.outbox import Wish
from session_mgmt.actions.outcome import Appended, Outcome, refused
from session_mgmt.actions.state import bodies, prepare
from session_mgmt.actions.state.ledger import Changed, DocumentLedger
from session_mgmt.actions.state.updates import Prepare, Update
from session_mgmt.actions.timeline.events import Record, TimelineLedger
from session_mgmt.actions.topics.streams import Publication, StreamLedger
from session_mgmt.conf import settings
from session_mgmt.exceptions import SeqGap, SessionMgmtError, SessionTerminated, StateUnreadable
from session_mgmt.models import clock
from session_mgmt.models.sql import Statements

logger = logging.getLogger("session_mgmt.writing")

Work: TypeAlias = Update | Publication | Record | SessionMgmtError
SLOW_LOCK_MILLISECONDS = 5000
DRAIN_LIMIT = 500


@dataclass(frozen=True, slots=True)
class Member:
    """One write of a group. An exception as ``work`` is a refusal decided outside, which still uses up its number."""

    work: Work
    fence: Fence | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """Not decided: a row that the member needs is locked by somebody else."""


HELD = Held()
Decision: TypeAlias = Outcome | Prepare | Held


@dataclass(slots=True)
class Group:
    """What one transaction did: a decision for each member, and what to tell after commit."""

    decisions: list[Decision] = field(default_factory=list)
    appended: dict[str, Appended] = field(default_factory=dict)
    changed: list[Changed] = field(default_factory=list)
    facts: list[tuple[uuid.UUID, str, Any, int]] = field(default_factory=list)
    lagging: list[int] = field(default_factory=list)
    drained: int = 0
    committing: bool = False


def execute(using: str, members: Sequence[Member], group: Group, *, wait: bool = False) -> None:
    """Carry out all members, and what the outbox holds, in one transaction; fills ``group``.

    ``group.committing`` tells, if this raises, whether COMMIT may already have been sent: only before it may the
    group be run again.
    """
    statements = Statements(connections[using])
    with transaction.atomic(using=using):
        if wait:
            statements.limit_lock_wait(SLOW_LOCK_MILLISECONDS)
        at = clock.read(using)
        wishes = outbox.take(statements, DRAIN_LIMIT)
        drained = [_member_of(using, wish, at) for wish in wishes]
        run = _Run(statements, at, [*drained, *members], wait=wait)
        run.decide()
        run.write()
        _settle_wishes(statements, wishes, run.decisions)
        group.decisions = run.decisions[len(wishes) :]
        run.report(group)
        group.drained = len(wishes)
        group.committing = True


def _member_of(using: str, wish: Wish, at: datetime) -> Member:
    """A wish as a member. What cannot be one is refused, so that it blocks nobody."""
    try:
        return Member(_work_of(using, wish, at))
    except SessionMgmtError as error:
        return Member(error)
    except (AttributeError, KeyError, TypeError, ValueError):
        logger.exception("Wish %d is not what was written", wish.id)
        return Member(StateUnreadable())


def _work_of(using: str, wish: Wish, at: datetime) -> Work:
    payload = wish.payload()
    if wish.kind == "publish":
        return Publication(wish.target, orjson.dumps(payload), wish.key)
    session, _, name = wish.target.partition("/")
    if wish.kind == "record":
        return Record(uuid.UUID(session), name, orjson.dumps(payload), wish.key)
    document = bodies.ensure(using, uuid.UUID(session), name, most=settings().max_documents, at=at)
    absent = payload.get("if_absent", False)
    update = prepare.blind(document, payload["kind"], payload["change"], key=wish.key, if_absent=absent)
    return replace(update, kind=payload["as"]) if "as" in payload else update


def _settle_wishes(statements: Statements, wishes: list[Wish], decisions: list[Decision]) -> None:
    done, bad = [], []
    for wish, decision in zip(wishes, decisions, strict=False):
        if isinstance(decision, Outcome) and decision.error is None:
            done.append(wish.id)
        elif isinstance(decision, Outcome) and decision.error is not None and _is_final(decision):
            bad.append((wish.id, decision.error.name))
        elif isinstance(decision, Prepare):
            bad.append((wish.id, "document_too_large"))
    outbox.settle(statements, done, bad)


def _is_final(decision: Outcome) -> bool:
    """Whether a wish is set aside.

    One that cannot be read is, until an operator has put the key back and clears its mark.
    """
    return decision.decided or isinstance(decision.error, StateUnreadable)


class _Run:
    """The ledgers of one transaction."""

    def __init__(self, statements: Statements, at: datetime, members: list[Member], *, wait: bool) -> None:
        self._at, self._members, self._wait = at, members, wait
        self.decisions: list[Decision] = []
        self._clients = ClientLedger(statements)
        self._documents = DocumentLedger(statements, settings().max_document_bytes)
        self._streams = StreamLedger(statements)
        self._timelines = TimelineLedger(statements)
        self._waiting_clients: set[int] = set()
        self._unprepared: dict[int, int] = {}
        self._load()

    def _load(self) -> None:
        records = [m.work for m in self._members if isinstance(m.work, Record)]
        guarded = {m.work.session for m in self._members if isinstance(m.work, Update) and m.work.session}
        self._timelines.load(
            {record.session for record in records} | guarded,
            wait=self._wait,
            keyed={(record.session, record.key) for record in records if record.key},
        )
        self._clients.load((m.fence for m in self._members if m.fence), wait=self._wait)
        self._documents.load((m.work for m in self._members if isinstance(m.work, Update)), wait=self._wait)
        publications = [m.work for m in self._members if isinstance(m.work, Publication)]
        if publications:
            self._streams.load(publications, at=self._at, wait=self._wait)

    def decide(self) -> None:
        for member in self._members:
            self.decisions.append(self._decide(member))

    def _decide(self, member: Member) -> Decision:
        fence = member.fence
        if self._is_held(member):
            if fence:
                self._waiting_clients.add(fence.client)
            return HELD
        if fence and fence.client in self._unprepared:
            return refused(SeqGap(expected=self._unprepared[fence.client]))
        answer = self._clients.decide(fence) if fence else None
        if answer is not None:
            return answer
        decision = self._decide_work(member)
        if fence and isinstance(decision, Outcome):
            self._clients.settle(fence, decision)
        elif fence:
            # Its number is still open, so what the client sent after it must not pass it.
            self._unprepared[fence.client] = fence.seq
        return decision

    def _decide_work(self, member: Member) -> Outcome | Prepare:
        match member.work:
            case Update(session=session) if session is not None and not self._timelines.is_live(session):
                return refused(SessionTerminated())
            case Update() as update:
                return self._documents.decide(update, member.fence)
            case Publication() as publication:
                return self._streams.decide(publication)
            case Record() as record:
                return self._timelines.decide(record)
            case error:
                return refused(error)

    def _is_held(self, member: Member) -> bool:
        fence = member.fence
        if fence and (fence.client in self._clients.held or fence.client in self._waiting_clients):
            return True
        match member.work:
            case Update(document=document, session=session):
                return document in self._documents.held or session in self._timelines.held
            case Publication(topic=topic):
                return topic in self._streams.held
            case Record(session=session):
                return session in self._timelines.held
        return False

    def write(self) -> None:
        self._timelines.write(self._at)
        self._clients.write(self._at)
        self._documents.write(self._at)
        self._streams.write(self._at)

    def report(self, group: Group) -> None:
        group.appended = {
            **self._documents.appended(),
            **self._streams.appended(),
            **self._timelines.appended(self._at),
        }
        group.changed = self._documents.changed()
        group.facts = self._timelines.facts()
        group.lagging = self._documents.lagging()
