"""Manage the subscriptions of a session, and check whether it may follow a log."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from types import MappingProxyType
from typing import Any

from django.db import connections

from session_mgmt.actions import access, notify
from session_mgmt.actions.clients import Attached, require_attached
from session_mgmt.actions.topics import presence
from session_mgmt.actions.topics.presence import Move
from session_mgmt.conf import settings
from session_mgmt.exceptions import (
    InvalidField,
    ReauthRequired,
    SessionMgmtError,
    TopicDenied,
)
from session_mgmt.models import ClientSession, Subscription
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Statements
from session_mgmt.models.tables import SUBSCRIPTION
from session_mgmt.protocol import filters
from session_mgmt.protocol import since as sinces
from session_mgmt.protocol.filters import Filter
from session_mgmt.protocol.logs import PRESENCE, SESSION, STATE, TOPIC, stream_key
from session_mgmt.protocol.scopes import Restriction, explain_log
from session_mgmt.protocol.since import Since
from session_mgmt.registry import registry


def ask_granted(session: ClientSession, logs: Iterable[str]) -> frozenset[str]:
    """Return the topics among these logs that a session may follow, as the application decides. Raises
    ``ReauthRequired``.

    This runs the project's code: call it without any lock or transaction.
    """
    topics = [name.removeprefix(TOPIC) for name in logs if name.startswith(TOPIC)]
    refusals = {topic: find_refusal(session, topic) for topic in topics}
    for refusal in refusals.values():
        if isinstance(refusal, ReauthRequired):
            raise refusal
    return frozenset(topic for topic, refusal in refusals.items() if refusal is None)


def require_granted(session: ClientSession, name: str, restriction: Restriction | None) -> str:
    """Check that a session may follow a topic, by the scopes of its token and by the application; return the topic.

    This runs the project's code. Raises ``InvalidField``, ``ScopeMissing``, ``TopicDenied`` or ``ReauthRequired``.
    """
    topic = _read_topic(name, restriction)
    access.check_follow(session, topic)
    return topic


def require_visible(session: ClientSession, name: str, restriction: Restriction | None) -> str:
    """Check that a session may see the members of a topic, with the rules and errors of ``require_granted``; return the
    topic.
    """
    topic = _read_topic(name, restriction)
    access.check_follow(session, PRESENCE + topic)
    return topic


def prepare_entry(
    session: ClientSession, name: str, data: Any, attached: Attached, restriction: Restriction | None
) -> Move:
    """Return the move of a session that enters a topic, after all checks.

    This runs the project's code. Raises the errors of ``require_granted`` and ``presence.prepare_entry``.
    """
    return presence.prepare_entry(session, _read_topic(name, restriction), data, attached)


def prepare_leave(name: str, attached: Attached) -> Move:
    """Return the move of a client that leaves a topic. Permissions are not checked: a client may leave a topic that it
    may no longer follow.
    """
    return Move(_read_topic(name, None), attached)


def _read_topic(name: str, restriction: Restriction | None) -> str:
    if not name.startswith(TOPIC):
        raise InvalidField("log is topic:<topic>.", field="log")
    unscoped = explain_log(restriction, name)
    if unscoped is not None:
        raise unscoped
    return name.removeprefix(TOPIC)


def find_refusal(session: ClientSession, topic: str) -> SessionMgmtError | None:
    """Return the error if the application does not let a session follow a topic, else ``None``. This runs the project's
    code.
    """
    try:
        access.check_follow(session, topic)
    except (TopicDenied, ReauthRequired) as error:
        return error
    return None


def split_logs(
    logs: Iterable[str],
    granted: frozenset[str],
    restriction: Restriction | None = None,
    slow: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[list[str], dict[str, SessionMgmtError]]:
    """Return the topics that may be followed, and the error of each log that may not, or not with the requested
    ``slow``.
    """
    topics: list[str] = []
    denied: dict[str, SessionMgmtError] = {}
    for name in logs:
        topic, unscoped = name.removeprefix(TOPIC), explain_log(restriction, name)
        if unscoped is not None:
            denied[name] = unscoped
        elif not name.startswith(TOPIC):
            if name != SESSION and not (name.startswith(STATE) and access.is_document(name.removeprefix(STATE))):
                denied[name] = InvalidField("A log is session, state:<name> or topic:<topic>.", field="log")
            elif (refusal := _find_way_refusal(name, slow.get(name))) is not None:
                denied[name] = refusal
        elif topic not in granted:
            denied[name] = TopicDenied()
        # Only after the permission: a topic that may not be followed must not reveal how it is declared.
        elif (refusal := _find_way_refusal(name, slow.get(name))) is not None:
            denied[name] = refusal
        else:
            topics.append(topic)
    return topics, denied


def read_wishes(name: str, slow: str | None, since: Any, only: Any) -> Filter | None:
    """Check how a client wants to read a log that it follows, and return its filter. Raises ``InvalidField``."""
    refusal = _find_way_refusal(name, slow)
    if refusal is not None:
        raise refusal
    if since is not None:
        read_since(name, since)
    return None if only is None else read_filter(name, only)


def _find_way_refusal(name: str, wished: Any) -> InvalidField | None:
    """Return the error if a log is not a topic that declares this way to serve slow readers, else ``None``."""
    if wished is None:
        return None
    if not name.startswith(TOPIC):
        return InvalidField("Only a topic may be read in another way.", field="slow")
    found = registry.find_topic(name.removeprefix(TOPIC))
    ways = found[0].slow if found is not None else ()
    if wished in ways:
        return None
    return InvalidField(f"slow is {' or '.join(ways)} for this topic.", field="slow", allowed=list(ways))


def read_filter(name: str, value: Any) -> Filter:
    """Parse the filter of a log that may be followed. Raises ``InvalidField``."""
    found = registry.find_topic(name.removeprefix(TOPIC)) if name.startswith(TOPIC) else None
    if found is None:
        raise InvalidField("Only a topic may be filtered.", field="filter")
    return filters.read(value, found[0].keys)


def read_since(name: str, value: Any) -> Since:
    """Parse where a client without a position begins to read a log. Raises ``InvalidField``."""
    if not name.startswith(TOPIC):
        raise InvalidField("Only of a topic an earlier place may be wished for.", field="since")
    return sinces.read(value)


def add_subscriptions(
    statements: Statements, wanted: Iterable[tuple[uuid.UUID, list[str]]], now: datetime
) -> list[list[str]]:
    """Subscribe sessions to topics, up to their limits; return for each session all topics that it now has.

    It runs one query and one insert for all. The caller has locked the sessions, so that two clients of one session
    cannot exceed the limit together.
    """
    listed = list(wanted)
    mine = _load_topics(statements, {session for session, _ in listed})
    fresh: list[Subscription] = []
    found: list[list[str]] = []
    for session, topics in listed:
        known = mine[session]
        room = max(settings().max_subscriptions - len(known), 0)
        # In the requested order, so that it is predictable which topics exceed the limit.
        added = list(dict.fromkeys(topic for topic in topics if topic not in known))[:room]
        fresh += [Subscription(session_id=session, topic=topic, created_at=now) for topic in added]
        known.update(dict.fromkeys(added))
        # Topics that exceeded the limit are not included; the caller reports an error for their logs.
        found.append(list(known))
    statements.put_missing(fresh)
    return found


def _load_topics(statements: Statements, sessions: set[uuid.UUID]) -> dict[uuid.UUID, dict[str, None]]:
    """Return the topics of each session as the keys of a dictionary, which keeps their order."""
    keys = [statements.uuid(session) for session in sessions]
    found: dict[uuid.UUID, dict[str, None]] = {session: {} for session in sessions}
    for session, topic in statements.select_rows("session_id, topic", SUBSCRIPTION, keys, key="session_id"):
        found[statements.as_uuid(session)][topic] = None
    return found


def is_subscribed(using: str, session: uuid.UUID, topic: str) -> bool:
    """Return whether a session is subscribed to a topic, without a lock."""
    return Subscription.objects.using(using).filter(session_id=session, topic=topic).exists()


def are_subscribed(using: str, session: uuid.UUID, topics: Collection[str]) -> bool:
    """Return whether a session is subscribed to all of these topics, without a lock."""
    return Subscription.objects.using(using).filter(session_id=session, topic__in=topics).count() == len(topics)


def publish_ephemeral(session: ClientSession, topic: str, data: Any, attached: Attached) -> None:
    """Send data to clients that are connected now, and store nothing. Raises ``PublishDenied`` or ``Replaced``."""
    access.check_publish(session, topic)
    # After the permission check, which may take a while.
    require_attached(Statements(connections[settings().database]), attached)
    notify.send_ephemeral(stream_key(topic), topic, data)


def remove_subscription(
    session: uuid.UUID, topic: str, attached: Attached, *, gate: AbstractContextManager[Any]
) -> None:
    """Remove a topic from the session's subscriptions.

    If the session is not subscribed, no transaction is opened. Otherwise ``gate`` is held around the transaction.
    Raises ``Replaced``.
    """
    using = settings().database
    if not is_subscribed(using, session, topic):
        return
    with gate, open_transaction(using):
        require_attached(Statements(connections[using]), attached, hold=True)
        Subscription.objects.using(using).filter(session_id=session, topic=topic).delete()
