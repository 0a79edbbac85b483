"""Who may: fetch and authorise in one verb, with one error for "does not exist" and "not yours"."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.core.exceptions import ObjectDoesNotExist, ValidationError

from session_mgmt.exceptions import InvalidField, PublishDenied, SessionNotFound, TopicDenied
from session_mgmt.models import ClientSession
from session_mgmt.registry import registry

logger = logging.getLogger("session_mgmt.access")

# Everything that prints, without spaces at the ends; a topic is a name that people read in lists and logs.
# A lone surrogate, which only Python can hand in, has no bytes that a database could store.
_TOPIC = re.compile(
    r"[^\s\x00-\x1f\x7f\ud800-\udfff](?:[^\x00-\x1f\x7f\ud800-\udfff]{0,253}[^\s\x00-\x1f\x7f\ud800-\udfff])?"
)
# A path of the REST side cannot hold a slash.
_DOCUMENT = re.compile(r"[^\x00-\x1f\x7f/\ud800-\udfff]{1,100}")
_KEY = re.compile(r"[^\x00\ud800-\udfff]{1,100}")


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks: a session by its token, a user by the project's authentication, or trusted server code (neither)."""

    session: UUID | None = None
    user_id: Any = None
    permissions: frozenset[str] = field(default_factory=frozenset)
    trusted: bool = False

    def may(self, permission: str) -> bool:
        return self.trusted or permission in self.permissions


SERVER = Actor(trusted=True)
MANAGE = "session_mgmt.change_clientsession"
MESSAGE = "session_mgmt.message_clientsession"
PUBLISH = "session_mgmt.add_publication"


def access_session(using: str, actor: Actor, session: UUID) -> ClientSession:
    """The session, if the actor is it, owns it, or manages all. Raises ``SessionNotFound``."""
    found = ClientSession.objects.using(using).select_related("user", "activity").filter(pk=session).first()
    if found is None or not _is_theirs(actor, found):
        raise SessionNotFound()
    return found


def _is_theirs(actor: Actor, session: ClientSession) -> bool:
    if actor.may(MANAGE) or actor.session == session.pk:
        return True
    return actor.user_id is not None and session.user_id == actor.user_id


def may_follow(session: ClientSession, topic: str) -> None:
    """Ask the application whether a session may follow a topic; default no. Raises ``TopicDenied``."""
    found = registry.find(topic) if is_topic(topic) else None
    if found is None or not _allows(found[0].allows_follow, session, found[1]):
        raise TopicDenied()


def may_publish(session: ClientSession, topic: str) -> None:
    """Ask the application whether a session may publish to a topic; default no. Raises ``PublishDenied``."""
    found = registry.find(topic) if is_topic(topic) else None
    if found is None or not _allows(found[0].allows_publish, session, found[1]):
        raise PublishDenied()


def is_declared(topic: str) -> bool:
    """Whether the application has a topic of this name."""
    return is_topic(topic) and registry.find(topic) is not None


def _allows(
    ask: Callable[[ClientSession, dict[str, str]], bool], session: ClientSession, parts: dict[str, str]
) -> bool:
    """The application's answer. ``orders:abc`` where it looks up a number is no such topic, and no fault."""
    try:
        return ask(session, parts)
    except (ValueError, TypeError, LookupError, ObjectDoesNotExist, ValidationError) as error:
        logger.info("The rights of a topic could not be told from its name: %r", error)
        return False


def is_topic(topic: str) -> bool:
    """Whether the text can name a topic at all."""
    return isinstance(topic, str) and _TOPIC.fullmatch(topic) is not None


def is_document(name: str) -> bool:
    """Whether the text can name a document."""
    return isinstance(name, str) and _DOCUMENT.fullmatch(name) is not None


def must_be_document(name: str) -> None:
    """Raises ``InvalidField`` for what can name no document."""
    if not is_document(name):
        raise InvalidField("A document's name is text of 1 to 100 characters without a slash.", field="doc")


def is_key(key: str) -> bool:
    """Whether the text can be the key that makes a repetition harmless, or a label."""
    return isinstance(key, str) and _KEY.fullmatch(key) is not None
