"""One transaction for all writes that wait: load, decide, write, commit.

Locks are taken in one order everywhere: sequencer, session, client, document, stream, each sorted by key, before
anything is updated. Rows that others hold are skipped and their writes reported as locked, so that one such row does
not hold up the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

from django.db import connections

from session_mgmt.actions import checking, drains, notify, outbox
from session_mgmt.actions.access import Proof
from session_mgmt.actions.clients import ClientLedger, Fence
from session_mgmt.actions.drains import NO_LOOKS, Looked, Unmeasured, Work
from session_mgmt.actions.ledgers import Ledger
from session_mgmt.actions.notify import EmittedEvent
from session_mgmt.actions.outcome import Appended, Outcome, refuse_write
from session_mgmt.actions.state.ledger import DocumentLedger
from session_mgmt.actions.state.new_revisions import Changed
from session_mgmt.actions.state.updates import Prepare, Terms, Update
from session_mgmt.actions.timeline.ledger import Record, TimelineLedger
from session_mgmt.actions.topics.ledger import Publication, StreamLedger
from session_mgmt.exceptions import SeqGap
from session_mgmt.models import clock
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Statements

# A ledger that a write needs, and the item that it is asked for.
Need: TypeAlias = tuple[Ledger[Any], Any]
SLOW_LOCK_MILLISECONDS = 5000
DRAIN_LIMIT = 500


class Write(NamedTuple):
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
    """Result of one transaction: a decision for each write, and the news to pass on after commit.

    ``changed`` is empty where the project has no receiver for it. ``unmeasured``: entries of the outbox that wait for a
    look at their documents.
    """

    decisions: list[Decision] = field(default_factory=list)
    appended: dict[str, Appended] = field(default_factory=dict)
    changed: list[Changed] = field(default_factory=list)
    events: list[EmittedEvent] = field(default_factory=list)
    lagging: list[int] = field(default_factory=list)
    drained: int = 0
    unmeasured: list[Unmeasured] = field(default_factory=list)
    committing: bool = False


def write_group(
    using: str,
    writes: Sequence[Write],
    group: Group,
    *,
    wait: bool = False,
    looked: Looked = NO_LOOKS,
) -> None:
    """Write all of them, and the outbox, in one transaction; fills ``group``.

    ``looked``: what looks at documents have made of the outbox's entries.
    ``group.committing`` tells, if this raises, whether COMMIT may already have been sent: only before it may the
    group be run again.
    """
    statements = Statements(connections[using])
    with open_transaction(using):
        if wait:
            # Not for ever: a row that some transaction of the project has forgotten would hold up all writes behind it.
            statements.limit_lock_wait(SLOW_LOCK_MILLISECONDS)
        # One time for the group, and the database's: clocks of several servers differ.
        at = clock.read(using)
        # The outbox rides along with the writes, so that it costs no transaction of its own.
        entries = outbox.take_entries(statements, DRAIN_LIMIT)
        works = drains.read_works(using, entries, looked, at)
        run = _Run(statements, at, [*map(Write, works), *writes], wait=wait)
        run.decide_all(len(entries))
        run.write_all()
        if entries:
            decided = run.decisions[: len(entries)]
            group.unmeasured = drains.settle_entries(statements, entries, works, decided)
            group.drained = len(entries) - sum(not isinstance(decision, Outcome) for decision in decided)
        group.decisions = run.decisions[len(entries) :]
        run.fill_group(group)
        # The last statement: a failure before it was rolled back for certain.
        group.committing = True


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
        # Clients with a locked write: their later ones count as locked, or they would overtake it.
        self._delayed_clients: set[int] = set()
        self._unprepared: dict[int, int] = {}
        # All rows of one kind in one statement, kind after kind: this is how the order of locks is kept.
        items: dict[Ledger[Any], list[Any]] = {ledger: [] for ledger in self._ledgers}
        for write in writes:
            for ledger, item in self._list_needs(write):
                items[ledger].append(item)
        for ledger in self._ledgers:
            ledger.load(items[ledger], at=at, wait=wait)
        proofs = [_find_proof(write.work) for write in writes]
        self._timelines.load_auth_versions({proof.session for proof in proofs if proof is not None})
        # Rare, so it is asked once and not for every write.
        self._has_locked = any(ledger.has_locked() for ledger in self._ledgers)

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
                if publication.proof is not None:
                    needs.append((self._timelines, publication.proof.session))
            case Record() as record:
                needs.append((self._timelines, record))
        return needs

    def decide_all(self, entries: int) -> None:
        """Decide every write; the first ones are those of the outbox."""
        self.decisions = [
            *self._decide_entries(self._writes[:entries]),
            *map(self._decide_write, self._writes[entries:]),
        ]

    def _decide_entries(self, writes: Sequence[Write]) -> Iterator[Decision]:
        """Decide writes of the outbox; behind one that must be looked at first, those of the same document wait."""
        waiting: set[int] = set()
        for write in writes:
            document = write.work.document if isinstance(write.work, Update) else None
            if document in waiting:
                yield LOCKED
                continue
            decision = self._decide_write(write)
            if isinstance(decision, Prepare) and document is not None:
                waiting.add(document)
            yield decision

    def _decide_write(self, write: Write) -> Decision:
        fence = write.fence
        if self._has_locked and self._is_locked(write):
            if fence:
                self._delayed_clients.add(fence.client)
            return LOCKED
        # The number before this one has no answer yet; to write this one first would turn the client's order round.
        if fence and fence.client in self._unprepared:
            return refuse_write(SeqGap(expected=self._unprepared[fence.client]))
        # A repetition gets the answer that it had, before anybody looks at its work.
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
                refusal = self._find_refusal(update.terms.session, update.terms.proof)
                return self._documents.decide(update, write.fence) if refusal is None else refusal
            case Publication(proof=proof) as publication:
                refusal = self._find_refusal(None if proof is None else proof.session, proof)
                return self._streams.decide(publication) if refusal is None else refusal
            case Record() as record:
                return self._timelines.decide(record)
            case error:
                return refuse_write(error)

    def _find_refusal(self, session: UUID | None, proof: Proof | None) -> Outcome | None:
        """Refuse a write of a session that has ended, or whose token proves it no more."""
        error = None if session is None else self._timelines.find_refusal(session, proof)
        return None if error is None else refuse_write(error)

    def _is_locked(self, write: Write) -> bool:
        if write.fence and write.fence.client in self._delayed_clients:
            return True
        return any(ledger.is_locked(item) for ledger, item in self._list_needs(write))

    def write_all(self) -> None:
        for ledger in self._ledgers:
            ledger.write(self._at)

    def fill_group(self, group: Group) -> None:
        for ledger in self._ledgers:
            group.appended.update(ledger.list_appended(self._at))
        # Nothing is built for nobody: most projects have no receiver, and a group has hundreds of changes.
        group.changed = self._documents.list_changes() if notify.hears_changes() else []
        group.events = self._timelines.list_events()
        group.lagging = self._documents.list_lagging()


def _find_proof(work: Work) -> Proof | None:
    """Return the token that let a write in, where it comes without a fence."""
    match work:
        case Update(terms=Terms(proof=proof)) | Publication(proof=proof):
            return proof
    return None
