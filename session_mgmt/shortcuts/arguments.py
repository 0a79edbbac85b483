"""Convert the arguments of the public functions. Any unusable value raises ``InvalidField``."""

from __future__ import annotations

import re
import uuid
from typing import Any, TypeAlias

from django.contrib.auth import get_user_model

from session_mgmt.exceptions import InvalidField
from session_mgmt.models import ClientSession

Session: TypeAlias = ClientSession | uuid.UUID | str

# NUL, and lone surrogates, which cannot be encoded in UTF-8.
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


def as_session_id(session: Session) -> uuid.UUID:
    """Return the id of a session that is given as a ``ClientSession``, a UUID, or the text of one. Raises
    ``InvalidField``.
    """
    if isinstance(session, ClientSession):
        return session.pk
    if isinstance(session, uuid.UUID):
        return session
    if isinstance(session, str):
        return as_uuid(session, "session")
    # Keep the value out of the message, because it may be a result object that contains a token.
    kind = type(session).__name__
    raise InvalidField(f"A session is a ClientSession or its id, not {kind}.", field="session")


def as_uuid(given: Any, field: str) -> uuid.UUID:
    """Return an id that is given as a UUID or as its text. Raises ``InvalidField``."""
    if isinstance(given, uuid.UUID):
        return given
    try:
        return uuid.UUID(given)
    except (AttributeError, TypeError, ValueError) as error:
        raise InvalidField(f"{field} is no UUID.", field=field) from error


def as_user(given: Any) -> Any:
    """Return a stored user, or ``None``. Raises ``InvalidField``."""
    if given is None or (isinstance(given, get_user_model()) and given.pk is not None):
        return given
    if getattr(given, "is_anonymous", False):
        raise InvalidField("A session of an anonymous user has user=None.", field="user")
    raise InvalidField(f"user is a stored user or None, not {type(given).__name__}.", field="user")


def as_owner(given: Any) -> Any:
    """Return a stored user. Raises ``InvalidField``."""
    user = as_user(given)
    if user is None:
        raise InvalidField("user is a stored user.", field="user")
    return user


def as_text(given: Any, field: str) -> str:
    """Return a text that a database can store. Raises ``InvalidField``."""
    if isinstance(given, str) and not _UNSTORABLE.search(given):
        # Convert subclasses, such as Django's safe strings, to plain strings.
        return str.__str__(given)
    raise InvalidField(f"{field} is text without NUL.", field=field)


def as_label(given: Any, field: str, most: int) -> str:
    """Return a text of limited length. Raises ``InvalidField``."""
    text = as_text(given, field)
    if len(text) > most:
        raise InvalidField(f"{field} is text of at most {most} characters.", field=field)
    return text


def as_version(given: Any, field: str = "version") -> int:
    """Return the number of a version. Raises ``InvalidField``."""
    # A very large number is no error here: the function that reads the version reports that it does not exist.
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    raise InvalidField(f"{field} is the number of a version.", field=field)


def as_version_or_label(given: Any, field: str = "version") -> int | str:
    """Return the number of a version, or a label. Raises ``InvalidField``."""
    return str.__str__(given) if isinstance(given, str) else as_version(given, field)


def as_count(given: Any, field: str) -> int:
    """Return a whole number of at least 1. Raises ``InvalidField``."""
    if isinstance(given, int) and not isinstance(given, bool) and given > 0:
        return given
    raise InvalidField(f"{field} is a whole number from 1.", field=field)
