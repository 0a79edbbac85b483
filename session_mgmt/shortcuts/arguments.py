"""Arguments of the public functions: a session and ids, in every form that they come in."""

from __future__ import annotations

import uuid
from typing import Any, TypeAlias

from session_mgmt.exceptions import InvalidField
from session_mgmt.models import ClientSession

Session: TypeAlias = ClientSession | uuid.UUID | str


def as_session_id(session: Session) -> uuid.UUID:
    """Return the id of a session that is given as a row, an id, or an id's text. Raises ``InvalidField``."""
    if isinstance(session, ClientSession):
        return session.pk
    if isinstance(session, uuid.UUID):
        return session
    if isinstance(session, str):
        return as_uuid(session, "session")
    # The value itself stays out of the message: it may be a result that holds a token.
    kind = type(session).__name__
    raise InvalidField(f"A session is a ClientSession or its id, not {kind}.", field="session")


def as_uuid(given: Any, field: str) -> uuid.UUID:
    """Return an id that is given as such or as text. Raises ``InvalidField``."""
    if isinstance(given, uuid.UUID):
        return given
    try:
        return uuid.UUID(given)
    except (AttributeError, TypeError, ValueError) as error:
        raise InvalidField(f"{field} is no UUID.", field=field) from error
