"""Keep the subscriptions of a session, and check the right to follow a log."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from session_mgmt.actions import access, notify
from session_mgmt.actions.topics.reading import find_stream
from session_mgmt.conf import settings
from session_mgmt.exceptions import (
    InvalidField,
    SessionMgmtError,
    SubscriptionLimit,
)
from session_mgmt.models import ClientSession, Subscription
from session_mgmt.protocol.logs import SESSION, STATE, TOPIC, stream_key


def split_topics(session: ClientSession, logs: dict[str, Any]) -> tuple[list[str], dict[str, SessionMgmtError]]:
    """Return the topics that may be followed, and the error of every log that may not."""
    topics: list[str] = []
    denied: dict[str, SessionMgmtError] = {}
    for name in logs:
        error = _find_denial(session, name)
        if error is not None:
            denied[name] = error
        elif name.startswith(TOPIC):
            topics.append(name.removeprefix(TOPIC))
    if len(topics) > settings().max_subscriptions:
        raise SubscriptionLimit(limit=settings().max_subscriptions)
    return topics, denied


def _find_denial(session: ClientSession, name: str) -> SessionMgmtError | None:
    if name == SESSION or (name.startswith(STATE) and access.is_document(name.removeprefix(STATE))):
        return None
    if not name.startswith(TOPIC):
        return InvalidField("A log is session, state:<name> or topic:<topic>.", field="logs")
    try:
        access.check_follow(session, name.removeprefix(TOPIC))
    except SessionMgmtError as error:
        return error
    return None


def add_subscriptions(using: str, session: uuid.UUID, topics: list[str], now: datetime) -> None:
    """Subscribe a session to topics; one that it has is left as it is."""
    if topics:
        Subscription.objects.using(using).bulk_create(
            [Subscription(session_id=session, topic=topic, created_at=now) for topic in topics], ignore_conflicts=True
        )


def check_limit(using: str, session: uuid.UUID, topic: str) -> None:
    """Raise ``SubscriptionLimit`` if the session may follow no further topic."""
    mine = Subscription.objects.using(using).filter(session_id=session)
    if mine.exclude(topic=topic).count() >= settings().max_subscriptions:
        raise SubscriptionLimit(limit=settings().max_subscriptions)


def publish_ephemeral(session: ClientSession, topic: str, data: Any) -> None:
    """Send to those who are connected now, and store nothing. Raises ``PublishDenied``."""
    access.check_publish(session, topic)
    stream = find_stream(settings().database, topic)
    if stream is not None:
        # Without a stream nobody follows the topic: to follow makes one.
        notify.send_ephemeral(stream_key(stream), topic, data)


def remove_subscription(session: uuid.UUID, topic: str) -> None:
    """Take a topic out of what the session is subscribed to."""
    Subscription.objects.using(settings().database).filter(session_id=session, topic=topic).delete()
