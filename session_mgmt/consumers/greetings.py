"""First and last frames of a connection (PROTOCOL sections 2 and 10)."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import orjson
from django.conf import settings as django_settings

from session_mgmt import __version__
from session_mgmt.actions.sessions import info
from session_mgmt.actions.sessions.attachments import Attachment
from session_mgmt.conf import Settings, settings
from session_mgmt.consumers import verdicts
from session_mgmt.models import clock
from session_mgmt.protocol.codes import Close
from session_mgmt.protocol.configuration import Configuration

# Other settings of this kind limit the server's own memory and rows, and a client could not react to them.
LIMITS = (
    "frame_bytes",
    "frames_per_second",
    "document_bytes",
    "depth",
    "keys",
    "key_bytes",
    "string_bytes",
    "ops",
    "documents",
    "subscriptions",
    "clients",
    "connections_per_user",
    "connections_per_session",
    "publication_bytes",
    "metadata_bytes",
    "conflicts",
    "conflict_bytes",
    "checkpoints",
)


# Placeholder for a session's id in a URL.
_ANYBODY = str(uuid.UUID(int=0))


def build_connected(
    attachment: Attachment, verdict: str, reason: str, *, config: Configuration, script_name: str
) -> dict[str, Any]:
    """Build the ``connected`` frame: the client's name, and the position of each of its logs."""
    denied = {name: {"mode": "denied", "error": error.as_dict()} for name, error in attachment.denied.items()}
    return {
        "type": "connected",
        "session": info.describe_session(attachment.session, "connected"),
        "client_id": attachment.client_id,
        "generation": attachment.generation,
        "last_seq": attachment.last_seq,
        "went_back": attachment.went_back,
        "verdict": verdict,
        "reason": reason,
        "logs": {**{name: verdicts.build_verdict(log) for name, log in attachment.logs.items()}, **denied},
        "subscriptions": attachment.subscriptions,
        "heartbeat": config.as_dict(),
        **_SETTINGS.build(),
        "endpoints": build_endpoints(attachment.session.pk, script_name),
        "server_time": clock.as_text(attachment.at),
        # The browser client of the same version is among the app's static files.
        "sdk": __version__,
    }


def build_endpoints(session: uuid.UUID, script_name: str) -> dict[str, str]:
    """Build the URLs of a session, like ``info.list_endpoints``, for a client whose language is not known yet."""
    found = _find_endpoints(script_name, django_settings.ROOT_URLCONF)
    # Only once, because the text of a UUID is made in Python.
    key = str(session)
    return {name: address.replace(_ANYBODY, key) for name, address in found}


@lru_cache(maxsize=16)
def _find_endpoints(script_name: str, _urlconf: Any) -> tuple[tuple[str, str], ...]:
    # Django would search all routes for each client, and all clients of a storm need the same answer.
    return tuple(info.list_endpoints(uuid.UUID(_ANYBODY), script_name).items())


def build_ranges() -> dict[str, tuple[float, float]]:
    """Build the ranges of what a client may ask for; the server's own values are always among them."""
    now = settings()
    return {
        "interval": _widen(now.interval_range, now.heartbeat_interval),
        "missed_limit": _widen(now.missed_limit_range, now.heartbeat_missed_limit),
        "batch": _widen(now.batch_range, 0.0),
    }


def _widen(given: Sequence[float], own: float) -> tuple[float, float]:
    return min(*given, own), max(*given, own)


class _SettingsParts:
    """Parts of ``connected`` that tell settings alone: encoded once, and again when the settings change."""

    def __init__(self) -> None:
        self._settings: Settings | None = None
        self._parts: dict[str, orjson.Fragment] = {}

    def build(self) -> dict[str, orjson.Fragment]:
        now = settings()
        # Compare the objects, because each change of settings makes a new one.
        if now is not self._settings:
            parts = {"ranges": build_ranges(), "limits": _build_limits(), "retry": _build_retry()}
            self._parts = {name: orjson.Fragment(orjson.dumps(part)) for name, part in parts.items()}
            self._settings = now
        return self._parts


_SETTINGS = _SettingsParts()


def _build_limits() -> dict[str, float]:
    """Build the limits that a client should know before it runs into them: every ``max_`` setting of a client."""
    now = settings()
    return {name: getattr(now, f"max_{name}") for name in LIMITS}


def _build_retry() -> dict[str, float]:
    now = settings()
    return {
        "initial": now.reconnect_initial,
        "maximum": now.reconnect_maximum,
        "factor": now.reconnect_factor,
        "attempts": now.reconnect_attempts,
    }


def build_bye(code: Close, *, retry_after: float | None = None, reason: str = "") -> dict[str, Any]:
    """Build the ``bye`` frame that is sent before a close."""
    return {
        "type": "bye",
        "code": int(code),
        "name": code.name.lower(),
        "reconnect": code.reconnect,
        "retry_after": retry_after,
        **({"reason": reason} if reason else {}),
    }
