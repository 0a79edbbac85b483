"""Write from Python: one function each for update, publish, send and record, inside or outside of a transaction.

Inside the caller's own transaction the outbox takes the write (a ``Ticket``); outside it the lane writes it, and the
answer is a ``Position``.
"""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import orjson
from django.conf import settings as django_settings
from django.db import connections

from session_mgmt.actions import access, checking, notify, outbox
from session_mgmt.actions.access import Proof
from session_mgmt.actions.encoding import telling_place
from session_mgmt.actions.group_commit import Decision, Work, Write
from session_mgmt.actions.outbox import Ticket
from session_mgmt.actions.outcome import Outcome, Written, refuse_write
from session_mgmt.actions.state import bodies, prepare, reconcile, stored_rows
from session_mgmt.actions.state.stored_rows import Runner, run_inline
from session_mgmt.actions.state.updates import NO_TERMS, Prepare, Reason, Terms, Update
from session_mgmt.actions.timeline import proofs
from session_mgmt.actions.timeline.ledger import Record
from session_mgmt.actions.topics.ledger import Publication
from session_mgmt.bridge.crossing import bridge
from session_mgmt.conf import settings
from session_mgmt.documents import operations, strict
from session_mgmt.documents.size import NOTHING
from session_mgmt.documents.whole import Replacement
from session_mgmt.exceptions import (
    Busy,
    DocumentTooLarge,
    InvalidField,
    PreconditionFailed,
    PublicationTooLarge,
    SessionMgmtError,
    StateUnreadable,
)
from session_mgmt.models import StateRevision, clock
from session_mgmt.models.isolation import call_after_commit
from session_mgmt.models.sql import Statements
from session_mgmt.protocol.events import MESSAGE
from session_mgmt.protocol.logs import PRESENCE, stream_key
from session_mgmt.protocol.patterns import is_topic
from session_mgmt.protocol.position import Position
from session_mgmt.registry import registry
from session_mgmt.writes.attempts import Attempts, Way, choose_way

logger = logging.getLogger(__name__)


def publish(
    topic: str, data: Any, *, key: str | None = None, ephemeral: bool = False, proof: Proof | None = None
) -> Position | Ticket | None:
    """Publish to a topic: ``Position`` if it is written now, ``Ticket`` inside a transaction, ``None`` if ephemeral.

    ``key`` makes a repetition harmless. ``proof`` is the token of a REST call, only possible outside transactions; the
    write checks it again. Raises ``InvalidToken`` or ``SessionEnded`` (because of the proof), ``InvalidField``,
    ``Busy`` or ``Unavailable``.
    """
    _check_topic(topic)
    _check_key(key)
    if not isinstance(ephemeral, bool):
        raise InvalidField("ephemeral is True or False.", field="ephemeral")
    _warn_of_undeclared(topic)
    if ephemeral:
        # After commit, because a transaction that is rolled back must publish nothing, and a stream row created inside
        # it would block others who publish to the topic.
        using, ring = bridge().using, partial(notify.send_ephemeral, stream_key(topic), topic, check_data(data))
        proofs.check_proof(using, proof)
        # Robust: the caller's transaction has committed, and a failing listener must not make it look failed.
        call_after_commit(using, ring)
        return None
    body = encode_data(data)
    if bridge().inside_transaction():
        return put_into_outbox("publish", topic, orjson.Fragment(body), key)
    return _write_now(Publication(topic, body, key, proof)).require()


def publish_all(publications: Sequence[tuple[str, Any]]) -> None:
    """Publish to several topics in the caller's transaction, by one write. Raises the same errors as ``publish``."""
    if not publications:
        return
    for topic in {topic for topic, _ in publications}:
        _check_topic(topic)
        _warn_of_undeclared(topic)
    using = bridge().using
    with telling_place():
        bodies = [(topic, encode_data(data)) for topic, data in publications]
    outbox.put_publications(using, bodies)
    notify.ring_outbox(using)


def _check_topic(topic: str) -> None:
    if not is_topic(topic):
        raise InvalidField("A topic is printable text of at most 255 characters.", field="topic")
    if topic.startswith(PRESENCE):
        raise InvalidField(f"Topics that begin with {PRESENCE} tell who is there; the app writes them.", field="topic")


def _warn_of_undeclared(topic: str) -> None:
    """Log a warning in development if no app declares the topic: publishing works, but nobody can follow it."""
    if not django_settings.DEBUG or registry.find_topic(topic) is not None:
        return
    near = registry.find_nearest(topic)
    hint = f"Did you mean {near!r}?" if near else "Declare it in session_topics.py of an app."
    logger.warning("Published to the topic %r, which no app declares, so nobody can follow it. %s", topic, hint)


def send(session: uuid.UUID, data: Any, *, key: str | None = None) -> Position | Ticket:
    """Put a message into the session's own log. Raises ``SessionNotFound``, ``SessionEnded`` and as ``publish``."""
    return record(session, MESSAGE, data, key=key)


def record(session: uuid.UUID, type_: str, data: Any, *, key: str | None = None) -> Position | Ticket:
    """Put an entry into the session's own log."""
    _check_key(key)
    body = encode_data(data)
    if bridge().inside_transaction():
        return put_into_outbox("record", f"{session.hex}/{type_}", orjson.Fragment(body), key)
    return _write_now(Record(session, type_, body, key)).require()


def update(session: uuid.UUID, name: str, kind: str, change: Any, terms: Terms = NO_TERMS) -> Written | Ticket:
    """Change the current version of a document; ``kind`` is ``merge``, ``ops``, ``patch`` or ``data``.

    A ``patch`` (RFC 6902) must see the document and so cannot go through the outbox; of the terms, only ``key`` and
    ``if_absent`` can. Raises ``SessionMgmtError``.
    """
    _check_key(terms.key)
    # Check before the outbox: nobody would hear of a name that is refused only when the outbox is drained.
    access.check_document_name(name)
    check_kind(kind)
    if bridge().inside_transaction():
        return _put_update(session, name, kind, change, terms)
    return update_now(session, name, kind, change, terms).require_written()


def check_kind(kind: str) -> None:
    """Refuse a change that needs the document inside a transaction, where only the outbox may be used."""
    if bridge().inside_transaction() and not prepare.is_blind(kind):
        raise InvalidField("Inside a transaction use merge, ops or data.", field="patch")


def _put_update(session: uuid.UUID, name: str, kind: str, change: Any, terms: Terms) -> Ticket:
    # Prepared only for its checks: refuse a bad change here, to its author, and not when the outbox is drained.
    prepare.prepare_blind(0, kind, change)
    if kind == "data":
        _check_size(change)
    payload = {"kind": kind, "change": change, **({"if_absent": True} if terms.if_absent else {})}
    return put_into_outbox(outbox.UPDATE, f"{session.hex}/{name}", payload, terms.key)


def update_now(
    session: uuid.UUID,
    name: str,
    kind: str,
    change: Any,
    terms: Terms = NO_TERMS,
    *,
    expected: Position | None = None,
    run: Runner = run_inline,
) -> Outcome:
    """Change a document as ``update`` does, outside a transaction, and return the whole outcome.

    ``expected`` is the only position at which the change applies, otherwise ``PreconditionFailed`` is raised; the
    document is not created for that. An ended session is refused. Servers pass ``run``, which carries out heavy work.
    """
    # With this the lane checks whether the session has ended meanwhile.
    terms = terms._replace(session=session)
    attempts = Attempts(choose_way(kind, terms.replaced), pinned=expected is not None)
    if expected is not None or attempts.way is not Way.BLIND:
        # A repetition may not fit the document any more, because the first attempt has changed it.
        answer = _find_answer(session, name, terms)
        if answer is not None:
            return answer
    document = _find_or_make(session, name, kind, change, expected)
    while attempts.outcome is None:
        prepared = _try_prepare(document, kind, change, attempts.way, terms, run)
        attempts.record_decision(bridge().write(Write(_pin_version(expected, prepared))))
    return attempts.outcome


def replace_now(
    session: uuid.UUID,
    name: str,
    whole: Replacement,
    terms: Terms = NO_TERMS,
    *,
    expected: Position | None = None,
    kind: str = "replace",
    run: Runner = run_inline,
) -> Outcome:
    """Replace a document by one that was prepared elsewhere; ``expected`` and ``run`` are as for ``update_now``."""
    # Check before any lock is taken: a document that is too large must not cost a transaction.
    checking.check_extent(whole.size)
    if expected is not None:
        answer = _find_answer(session, name, terms)
        if answer is not None:
            return answer
    # Comparing a heavy document costs more than writing it once too often.
    is_light = whole.size.bytes <= stored_rows.HEAVY_BYTES
    update = Update(
        document=_locate_document(session, name, expected),
        ops=whole.ops,
        paths=whole.paths,
        growth=whole.growth,
        kind=kind,
        terms=terms._replace(session=session),
        exact_size=whole.size,
        may_be_idle=kind == StateRevision.Kind.REPLACE and not terms.key and is_light,
    )
    decision = bridge().write(Write(_pin_version(expected, update)))
    if decision == Prepare(Reason.IDLE):
        decision = _replace_unless_equal(update, expected, run)
    return decision if isinstance(decision, Outcome) else refuse_write(PreconditionFailed())


def _replace_unless_equal(update: Update, expected: Position | None, run: Runner) -> Decision:
    """Write a replacement, unless the document equals it already. A document that cannot be read is replaced."""
    ((_, _, data),) = operations.decode_ops(update.ops)
    at = None
    with contextlib.suppress(StateUnreadable):
        at = bodies.find_equal(bridge().using, update.document, data, run=run)
    if at is not None:
        nothing = update._replace(paths=(), at_version=at, may_be_idle=False)
        decision = bridge().write(Write(_pin_version(expected, nothing)))
        if isinstance(decision, Outcome):
            return decision
    return bridge().write(Write(_pin_version(expected, update._replace(may_be_idle=False))))


def _find_answer(session: uuid.UUID, name: str, terms: Terms) -> Outcome | None:
    """Return the answer that ``key`` or ``if_absent`` gives whatever the change is; ``None`` if they let it pass."""
    asks = terms.key or terms.if_absent
    document = bodies.find_document(bridge().using, session, name) if asks else None
    if document is None:
        return None
    asked = Terms(key=terms.key, request=terms.request, if_absent=terms.if_absent)
    asked = asked._replace(session=session, proof=terms.proof)
    # An update without changes asks the lane whether the key or the document exists, in order with other writes.
    decision = bridge().write(Write(Update(document, ops=b"[]", paths=(), growth=NOTHING, terms=asked)))
    if not isinstance(decision, Outcome) or decision.error is not None:
        return decision if isinstance(decision, Outcome) else None
    present = terms.if_absent and decision.position is not None and decision.position.offset > 0
    return None if decision.unchanged and not present else decision


def _find_or_make(session: uuid.UUID, name: str, kind: str, change: Any, expected: Position | None) -> int:
    """Return the document's row, created if needed. A change that does not fit an empty document creates none."""
    if expected is None:
        found = bodies.find_document(bridge().using, session, name)
        if found is not None:
            return found
        prepare.check_first_change(kind, change)
    return _locate_document(session, name, expected)


def _locate_document(session: uuid.UUID, name: str, expected: Position | None) -> int:
    """Return the document's row, created at first use unless the caller expects a position."""
    using = bridge().using
    if expected is None:
        return bodies.ensure_document(using, session, name, most=settings().max_documents, at=clock.read(using))
    place = (session, name, None)
    found = bodies.load_windows(Statements(connections[using]), [place]).get(place)
    if found is None:
        raise PreconditionFailed()
    if found.window.head != expected:
        raise PreconditionFailed(position=found.window.head.as_json())
    return found.id


def _pin_version(expected: Position | None, prepared: Update | SessionMgmtError) -> Update | SessionMgmtError:
    """Bind the update to this version; the lane answers ``moved`` if the document has a newer one."""
    if expected is None or isinstance(prepared, SessionMgmtError):
        return prepared
    # It was prepared from another version than the caller expects, so the document has moved already.
    if prepared.at_version not in (None, expected.offset):
        return PreconditionFailed()
    # A merge would otherwise be accepted at a later version than the caller expects.
    merge = None if prepared.merge is None else replace(prepared.merge, movable=False)
    # The document may have been deleted and created again with the same version, but another epoch.
    terms = prepared.terms._replace(epoch=expected.epoch)
    return prepared._replace(at_version=expected.offset, terms=terms, merge=merge)


def prepare_update(
    way: Way, document: int, kind: str, change: Any, terms: Terms = NO_TERMS, *, run: Runner = run_inline
) -> Update:
    """Prepare the update in this way; ``run`` carries out heavy work. Raises ``SessionMgmtError``."""
    using = bridge().using
    if way is Way.MERGE:
        return reconcile.prepare_merge(using, document, kind, change, terms, run=run)
    if way is Way.KINDS:
        return reconcile.prepare_with_kinds(using, document, kind, change, terms, run=run)
    if way is Way.HEAD:
        return prepare.prepare_on_head(using, document, kind, change, terms, cache=bridge().head_cache, run=run)
    return prepare.prepare_blind(document, kind, change, terms)


def _try_prepare(
    document: int, kind: str, change: Any, way: Way, terms: Terms, run: Runner
) -> Update | SessionMgmtError:
    try:
        return prepare_update(way, document, kind, change, terms, run=run)
    except SessionMgmtError as error:
        return error


def _check_size(whole: Any) -> None:
    """Refuse a whole document that is too large. For other changes the size is known only when they are applied."""
    exact, most = len(strict.dump_json(checking.check_value(whole))), settings().max_document_bytes
    if exact > most:
        raise DocumentTooLarge(size=exact, limit=most)


def _check_key(key: str | None) -> None:
    if key is not None and not access.is_key(key):
        raise InvalidField("A key is text of 1 to 100 characters.", field="key")


def put_into_outbox(kind: str, target: str, payload: Any, key: str | None) -> Ticket:
    """Write one entry into the caller's transaction, and notify after its commit."""
    using = bridge().using
    ticket = outbox.put_entry(using, kind, target, payload, key=key)
    notify.ring_outbox(using)
    return ticket


def check_data(data: Any) -> Any:
    """Return the data of a publication or a message, normalised. Raises ``SessionMgmtError``."""
    return _measure_data(data)[0]


def encode_data(data: Any) -> bytes:
    """Return the data of a publication or a message as compact JSON. Raises ``SessionMgmtError``."""
    return _measure_data(data)[1]


def _measure_data(data: Any) -> tuple[Any, bytes]:
    fine, most = checking.check_value(data), settings().max_publication_bytes
    body = strict.dump_json(fine)
    if len(body) > most:
        raise PublicationTooLarge(f"The data is larger than {most} bytes.", limit=most)
    return fine, body


def _write_now(work: Work) -> Outcome:
    decision = bridge().write(Write(work))
    return decision if isinstance(decision, Outcome) else refuse_write(Busy(retry_after=1.0))
