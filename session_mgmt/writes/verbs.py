"""Writing from Python: one verb each for update, publish, send and record, whatever the caller's situation.

Inside the caller's own transaction the outbox takes the wish (a ``Ticket``); outside it the lane writes it and the
answer is a ``Position``.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from functools import partial
from typing import Any

from django.db import connections, transaction

from session_mgmt.actions import access, checking, notify, outbox
from session_mgmt.actions.group_commit import Decision, Write
from session_mgmt.actions.outbox import Ticket
from session_mgmt.actions.outcome import Outcome, refused
from session_mgmt.actions.state import bodies, prepare, reconcile
from session_mgmt.actions.state.stored_rows import Runner, here
from session_mgmt.actions.state.updates import Prepare, Update
from session_mgmt.actions.timeline.events import Record
from session_mgmt.actions.topics import streams
from session_mgmt.actions.topics.streams import Publication
from session_mgmt.bridge.crossing import bridge
from session_mgmt.conf import settings
from session_mgmt.documents import strict
from session_mgmt.documents.whole import Replacement
from session_mgmt.exceptions import (
    Busy,
    DocumentTooLarge,
    InvalidField,
    PreconditionFailed,
    SessionMgmtError,
    StringTooLong,
    Unavailable,
)
from session_mgmt.models import clock
from session_mgmt.models.sql import Statements
from session_mgmt.protocol.events import MESSAGE
from session_mgmt.protocol.logs import stream_key
from session_mgmt.protocol.position import Position

PREPARATIONS = 5


def publish(topic: str, data: Any, *, key: str | None = None, ephemeral: bool = False) -> Position | Ticket | None:
    """Publish to a topic: ``Position`` if it is written now, ``Ticket`` inside a transaction, ``None`` if ephemeral.

    ``key`` makes a repetition harmless. Raises ``InvalidField``, ``Busy`` or ``Unavailable``.
    """
    if not access.is_topic(topic):
        raise InvalidField("A topic is printable text of at most 255 characters.", field="topic")
    _check_key(key)
    fine = checked(data)
    if ephemeral:
        # After commit: a rolled back transaction tells nothing, and a stream made inside it would block its first
        # other user.
        transaction.on_commit(partial(_carry, topic, fine), using=bridge().using, robust=True)
        return None
    if bridge().inside_transaction():
        return _put("publish", topic, fine, key)
    return told(bridge().write(Write(Publication(topic, strict.dumps(fine), key))))


def send(session: uuid.UUID, data: Any, *, key: str | None = None) -> Position | Ticket:
    """Put a message into the session's own log. Raises ``SessionNotFound``, ``SessionEnded`` and as ``publish``."""
    return record(session, MESSAGE, data, key=key)


def record(session: uuid.UUID, type_: str, data: Any, *, key: str | None = None) -> Position | Ticket:
    """Put an entry into the session's own log."""
    _check_key(key)
    fine = checked(data)
    if bridge().inside_transaction():
        return _put("record", f"{session.hex}/{type_}", fine, key)
    return told(bridge().write(Write(Record(session, type_, strict.dumps(fine), key))))


def update(
    session: uuid.UUID, name: str, kind: str, change: Any, *, key: str | None = None, **terms: Any
) -> Position | Ticket:
    """Change a document at its head: ``kind`` is ``merge``, ``ops``, ``patch`` or ``data``.

    ``terms`` are ``base``, ``epoch`` and ``strategy``, for callers that saw a version, and ``if_absent``, for those
    that want none to be there. A ``patch`` (RFC 6902) must see the document and so cannot go through the outbox.
    Raises ``SessionMgmtError``.
    """
    _check_key(key)
    access.must_be_document(name)
    if bridge().inside_transaction():
        if not prepare.is_blind(kind):
            raise InvalidField("Inside a transaction use merge, ops or data.", field="patch")
        prepare.blind(0, kind, change)
        if kind == "data":
            _check_size(change)
        absent = {"if_absent": True} if terms.get("if_absent") else {}
        return _put("update", f"{session.hex}/{name}", {"kind": kind, "change": change, **absent}, key)
    return told(update_now(session, name, kind, change, key=key, **terms))


def update_now(
    session: uuid.UUID, name: str, kind: str, change: Any, *, expected: Position | None = None, **terms: Any
) -> Outcome:
    """As ``update``, outside a transaction; gives the whole outcome. An ended session is refused.

    ``expected``: only if the document is exactly there, else ``PreconditionFailed``; it is not made for that.
    ``key`` and ``request`` among the terms: a repetition is answered from what was done first, ``KeyReused`` if it
    asks for something else. A server gives ``run`` what is heavy.
    """
    using = bridge().using
    way = first_way(kind, terms.get("replaced"))
    if expected is not None or way != "blind":
        # These may fail on the document as it is, because the first attempt has changed it.
        answer = _answered_already(session, name, terms)
        if answer is not None:
            return answer
    document = bodies.find(using, session, name) if expected is None else _document(using, session, name, expected)
    if document is None:
        prepare.check_first(kind, change)
        document = _document(using, session, name, None)
    for _ in range(PREPARATIONS):
        prepared = _prepare(document, kind, change, way, {**terms, "session": session})
        decision = bridge().write(Write(_only_at(expected, prepared)))
        if isinstance(decision, Outcome):
            return decision
        if expected is not None and decision == Prepare("moved"):
            return refused(PreconditionFailed())
        way = next_way(way, decision)
    return refused(Busy(retry_after=1.0))


def replace_now(
    session: uuid.UUID,
    name: str,
    whole: Replacement,
    *,
    expected: Position | None = None,
    kind: str = "replace",
    **terms: Any,
) -> Outcome:
    """Replace a document by one that was made ready elsewhere; ``expected`` and ``terms`` as for ``update_now``."""
    using = bridge().using
    if whole.size > settings().max_document_bytes:
        raise DocumentTooLarge(size=whole.size, limit=settings().max_document_bytes)
    if expected is not None:
        answer = _answered_already(session, name, terms)
        if answer is not None:
            return answer
    update = Update(
        document=_document(using, session, name, expected),
        ops=whole.ops,
        paths=whole.paths,
        growth=whole.growth,
        kind=kind,
        exact_size=whole.size,
        session=session,
        **terms,
    )
    decision = bridge().write(Write(_only_at(expected, update)))
    return decision if isinstance(decision, Outcome) else refused(PreconditionFailed())


def _answered_already(session: uuid.UUID, name: str, terms: dict[str, Any]) -> Outcome | None:
    """The answer that ``key`` or ``if_absent`` gives whatever the change is; ``None`` if they let it pass."""
    chosen = {field: terms[field] for field in ("key", "request", "if_absent") if terms.get(field)}
    document = bodies.find(bridge().using, session, name) if chosen else None
    if document is None:
        return None
    nothing = Update(document, ops=b"[]", paths=(), growth=0, session=session, **chosen)
    decision = bridge().write(Write(nothing))
    if not isinstance(decision, Outcome) or decision.error is not None:
        return decision if isinstance(decision, Outcome) else None
    passes = b'"unchanged":true' in decision.body
    present = "if_absent" in chosen and decision.position is not None and decision.position.offset > 0
    return None if passes and not present else decision


def _document(using: str, session: uuid.UUID, name: str, expected: Position | None) -> int:
    """The document's row, made at first use unless somebody says where it stands."""
    if expected is None:
        return bodies.ensure(using, session, name, most=settings().max_documents, at=clock.read(using))
    found = bodies.windows(Statements(connections[using]), session, {name: None}).get(name)
    if found is None:
        raise PreconditionFailed()
    if found.window.head != expected:
        raise PreconditionFailed(position=found.window.head.as_json())
    return found.id


def _only_at(expected: Position | None, prepared: Update | SessionMgmtError) -> Update | SessionMgmtError:
    """The update for this version and no other: the lane answers ``moved`` if the document has gone on."""
    if expected is None or isinstance(prepared, SessionMgmtError):
        return prepared
    if prepared.at_version not in (None, expected.offset):
        return PreconditionFailed()
    merge = None if prepared.merge is None else replace(prepared.merge, movable=False)
    return replace(prepared, at_version=expected.offset, epoch=expected.epoch, merge=merge)


def first_way(kind: str, replaced: Any) -> str:
    """How an update is prepared at first: ``blind``, ``head``, or ``merge`` where it is known to need both ends."""
    if replaced is not None:
        return "merge"
    return "blind" if prepare.is_blind(kind) else "head"


def next_way(way: str, decision: Decision) -> str:
    """How to prepare an update again that the lane gave back."""
    asked = decision.reason if isinstance(decision, Prepare) else ""
    return "merge" if asked == "merge" or way == "merge" else "head"


def prepared(way: str, document: int, kind: str, change: Any, *, run: Runner = here, **terms: Any) -> Update:
    """The update, made in this way; ``terms`` besides are fields of ``Update``, ``client`` and ``replaced``. ``run`` is
    given what is heavy.
    """
    client, replaced = terms.pop("client", None), terms.pop("replaced", None)
    if way == "merge":
        terms = {"base": None, "epoch": None, "strategy": None, **terms}
        before = {"client": client, "replaced": replaced}
        return reconcile.settle(bridge().using, document, kind, change, run=run, **before, **terms)
    if way == "head":
        return prepare.from_head(
            bridge().using, document, kind, change, head_cache=bridge().head_cache, run=run, **terms
        )
    return prepare.blind(document, kind, change, **terms)


def _prepare(document: int, kind: str, change: Any, way: str, terms: dict[str, Any]) -> Update | SessionMgmtError:
    try:
        return prepared(way, document, kind, change, **terms)
    except SessionMgmtError as error:
        return error


def _check_size(whole: Any) -> None:
    """A whole document is too large whatever there is; what a change makes of one is known when it is carried out."""
    exact, most = len(strict.dumps(checking.check_value(whole))), settings().max_document_bytes
    if exact > most:
        raise DocumentTooLarge(size=exact, limit=most)


def _check_key(key: str | None) -> None:
    if key is not None and not access.is_key(key):
        raise InvalidField("A key is text of 1 to 100 characters.", field="key")


def _put(kind: str, target: str, payload: Any, key: str | None) -> Ticket:
    using = bridge().using
    ticket = outbox.put(using, kind, target, payload, key=key)
    notify.ring_outbox(using)
    return ticket


def _carry(topic: str, data: Any) -> None:
    found = streams.windows(Statements(connections[bridge().using]), {topic: None}).get(topic)
    if found is not None:
        # Without a stream nobody follows the topic: to follow makes one.
        notify.carry(stream_key(found.id), topic, data)


def checked(data: Any) -> Any:
    """What a publication or a message may be, normalised. Raises ``SessionMgmtError``."""
    fine, most = checking.check_value(data), settings().max_publication_bytes
    if len(strict.dumps(fine)) > most:
        raise StringTooLong(f"The data is larger than {most} bytes.", limit=most)
    return fine


def told(decision: Decision) -> Position:
    """Where a write took effect. Raises what refused it."""
    if isinstance(decision, Outcome) and decision.error is None and decision.position is not None:
        return decision.position
    if isinstance(decision, Outcome) and decision.error is not None:
        raise decision.error
    if isinstance(decision, Prepare):
        raise Busy(retry_after=1.0)
    raise Unavailable()
