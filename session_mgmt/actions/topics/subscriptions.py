"""Subscriptions of a session, and the right to follow a log."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from django.db import connections

from session_mgmt.actions import access, notify
from session_mgmt.actions.topics import streams
from session_mgmt.conf import settings
from session_mgmt.exceptions import (
    InvalidField,
    SessionMgmtError,
    SubscriptionLimit,
)
from session_mgmt.models import ClientSession, Subscription
from session_mgmt.models.sql import Statements
from session_mgmt.protocol.logs import SESSION, STATE, TOPIC, stream_key


def split_topics(session: ClientSession, logs: dict[str, Any]) -> tuple[list[str], dict[str, SessionMgmtError]]:
    """The topics that may be followed, and why not for every other log."""
    topics: list[str] = []
    denied: dict[str, SessionMgmtError] = {}
    for name in logs:
        error = _why_not(session, name)
        if error is not None:
            denied[name] = error
        elif name.startswith(TOPIC):
            topics.append(name.removeprefix(TOPIC))
    if len(topics) > settings().max_subscriptions:
        raise SubscriptionLimit(limit=settings().max_subscriptions)
    return topics, denied


def _why_not(session: ClientSession, name: str) -> SessionMgmtError | None:
    if name == SESSION or (name.startswith(STATE) and access.is_document(name.removeprefix(STATE))):
        return None
    if not name.startswith(TOPIC):
        return InvalidField("A log is session, state:<name> or topic:<topic>.", field="logs")
    try:
        access.may_follow(session, name.removeprefix(TOPIC))
    except SessionMgmtError as error:
        return error
    return None


def subscribe(using: str, session: uuid.UUID, topics: list[str], now: datetime) -> None:
    if topics:
        Subscription.objects.using(using).bulk_create(
            [Subscription(session_id=session, topic=topic, created_at=now) for topic in topics], ignore_conflicts=True
        )


def check_limit(using: str, session: uuid.UUID, topic: str) -> None:
    mine = Subscription.objects.using(using).filter(session_id=session)
    if mine.exclude(topic=topic).count() >= settings().max_subscriptions:
        raise SubscriptionLimit(limit=settings().max_subscriptions)


def publish_ephemeral(session: ClientSession, topic: str, data: Any) -> None:
    """Tell those who are there now; nothing is stored. Raises ``PublishDenied``."""
    using = settings().database
    access.may_publish(session, topic)
    found = streams.windows(Statements(connections[using]), {topic: None}).get(topic)
    if found is not None:
        # Without a stream nobody follows the topic: to follow makes one.
        notify.carry(stream_key(found.id), topic, data)


def unfollow(session: uuid.UUID, topic: str) -> None:
    """Take a topic out of what the session is subscribed to."""
    Subscription.objects.using(settings().database).filter(session_id=session, topic=topic).delete()
