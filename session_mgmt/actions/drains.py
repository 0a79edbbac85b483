"""Writes of the outbox: the request of each entry, and its end.

Whether a change fits into its document often follows from bounds. Where only the document tells, the entry waits: it is
looked at outside the transaction, as a client's own update is, and the next drain carries out what the look has made.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import orjson

from session_mgmt.actions import outbox
from session_mgmt.actions.outbox import OutboxEntry
from session_mgmt.actions.outcome import Outcome
from session_mgmt.actions.state import bodies, prepare
from session_mgmt.actions.state.prepare import HeadCache
from session_mgmt.actions.state.stored_rows import Runner, run_inline
from session_mgmt.actions.state.updates import Prepare, Terms, Update
from session_mgmt.actions.timeline.ledger import Record
from session_mgmt.actions.topics.ledger import Publication
from session_mgmt.conf import settings
from session_mgmt.documents import size
from session_mgmt.exceptions import SessionMgmtError, StateUnreadable
from session_mgmt.models.sql import Statements

logger = logging.getLogger(__name__)

Work: TypeAlias = Update | Publication | Record | SessionMgmtError
# Entries whose documents were looked at, as writes, by their ids.
Looked: TypeAlias = Mapping[int, Work]

NO_LOOKS: Final[Looked] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Unmeasured:
    """Entry of which only its document tells whether the result fits."""

    entry: OutboxEntry
    document: int


def read_works(using: str, entries: Sequence[OutboxEntry], looked: Looked, at: datetime) -> list[Work]:
    """Return the write that each entry asks for, or the one that a look at its document has made of it."""
    return [looked[entry.id] if entry.id in looked else _read_work(using, entry, at) for entry in entries]


def _read_work(using: str, entry: OutboxEntry, at: datetime) -> Work:
    """Turn an entry into work. One that cannot be carried out is refused, so that it blocks nobody."""
    try:
        return _make_work(using, entry, at)
    except SessionMgmtError as error:
        return error
    except (AttributeError, KeyError, TypeError, ValueError):
        # Set aside and not tried again: in front of the queue it would stop every drain.
        logger.exception("Outbox entry %d is damaged", entry.id)
        return StateUnreadable()


def _make_work(using: str, entry: OutboxEntry, at: datetime) -> Work:
    payload = entry.read_payload()
    if entry.kind == "publish":
        return Publication(entry.target, orjson.dumps(payload), entry.key)
    session, _, name = entry.target.partition("/")
    if entry.kind == "record":
        return Record(uuid.UUID(session), name, orjson.dumps(payload), entry.key)
    document = bodies.ensure_document(using, uuid.UUID(session), name, most=settings().max_documents, at=at)
    update = prepare.prepare_blind(document, payload["kind"], payload["change"], _read_terms(entry, payload))
    # Nobody waits here who would be told of a change, or an `inc`, without effect. A whole document has its own size.
    whole = size.measure_extent(payload["change"]) if payload["kind"] == "data" else None
    return update._replace(kind=payload.get("as", update.kind), exact_size=whole, may_be_idle=False, dropped=())


def _read_terms(entry: OutboxEntry, payload: Any) -> Terms:
    return Terms(key=entry.key, if_absent=payload.get("if_absent", False))


def look_at_document(using: str, waiting: Unmeasured, *, cache: HeadCache, run: Runner = run_inline) -> Work | None:
    """Prepare an entry's update from its document, with the exact size; ``None`` where it must be tried again later."""
    entry = waiting.entry
    try:
        payload = entry.read_payload()
        change, terms = payload["change"], _read_terms(entry, payload)
        update = prepare.prepare_on_head(using, waiting.document, payload["kind"], change, terms, cache=cache, run=run)
        return update._replace(kind=payload.get("as", update.kind), may_be_idle=False)
    except StateUnreadable as error:
        return error
    except SessionMgmtError as error:
        # A refusal goes into the transaction as the entry's work, and is settled there like any other.
        return None if error.temporary else error


def settle_entries(
    statements: Statements, entries: Sequence[OutboxEntry], works: Sequence[Work], decisions: Sequence[Any]
) -> list[Unmeasured]:
    """Delete entries that were carried out, set aside the impossible ones, and return those that need a look."""
    done, bad, unmeasured = [], [], []
    for entry, work, decision in zip(entries, works, decisions, strict=True):
        if isinstance(decision, Prepare) and isinstance(work, Update):
            unmeasured.append(Unmeasured(entry, work.document))
        elif isinstance(decision, Outcome) and decision.error is None:
            done.append(entry.id)
        elif isinstance(decision, Outcome) and decision.error is not None and _is_final(decision):
            bad.append((entry.id, decision.error.name))
    outbox.settle_entries(statements, done, bad)
    return unmeasured


def _is_final(decision: Outcome) -> bool:
    """Tell whether an entry is set aside.

    One that cannot be read is, until an operator has put the key back and clears its mark.
    """
    return decision.is_final or isinstance(decision.error, StateUnreadable)
