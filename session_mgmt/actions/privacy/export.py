"""Export all that concerns a user, record by record, so that it fits into memory however much it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from session_mgmt.actions.outbox import OutboxEntry
from session_mgmt.actions.privacy import personal
from session_mgmt.actions.state import bodies, conflicts, history
from session_mgmt.actions.timeline import reading as timeline
from session_mgmt.actions.topics import reading as topics
from session_mgmt.conf import settings
from session_mgmt.exceptions import StateUnreadable
from session_mgmt.models import (
    Attendance,
    ClientSession,
    Connection,
    Login,
    Outbox,
    StateDocument,
    Subscription,
    WebhookDelivery,
    WebhookEndpoint,
)
from session_mgmt.models.clock import as_text
from session_mgmt.protocol.logs import PRESENCE

PAGE = 200
_CONNECTION = ("transport", "opened_at", "closed_at", "close_code", "messages_in", "messages_out")
_LOGIN = ("created_at", "seen_at", "ended_at", "end_reason")
_ENTRY = ("at", "action", "session", "ip", "data")


def export_user(user: Any) -> Iterator[dict[str, Any]]:
    """Yield the records of a user: each has a ``kind``, and no secret. A document that is unreadable says so."""
    using = settings().database
    sessions = ClientSession.objects.using(using).filter(user=user.pk).select_related("activity").order_by("pk")
    for session in sessions.iterator(PAGE):
        yield from _export_session(using, session)
    for row in Login.objects.using(using).filter(user=user.pk).order_by("pk").values(*_LOGIN).iterator(PAGE):
        yield _make_record("login", row)
    yield from _export_entries(using, user)
    for stream in personal.find_streams(using, user):
        yield from _export_stream(using, stream.topic)
    for row in personal.find_waiting_publications(using, user).order_by("pk"):
        yield _export_waiting(row)


def _export_entries(using: str, user: Any) -> Iterator[dict[str, Any]]:
    """Yield the entries of the audit trail that a user has made, or that are about the user."""
    sessions = ClientSession.objects.using(using).filter(user=user.pk).values("pk")
    for row in personal.find_entries(using, user, sessions).order_by("pk").values("actor", *_ENTRY).iterator(PAGE):
        if row.pop("actor") not in (user.pk, None):
            # The address of the other person, who has acted, is not this person's.
            del row["ip"]
        yield _make_record("audit", row)


def _export_session(using: str, session: ClientSession) -> Iterator[dict[str, Any]]:
    names = ("state", "config", "metadata", "label", "ip", "user_agent", "tenant", "acting", "end_reason")
    moments = ("created_at", "auth_time", "claimed_at", "ended_at")
    facts = {name: getattr(session, name) for name in (*names, *moments)}
    yield _make_record("session", {"session": session.pk, **facts, "last_active_at": session.activity.last_active_at})
    for document in StateDocument.objects.using(using).filter(session=session.pk).order_by("pk"):
        yield _export_document(using, session, document)
        yield from _export_versions(session, document)
    yield from _export_events(using, session)
    for row in Connection.objects.using(using).filter(session=session.pk).order_by("pk").values(*_CONNECTION):
        yield _make_record("connection", {"session": session.pk, **row})
    for topic in Subscription.objects.using(using).filter(session=session.pk).values_list("topic", flat=True):
        yield _make_record("subscription", {"session": session.pk, "topic": topic})
    for present in _find_attendances(using, session):
        topic, member = present.stream.topic.removeprefix(PRESENCE), present.member
        facts = {"member": member.member, "since": member.since, "data": orjson.loads(bytes(member.data))}
        yield _make_record("member", {"session": session.pk, "topic": topic, **facts})
    deliveries = WebhookDelivery.objects.using(using).filter(session=session.pk).select_related("endpoint")
    for delivery in deliveries.order_by("pk").iterator(PAGE):
        # What was told is the event of the log; who was told is the endpoint, if that was not deleted since.
        event = {"event": delivery.event, "state": delivery.state, "recorded_at": delivery.recorded_at}
        yield _make_record("delivery", {"session": session.pk, "endpoint": _name_endpoint(delivery), **event})
    for row in personal.find_waiting(using, [session.pk]).order_by("pk"):
        yield _export_waiting(row, session=session.pk)


def _find_attendances(using: str, session: ClientSession) -> Any:
    rows = Attendance.objects.using(using).filter(client__session=session.pk)
    return rows.select_related("stream", "member").order_by("pk")


def _name_endpoint(delivery: WebhookDelivery) -> str | None:
    try:
        # Not its whole address, which can hold a secret of the site.
        return str(delivery.endpoint)
    except WebhookEndpoint.DoesNotExist:
        return None


def _export_waiting(row: Outbox, **facts: Any) -> dict[str, Any]:
    entry = OutboxEntry(row.pk, row.kind, row.target, bytes(row.payload), row.key)
    facts["target"] = entry.target
    try:
        return _make_record("outbox", {**facts, "data": entry.read_payload()})
    except StateUnreadable as error:
        return _make_record("outbox", {**facts, "problem": error.name})


def _export_versions(session: ClientSession, document: StateDocument) -> Iterator[dict[str, Any]]:
    """Yield what people have kept of a document's past, and values of which the others have won."""
    facts = {"session": session.pk, "name": document.name}
    try:
        for kept in history.list_checkpoints(document.pk):
            body = history.read_version_or_label(document.pk, kept["label"])
            yield _make_record("checkpoint", {**facts, **kept, "data": body.data})
        for conflict in conflicts.list_conflicts(document.pk, include_resolved=True):
            yield _make_record("conflict", {**facts, **conflict})
    except StateUnreadable as error:
        yield _make_record("document", {**facts, "version": document.version, "problem": error.name})


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
