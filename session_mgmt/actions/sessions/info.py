"""Describe a session to clients in the same way on all transports."""

from __future__ import annotations

import uuid
from typing import Any

from django.urls import NoReverseMatch, get_script_prefix, reverse

from session_mgmt.actions.sessions.proving import LiveSession
from session_mgmt.conf import settings
from session_mgmt.models import ClientSession
from session_mgmt.models.clock import as_text

# Calls of clients over HTTP, and the names of their routes.
_CALLS = {
    "connections": "connections",
    "poll": "connection-poll",
    "frames": "connection-frames",
    "leave": "connection-leave",
}


def describe_session(session: ClientSession | LiveSession, connection_state: str) -> dict[str, Any]:
    """Return ``SessionInfo`` (PROTOCOL section 2); the ``activity`` of a model instance should be loaded already.

    ``connection_state`` is ``disconnected``, ``connected`` or ``reconnecting``; ``connections.read_states`` reads it
    for many sessions at once.
    """
    activity = session if isinstance(session, LiveSession) else session.activity
    return {
        "session_id": str(session.pk),
        "user_id": None if session.user_id is None else str(session.user_id),
        "state": str(session.state),
        "created_at": as_text(session.created_at),
        "last_active_at": as_text(activity.last_active_at),
        "expires_at": as_text(activity.expires_at),
        "connection_state": connection_state,
        "label": session.label,
        "metadata": session.metadata,
        **({"acting": session.acting} if session.acting else {}),
    }


def describe_listed(session: ClientSession, connection_state: str, *, own: uuid.UUID | None) -> dict[str, Any]:
    """Return ``SessionInfo`` for a list of a user's sessions; only the caller's own session shows its metadata."""
    fields = describe_session(session, connection_state)
    return fields if session.pk == own else {**fields, "metadata": {}}


def list_endpoints(session: uuid.UUID, script_name: str = "") -> dict[str, str]:
    """Return the URL paths of a session by name: of the WebSocket, the session, and the calls of connections.

    ``script_name`` is the prefix under which the project is served: ``SCRIPT_NAME`` of a request, ``root_path`` of a
    scope. Without the REST URLs, only ``websocket`` is returned.
    """
    found = {"websocket": script_name.rstrip("/") + settings().websocket_path}
    address = _find_address("session-detail", script_name, pk=session)
    if address is None:
        return found
    calls = {name: _find_address(route, script_name) or "" for name, route in _CALLS.items()}
    return {**found, "session": address, **calls}


def find_document_address(session: uuid.UUID, name: str, script_name: str = "") -> str | None:
    """Return the URL path of a document that is too large for a frame; ``None`` without the REST URLs."""
    return _find_address("document-detail", script_name, pk=session, name=name)


def _find_address(route: str, script_name: str, **parts: Any) -> str | None:
    try:
        path = reverse(f"session_mgmt:{route}", kwargs=parts)
    except NoReverseMatch:
        return None
    # The thread of a WebSocket has no script prefix, that of a request has one: remove it, and add the given one.
    return f"{script_name.rstrip('/')}/{path.removeprefix(get_script_prefix())}"
