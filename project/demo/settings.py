"""The project's settings with a quick heartbeat, so that nobody waits half a minute to see a cut noticed."""

from __future__ import annotations

from project.settings import *  # noqa: F403 - settings are made to be taken over whole

SESSION_MGMT = {
    # A stranger tries this without an account.
    "anonymous_sessions": True,
    "heartbeat_interval": 2.0,
    "heartbeat_missed_limit": 2,
    "reconnect_initial": 0.25,
    "reconnect_maximum": 2.0,
}
