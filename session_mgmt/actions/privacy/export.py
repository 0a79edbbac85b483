"""Export all that concerns a user, record by record, so that it fits into memory however much it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from session_mgmt.actions.privacy.personal import find_streams
from session_mgmt.actions.state import bodies
from session_mgmt.actions.timeline import reading as timeline
from session_mgmt.actions.topics import reading as topics
from session_mgmt.conf import settings
from session_mgmt.exceptions import StateUnreadable
from session_mgmt.models import AuditEntry, ClientSession, Connection, Login, StateDocument, Subscription
from session_mgmt.models.clock import as_text

PAGE = 200
_CONNECTION = ("transport", "opened_at", "closed_at", "close_code", "messages_in", "messages_out")
_LOGIN = ("created_at", "seen_at", "ended_at", "end_reason")
_ENTRY = ("at", "action", "session", "ip", "data")


def export_user(user: Any) -> Iterator[dict[str, Any]]:
    """Yield the records of a user: each has a ``kind``, and no secret. A document that is unreadable says so."""
    using = settings().database
    for session in ClientSession.objects.using(using).filter(user=user.pk).select_related("activity").order_by("pk"):
        yield from _export_session(using, session)
    for row in Login.objects.using(using).filter(user=user.pk).order_by("pk").values(*_LOGIN):
        yield _make_record("login", row)
    for row in AuditEntry.objects.using(using).filter(actor=user.pk).order_by("pk").values(*_ENTRY).iterator(PAGE):
        yield _make_record("audit", row)
    for stream in find_streams(using, user):
        yield from _export_stream(using, stream.topic)


def _export_session(using: str, session: ClientSession) -> Iterator[dict[str, Any]]:
    names = ("state", "config", "metadata", "label", "ip", "user_agent", "tenant", "acting", "end_reason")
    moments = ("created_at", "auth_time", "claimed_at", "ended_at")
    facts = {name: getattr(session, name) for name in (*names, *moments)}
    yield _make_record("session", {"session": session.pk, **facts})
    for document in StateDocument.objects.using(using).filter(session=session.pk).order_by("pk"):
        yield _export_document(using, session, document)
    yield from _export_events(using, session)
    for row in Connection.objects.using(using).filter(session=session.pk).order_by("pk").values(*_CONNECTION):
        yield _make_record("connection", {"session": session.pk, **row})
    for topic in Subscription.objects.using(using).filter(session=session.pk).values_list("topic", flat=True):
        yield _make_record("subscription", {"session": session.pk, "topic": topic})


def _export_document(using: str, session: ClientSession, document: StateDocument) -> dict[str, Any]:
    facts = {"session": session.pk, "name": document.name, "version": document.version}
    try:
        return _make_record("document", {**facts, "data": bodies.load_body(using, document.pk).data})
    except StateUnreadable as error:
        return _make_record("document", {**facts, "problem": error.name})


def _export_events(using: str, session: ClientSession) -> Iterator[dict[str, Any]]:
    after = 0
    while found := timeline.read_page(using, session.pk, after, PAGE):
        for entry in found:
            # An entry is an array of its own form; its last member is the content.
            yield _make_record("event", {"session": session.pk, "entry": orjson.loads(entry.as_json())})
        after = found[-1].offset


def _export_stream(using: str, topic: str) -> Iterator[dict[str, Any]]:
    after = 0
    while found := topics.read_page(using, topic, after, PAGE):
        for entry in found:
            yield _make_record("publication", {"topic": topic, "entry": orjson.loads(entry.as_json())})
        after = found[-1].offset


def _make_record(kind: str, facts: dict[str, Any]) -> dict[str, Any]:
    return {"kind": kind, **{name: _as_json(value) for name, value in facts.items() if value is not None}}


def _as_json(value: Any) -> Any:
    if hasattr(value, "isoformat"):
        return as_text(value)
    return value if isinstance(value, str | int | float | bool | list | dict) else str(value)
