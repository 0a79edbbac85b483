"""What clients are told about a session, the same on every transport."""

from __future__ import annotations

import uuid
from typing import Any

from django.urls import NoReverseMatch, get_script_prefix, reverse

from session_mgmt.conf import settings
from session_mgmt.models import ClientSession
from session_mgmt.models.clock import as_text


def session_info(session: ClientSession, connection_state: str) -> dict[str, Any]:
    """``SessionInfo`` (PROTOCOL section 2); the session's ``activity`` should be loaded.

    ``connection_state`` is ``disconnected``, ``connected`` or ``reconnecting``; ``connections.states`` tells it for
    many sessions at once.
    """
    activity = session.activity
    return {
        "session_id": str(session.pk),
        "user_id": None if session.user_id is None else str(session.user_id),
        "state": str(session.state),
        "created_at": as_text(session.created_at),
        "last_active_at": as_text(activity.last_active_at),
        "expires_at": as_text(activity.expires_at),
        "connection_state": connection_state,
        "metadata": session.metadata,
    }


def endpoints(session: uuid.UUID, script_name: str = "") -> dict[str, str]:
    """Where this session is reached: ``websocket`` and ``session``, as paths of this host.

    ``script_name`` is the prefix under which the project is served: ``SCRIPT_NAME`` of a request, ``root_path`` of a
    scope.
    """
    found = {"websocket": script_name.rstrip("/") + settings().websocket_path}
    address = _address("session-detail", script_name, pk=session)
    return {**found, "session": address} if address else found


def document_address(session: uuid.UUID, name: str, script_name: str = "") -> str | None:
    """Where a document that is too large for a frame is fetched; ``None`` if the REST side is not mounted."""
    return _address("document-detail", script_name, pk=session, name=name)


def _address(route: str, script_name: str, **parts: Any) -> str | None:
    try:
        path = reverse(f"session_mgmt:{route}", kwargs=parts)
    except NoReverseMatch:
        return None
    # A WebSocket's thread has no script prefix, a request's has: take off what is there, put on what is known.
    return f"{script_name.rstrip('/')}/{path.removeprefix(get_script_prefix())}"
