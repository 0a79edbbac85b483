"""Limits that clients are told: whoever adds a limit decides whether clients must know it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from session_mgmt.conf import Settings
from session_mgmt.consumers.greetings import LIMITS

# Bounds of the server's own memory and rows, and one whose refusal says when to come back.
INTERNAL = {
    "sockets_per_address",
    "anonymous_per_address",
    "sessions_per_user",
    "outbound_bytes",
    "held",
    "revisions",
    "log_bytes",
    "requests_per_second",
}


def test_every_limit_is_told_or_is_the_servers_own() -> None:
    names = {field.name.removeprefix("max_") for field in fields(Settings) if field.name.startswith("max_")}
    assert names == set(LIMITS) | INTERNAL
    assert not set(LIMITS) & INTERNAL


async def test_a_client_is_told_the_limits_of_today_although_they_are_encoded_once(
    peers: Any, created: Any, settings: Any
) -> None:
    told = list[tuple[int, float]]()
    for most in (17, 18):
        settings.SESSION_MGMT = {"MAX_DOCUMENTS": most, "RECONNECT_INITIAL": float(most)}
        connected = await peers().open(created.token.secret)
        told.append((connected["limits"]["documents"], connected["retry"]["initial"]))
    assert told == [(17, 17.0), (18, 18.0)]
