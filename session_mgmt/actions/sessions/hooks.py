"""Ask the project about a request: its tenant, who acts in it, when its user has logged in, and the scopes.

The answers are stored with sessions, so a request with an unusable answer fails: a guess could give access to data of
another tenant or user.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from session_mgmt.exceptions import InvalidField, PermissionDenied
from session_mgmt.models import ClientSession
from session_mgmt.protocol import scopes
from session_mgmt.user_code import UnusableAnswer, call_sync, find_hook

HIJACK = "hijack_history"


def find_tenant(request: Any) -> str:
    """Return the name of the tenant that a request belongs to; empty if the project has none."""
    function = find_hook("tenant_of")
    found = None if function is None else call_sync(function, request)
    return "" if found is None else _check_text("tenant_of", found, _limit_of("tenant"))


def find_impersonator(request: Any, *, is_by_cookie: bool) -> str:
    """Return who acts for a request's user, by primary key if it is a user; empty for nobody."""
    function = find_hook("impersonator_of")
    if function is not None:
        found = call_sync(function, request)
    else:
        # With a proof in a header, the cookie may belong to somebody else and says nothing.
        found = _find_hijacker(request) if is_by_cookie else None
    if found is None:
        return ""
    return _check_text("impersonator_of", str(getattr(found, "pk", found)), _limit_of("acting"))


def _find_hijacker(request: Any) -> Any:
    history = request.session.get(HIJACK)
    # A history in any form means that somebody acts for the user.
    return (history[-1] if isinstance(history, list) and history else HIJACK) if history else None


def find_auth_time(request: Any) -> datetime | None:
    """Return when the user of a request without a Django session has logged in, or ``None`` if that is unknown."""
    function = find_hook("auth_time_of")
    found = None if function is None else call_sync(function, request)
    if found is None:
        return None
    if isinstance(found, datetime):
        return found if found.tzinfo else found.astimezone(UTC)
    if isinstance(found, int | float) and not isinstance(found, bool):
        return datetime.fromtimestamp(found, UTC)
    raise UnusableAnswer(f"auth_time_of returned {type(found).__name__}; return a datetime, seconds or None.")


def find_scopes(request: Any, user: Any) -> tuple[str, ...]:
    """Return the scopes of a new session for a user or a visitor; an empty tuple means no limits.

    Raises ``PermissionDenied`` if the project returns an empty list.
    """
    function = find_hook("scopes_for")
    found = None if function is None else call_sync(function, request, user)
    if found is None:
        return ()
    if not isinstance(found, Iterable) or isinstance(found, str):
        raise UnusableAnswer(f"scopes_for returned {type(found).__name__}; return a list of scopes or None.")
    listed = list(found)
    if not listed:
        # An empty list would be stored as no limits.
        raise PermissionDenied("This login may have no session.")
    try:
        return tuple(scopes.check_scopes(listed))
    except InvalidField as error:
        raise UnusableAnswer(f"scopes_for: {error.detail}") from error


def _check_text(name: str, found: Any, most: int) -> str:
    if not isinstance(found, str) or len(found) > most or "\0" in found:
        raise UnusableAnswer(f"{name} returned no text of at most {most} characters.")
    return found


def _limit_of(column: str) -> int:
    field: Any = ClientSession._meta.get_field(column)
    return int(field.max_length)
