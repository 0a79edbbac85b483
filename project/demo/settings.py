"""Settings of the demo: those of the project, with a quick heartbeat so that a cut is noticed within seconds."""

from __future__ import annotations

from typing import Any

from project.settings import *  # noqa: F403 - settings are made to be taken over whole

SESSION_MGMT: dict[str, Any] = {
    # The demo has no accounts.
    "anonymous_sessions": True,
    "heartbeat_interval": 2.0,
    "heartbeat_missed_limit": 2,
    "reconnect_initial": 0.25,
    "reconnect_maximum": 2.0,
}
