"""Check access: one error for "does not exist" and "not yours", so that nothing can be learnt from trying."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.core.exceptions import ObjectDoesNotExist, ValidationError

from session_mgmt.exceptions import (
    InvalidField,
    PermissionDenied,
    PublishDenied,
    ReauthRequired,
    SessionNotFound,
    TemporaryError,
    TopicDenied,
)
from session_mgmt.models import ClientSession
from session_mgmt.protocol.addresses import fits_address
from session_mgmt.protocol.patterns import is_topic
from session_mgmt.protocol.scopes import Restriction
from session_mgmt.registry import Presence, Topic, registry
from session_mgmt.user_code import call_sync, find_hook

logger = logging.getLogger(__name__)

# A part of a REST path cannot contain a slash.
_DOCUMENT = re.compile(r"[^\x00-\x1f\x7f/\ud800-\udfff]{1,100}")
# PostgreSQL refuses NUL, and lone surrogates cannot be encoded.
_KEY = re.compile(r"[^\x00\ud800-\udfff]{1,100}")


class Proof(NamedTuple):
    """Token that let a call in: its session, and the ``auth_version`` with which alone it proves it."""

    session: UUID
    auth_version: int


@dataclass(frozen=True, slots=True)
class Actor:
    """Caller: a session by its token, a user by the project's authentication, or trusted server code (neither).

    ``auth_time`` is when the user has logged in, if that is known. ``restriction`` holds the scopes of a token.
    ``proof`` is that token: whoever changes something for its session asks whether it still proves it.
    """

    session: UUID | None = None
    user_id: Any = None
    permissions: frozenset[str] = field(default_factory=frozenset)
    trusted: bool = False
    tenant: str = ""
    auth_time: datetime | None = None
    restriction: Restriction | None = None
    proof: Proof | None = None

    def may(self, permission: str) -> bool:
        """Return whether the caller has a permission."""
        return self.trusted or permission in self.permissions


SERVER = Actor(trusted=True)
# The permissions of people who act on sessions that are not their own, the same in the admin and over HTTP.
SEE = "session_mgmt.view_clientsession"
CHANGE = "session_mgmt.change_clientsession"
TERMINATE = "session_mgmt.terminate_clientsession"
MESSAGE = "session_mgmt.message_clientsession"
DISCONNECT = "session_mgmt.disconnect_clientsession"
SEE_STATE = "session_mgmt.view_statedocument"
CHANGE_STATE = "session_mgmt.change_statedocument"
RESTORE_STATE = "session_mgmt.restore_statedocument"
MAINTAIN_STATE = "session_mgmt.maintain_statedocument"
SEE_CONFLICTS = "session_mgmt.view_stateconflict"
RESOLVE_CONFLICTS = "session_mgmt.resolve_stateconflict"
PUBLISH = "session_mgmt.add_publication"
# Longest age of the login of a user who ends sessions of other devices.
SISTER_LOGIN = timedelta(minutes=15)


def access_session(
    using: str, actor: Actor, session: UUID, permissions: Iterable[str] = (), *, or_sister: bool = False
) -> ClientSession:
    """Return the session if the actor is it, or may act on it with these permissions.

    With ``or_sister`` also another session of the actor's user, which may be listed and ended, and nothing else. Raises
    ``SessionNotFound`` if the actor may not even see it, and ``PermissionDenied`` for any other permission that is
    missing.
    """
    found = ClientSession.objects.using(using).select_related("user", "activity").filter(pk=session).first()
    # The same error in all cases, or a stranger could find out which ids exist.
    if found is None or not (is_self(actor, found) or may_see(actor, found) or (or_sister and is_sister(actor, found))):
        raise SessionNotFound()
    if not (or_sister and is_sister(actor, found)):
        require_permissions(actor, found, permissions)
    return found


def require_permissions(actor: Actor, session: ClientSession, permissions: Iterable[str]) -> None:
    """Require these permissions, unless the actor is the session itself. Raises ``PermissionDenied``."""
    if not is_self(actor, session) and not all(actor.may(permission) for permission in permissions):
        raise PermissionDenied()


def is_self(actor: Actor, session: ClientSession) -> bool:
    """Return whether the actor is the session, by its token."""
    return actor.session == session.pk


def is_sister(actor: Actor, session: ClientSession) -> bool:
    """Return whether the session is another one of the actor's user, in the same tenant."""
    is_same_user = actor.user_id is not None and session.user_id == actor.user_id
    return is_same_user and not is_self(actor, session) and session.tenant == actor.tenant


def may_see(actor: Actor, session: ClientSession) -> bool:
    """Return whether the actor may see other users' sessions, and this one belongs to the actor's tenant."""
    return actor.trusted or (actor.may(SEE) and session.tenant == actor.tenant)


def require_recent_login(auth_time: datetime | None, max_age: timedelta, now: datetime) -> None:
    """Require a recent login; a login at an unknown time is never recent. Raises ``ReauthRequired``."""
    if auth_time is None or now - auth_time > max_age:
        raise ReauthRequired(max_age=int(max_age.total_seconds()))


def check_follow(session: ClientSession, topic: str) -> None:
    """Ask the application whether a session may follow a topic; default no. Raises ``TopicDenied``, or
    ``ReauthRequired`` if the application's function does.
    """
    found = _find_topic(session.tenant, topic)
    if found is None or not _ask_application(found[0], found[0].allows_follow, topic, session, found[1]):
        raise TopicDenied()


def check_publish(session: ClientSession, topic: str) -> None:
    """Ask the application whether a session may publish to a topic; default no. Raises ``PublishDenied``, or
    ``ReauthRequired`` if the application's function does.
    """
    found = _find_topic(session.tenant, topic)
    if found is None or not _ask_application(found[0], found[0].allows_publish, topic, session, found[1]):
        raise PublishDenied()


def ask_member(session: ClientSession, topic: str) -> tuple[Presence, Any]:
    """Ask the application as which member a session enters a topic that it may follow; ``None`` as itself.

    Raises ``TopicDenied`` or ``ReauthRequired``.
    """
    check_follow(session, topic)
    found = _find_topic(session.tenant, topic)
    if found is None or (presence := found[0].presence) is None:
        raise TopicDenied("One cannot enter this topic.")
    if (function := presence.member) is None:
        return presence, None
    answer = _ask_application(found[0], lambda one, parts: call_sync(function, one, **parts), topic, session, found[1])
    if isinstance(answer, bool) or not isinstance(answer, str | int | UUID):
        if answer is not None and answer is not False:
            logger.error(
                "member of presence of %s returned a %s; return text or a number.", topic, type(answer).__name__
            )
        raise TopicDenied("One cannot enter this topic.")
    return presence, str(answer)


def _find_topic(tenant: str, topic: str) -> tuple[Topic, dict[str, Any]] | None:
    """Find the declaration of a topic; a part of its name that is called ``tenant`` belongs to that tenant alone."""
    # Names come from clients: an impossible one is denied without a search.
    found = registry.find_topic(topic) if is_topic(topic) else None
    if found is None or "tenant" not in found[1] or find_hook("tenant_of") is None:
        return found
    return found if str(found[1]["tenant"]) == tenant else None


def is_declared(topic: str, tenant: str) -> bool:
    """Return whether the application has a topic of this name, for a caller of this tenant."""
    return _find_topic(tenant, topic) is not None


def _ask_application(
    declared: Topic,
    ask: Callable[[ClientSession, dict[str, Any]], Any],
    topic: str,
    session: ClientSession,
    parts: dict[str, Any],
) -> Any:
    """Ask the application. A function that fails answers False: it denies its topic and nothing else.

    ``orders:abc`` where it looks up a number is no such topic, and no fault. Raises ``ReauthRequired`` if the function
    does, and a ``TemporaryError`` if it can give no answer now: a database that restarts denies nothing.
    """
    try:
        return ask(session, parts)
    except (ReauthRequired, TemporaryError):
        raise
    except (ValueError, LookupError, ObjectDoesNotExist, ValidationError) as error:
        logger.info("The rights of a topic could not be told from its name: %r", error)
    except Exception as error:
        _report_once(declared, topic, error)
    return False


def _report_once(declared: Topic, topic: str, error: Exception) -> None:
    """Log each kind of fault of the application's function once, because clients ask again and again."""
    kind = type(error).__name__
    if kind not in declared.reported:
        declared.reported.add(kind)
        logger.error("Topic %s is denied, because its function fails", topic, exc_info=error)


def is_document(name: str) -> bool:
    """Return whether the text can name a document."""
    return isinstance(name, str) and _DOCUMENT.fullmatch(name) is not None and fits_address(name)


def check_document_name(name: str) -> None:
    """Raise ``InvalidField`` for a text that can name no document."""
    if not is_document(name):
        raise InvalidField("A document's name has 1 to 100 characters, no slash, and is not . or ..", field="doc")


def is_key(key: str) -> bool:
    """Return whether the text can be the key that makes a repetition harmless, or a label."""
    return isinstance(key, str) and _KEY.fullmatch(key) is not None
