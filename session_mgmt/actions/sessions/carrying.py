"""Carry a visitor's documents over to the user who logs in: merge, copy or drop them.

The project's functions decide about the documents outside of locks, and the result is written in the transaction of the
claim. If any document that was read has changed in the meantime, everything is decided again.
"""

from __future__ import annotations

import copy
import logging
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from django.db import InterfaceError, OperationalError, connections, transaction
from django.db.models import QuerySet

from session_mgmt.actions import checking, notify
from session_mgmt.actions.outcome import Outcome
from session_mgmt.actions.sessions.stamps import Evidence
from session_mgmt.actions.state import bodies, policies, prepare
from session_mgmt.actions.state.ledger import DocumentLedger
from session_mgmt.actions.state.updates import Terms, Update
from session_mgmt.conf import settings
from session_mgmt.documents import size
from session_mgmt.exceptions import EpochChanged, SessionMgmtError, TemporaryError
from session_mgmt.models import ClientSession, StateDocument
from session_mgmt.models.sql import Statements
from session_mgmt.protocol.position import Position
from session_mgmt.registry import ClaimHandler, registry
from session_mgmt.user_code import UnusableAnswer, call_sync

logger = logging.getLogger(__name__)

# Epoch and version by the id of a document.
Places = Mapping[int, tuple[str, int]]


class Moved(Exception):
    """Signal that the plan of a claim is no longer valid and must be made again."""


@dataclass(frozen=True, slots=True)
class Carried:
    """Changes of the documents of a claimed session by name, each for a certain version of its document.

    ``names`` are the documents that the session had. ``places`` are the epochs and versions of all documents that were
    read.
    """

    updates: Mapping[str, Update] = field(default_factory=dict)
    names: frozenset[str] = frozenset()
    places: Places = field(default_factory=dict)


def find_carried(using: str, session: ClientSession, previous: uuid.UUID | None, evidence: Evidence) -> Carried:
    """Decide what happens to the documents of a visitor's session. This runs the project's code."""
    mine = {row.name: row for row in _list_written(using, session.pk)}
    others = _Others(using, session, previous, evidence)
    found = _Finding(using, others, evidence.user)
    for name, document in mine.items():
        if policies.find_policy(name).claim == policies.DROP:
            found.replace(document, others.load_previous(name) or {})
        elif name in registry.claim_handlers:
            found.merge(document, registry.claim_handlers[name])
    for name in others.list_previous() - mine.keys():
        found.copy(name)
    return Carried(found.updates, frozenset(mine), found.places)


def write_carried(
    using: str, session: uuid.UUID, carried: Carried, now: datetime, *, onto: uuid.UUID | None = None
) -> None:
    """Write the changes of documents, under the lock of the session; to its successor ``onto``, if that is given.

    Raises ``Moved`` if one of the documents that were read has changed, or if the session has other documents now.
    """
    if {row.name for row in _list_written(using, session)} != carried.names:
        raise Moved
    _require_places(using, carried.places)
    updates = list(_place_updates(using, onto or session, carried.updates, now, is_pinned=onto is None))
    ledger = DocumentLedger(Statements(connections[using]), checking.document_limits().extent)
    ledger.load(updates, at=now, wait=True)
    for update in updates:
        # Without a fence, because no client has written this, and none may repeat it.
        outcome = ledger.decide(update, None)
        if not isinstance(outcome, Outcome) or isinstance(outcome.error, EpochChanged):
            raise Moved
        if outcome.error is not None:
            logger.error("A document of session %s was not carried over: %s", session, outcome.error)
    ledger.write(now)
    notify.after_commit(using, rings={key: log.entries[-1].offset for key, log in ledger.list_appended(now).items()})
    transaction.on_commit(partial(notify.send_changes, ledger.list_changes()), using=using, robust=True)


def list_documents(using: str, session: uuid.UUID) -> list[dict[str, Any]]:
    """Return the documents of a session with their versions, to show them to a visitor who must decide about them."""
    return [{"name": row.name, "version": row.version} for row in _list_written(using, session)]


def _list_written(using: str, session: uuid.UUID) -> QuerySet[StateDocument]:
    # A document that was followed but never written is left out, so that `if_absent` can give it its first value.
    mine = StateDocument.objects.using(using).filter(session=session, version__gt=0)
    return mine.order_by("name").only("name", "version", "epoch")


def _require_places(using: str, places: Places) -> None:
    if not places:
        return
    rows = StateDocument.objects.using(using).filter(pk__in=places).values_list("pk", "epoch", "version")
    if {key: (epoch, version) for key, epoch, version in rows} != dict(places):
        raise Moved


def _place_updates(
    using: str, session: uuid.UUID, updates: Mapping[str, Update], now: datetime, *, is_pinned: bool
) -> Iterator[Update]:
    for name, update in updates.items():
        try:
            document = bodies.ensure_document(using, session, name, most=settings().max_documents, at=now)
        except SessionMgmtError as error:
            # The document stays in the earlier session, which can be read as long as it is kept.
            logger.error("The document %s was not carried over to session %s: %s", name, session, error)
            continue
        placed = update._replace(document=document)
        yield placed if is_pinned else placed._replace(at_version=None, terms=Terms())


class _Others:
    """Documents of the user that a visitor's documents may meet: those of this browser's previous session, else those
    of the newest session.
    """

    def __init__(self, using: str, session: ClientSession, previous: uuid.UUID | None, evidence: Evidence) -> None:
        self._using = using
        theirs = ClientSession.objects.using(using).filter(user=evidence.user, tenant=session.tenant, acting="")
        self._theirs = theirs.exclude(pk=session.pk)
        expired = self._theirs.filter(state=ClientSession.State.EXPIRED)
        self._previous = None if previous is None else expired.filter(pk=previous).first()
        self._bodies: dict[str, bodies.Body] = {}

    def list_previous(self) -> set[str]:
        if self._previous is None:
            return set()
        return set(_list_written(self._using, self._previous.pk).values_list("name", flat=True))

    def load_previous(self, name: str) -> Any:
        """Return a document of the browser's previous session, or ``None``."""
        return None if self._previous is None else self._load(self._previous.pk, name)

    def load_any(self, name: str) -> Any:
        """Return the user's document with this name, or ``None``."""
        found = self.load_previous(name)
        if found is not None:
            return found
        live = self._theirs.filter(state=ClientSession.State.ACTIVE).order_by("-activity__last_active_at", "pk")
        newest = live.values_list("pk", flat=True).first()
        return None if newest is None else self._load(newest, name)

    def find_place(self, name: str) -> tuple[int, Position] | None:
        """Return the id and the position of a document that was loaded, or ``None``."""
        body = self._bodies.get(name)
        return None if body is None else (body.document, body.position)

    def _load(self, session: uuid.UUID, name: str) -> Any:
        row = _list_written(self._using, session).filter(name=name).first()
        if row is None:
            return None
        self._bodies[name] = bodies.load_body(self._using, row.pk)
        return self._bodies[name].data


class _Finding:
    """Changes that were decided so far. A document that cannot be merged stays as the visitor has it."""

    def __init__(self, using: str, others: _Others, user: Any) -> None:
        self._using, self._others, self._user = using, others, user
        self.updates: dict[str, Update] = {}
        self.places: dict[int, tuple[str, int]] = {}

    def replace(self, document: StateDocument, data: Any) -> None:
        """Replace a document without reading its content."""
        self._note_others(document.name)
        self.updates[document.name] = _prepare(data, (document.epoch, document.version))

    def merge(self, document: StateDocument, handler: ClaimHandler) -> None:
        """Merge a document with the user's document."""
        name = document.name
        try:
            body = bodies.load_body(self._using, document.pk)
            theirs = self._others.load_any(name)
            self._note(body.document, body.position)
            self._note_others(name)
            merged = call_sync(handler, copy.deepcopy(body.data), theirs, user=self._user)
            if merged is None:
                raise UnusableAnswer("It returned None; return the merged document.")
            if checking.check_value(merged) != body.data:
                self.updates[name] = _prepare(merged, (body.position.epoch, body.position.offset))
        except (TemporaryError, OperationalError, InterfaceError):
            # The merge function is not at fault: the whole claim is tried again.
            raise
        except Exception:
            logger.exception("The document %s is not merged, and stays as the visitor has it", name)

    def copy(self, name: str) -> None:
        """Copy a document that the visitor does not have."""
        try:
            data = self._others.load_previous(name)
            if data is not None:
                self._note_others(name)
                self.updates[name] = _prepare(data, None)
        except TemporaryError:
            raise
        except SessionMgmtError:
            logger.exception("The document %s is not copied from the session before", name)

    def _note_others(self, name: str) -> None:
        place = self._others.find_place(name)
        if place is not None:
            self._note(*place)

    def _note(self, document: int, position: Position) -> None:
        self.places[document] = (position.epoch, position.offset)


def _prepare(data: Any, place: tuple[str, int] | None) -> Update:
    """Prepare a replacement of a document that holds for one version only; ``None`` stands for version 0."""
    extent = size.measure_extent(checking.check_value(data))
    checking.check_extent(extent)
    epoch, version = place or (None, 0)
    update = prepare.prepare_blind(0, "data", data, Terms(epoch=epoch))
    return update._replace(at_version=version, exact_size=extent, may_be_idle=False)
