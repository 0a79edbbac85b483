"""Keep the subscriptions of a session, and check the right to follow a log."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

from session_mgmt.actions import access, notify
from session_mgmt.actions.topics import retention
from session_mgmt.actions.topics.reading import find_stream
from session_mgmt.conf import settings
from session_mgmt.exceptions import (
    InvalidField,
    SessionMgmtError,
    TopicDenied,
)
from session_mgmt.models import Client, ClientSession, Subscription, clock
from session_mgmt.models.isolation import open_transaction
from session_mgmt.protocol.logs import SESSION, STATE, TOPIC, stream_key


def ask_granted(session: ClientSession, logs: Iterable[str]) -> frozenset[str]:
    """Ask the application which topics among these logs a session may follow.

    This runs the project's code: call it where no lock and no transaction is held.
    """
    topics = [name.removeprefix(TOPIC) for name in logs if name.startswith(TOPIC)]
    return frozenset(topic for topic in topics if _may_follow(session, topic))


def _may_follow(session: ClientSession, topic: str) -> bool:
    try:
        access.check_follow(session, topic)
    except TopicDenied:
        return False
    return True


def split_logs(logs: Iterable[str], granted: frozenset[str]) -> tuple[list[str], dict[str, SessionMgmtError]]:
    """Return the topics that may be followed, and the error of every log that may not."""
    topics: list[str] = []
    denied: dict[str, SessionMgmtError] = {}
    for name in logs:
        topic = name.removeprefix(TOPIC)
        if not name.startswith(TOPIC):
            if name != SESSION and not (name.startswith(STATE) and access.is_document(name.removeprefix(STATE))):
                denied[name] = InvalidField("A log is session, state:<name> or topic:<topic>.", field="logs")
        elif topic in granted:
            topics.append(topic)
        else:
            denied[name] = TopicDenied()
    return topics, denied


def add_subscriptions(using: str, session: uuid.UUID, topics: list[str], now: datetime) -> list[str]:
    """Subscribe a session to topics, as far as its limit reaches; return all topics that it is subscribed to.

    The caller has locked the session: two of its clients must not pass the limit together.
    """
    mine = list(Subscription.objects.using(using).filter(session_id=session).values_list("topic", flat=True))
    room, known = settings().max_subscriptions - len(mine), set(mine)
    fresh = [topic for topic in dict.fromkeys(topics) if topic not in known][: max(room, 0)]
    if fresh:
        Subscription.objects.using(using).bulk_create(
            [Subscription(session_id=session, topic=topic, created_at=now) for topic in fresh], ignore_conflicts=True
        )
    # What found no room is not in it; the caller tells that log its error.
    return mine + fresh


def is_subscribed(using: str, session: uuid.UUID, topic: str) -> bool:
    """Tell whether a session is subscribed to a topic; nothing is locked."""
    return Subscription.objects.using(using).filter(session_id=session, topic=topic).exists()


def publish_ephemeral(session: ClientSession, topic: str, data: Any) -> None:
    """Send to those who are connected now, and store nothing. Raises ``PublishDenied``."""
    access.check_publish(session, topic)
    stream = find_stream(settings().database, topic)
    if stream is not None:
        # Without a stream nobody follows the topic: to follow makes one.
        notify.send_ephemeral(stream_key(stream), topic, data)


def remove_subscription(session: uuid.UUID, topic: str, *, gate: AbstractContextManager[Any]) -> None:
    """Take a topic out of the session's subscriptions; a stream that nobody else can have seen goes with it.

    A topic that the session is not subscribed to costs no transaction. ``gate`` is held around any other.
    """
    using = settings().database
    if not is_subscribed(using, session, topic):
        return
    with gate, open_transaction(using):
        mine = Subscription.objects.using(using).filter(session_id=session, topic=topic)
        since = mine.values_list("created_at", flat=True).first()
        if since is None:
            return
        mine.delete()
        others = Client.objects.using(using).filter(session_id=session)[1:2]
        retention.leave_stream(topic, since=since, is_only_client=not others.exists(), now=clock.read(using))
