"""Sessions that survive: durable state, subscriptions and missed messages for every client of a Django site.

Importing this package loads no Django; ``protocol``, ``documents`` and ``client`` work without it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

__version__ = "0.1.0"
CLEANUP_TASK = "session_mgmt.cleanup_sessions"


def beat_schedule(*, cleanup_interval: timedelta | float = timedelta(minutes=5)) -> dict[str, dict[str, Any]]:
    """Return entries for Celery beat: the cleanup, the drain of the outbox, which servers of sockets do by themselves,
    and the sending of webhooks.

    ``cleanup_interval`` is a ``timedelta`` or a number of seconds. Raises ``ValueError`` for anything else.

    ``expires`` is shorter than the interval, so that a backlog after downtime runs once and not once per missed beat.
    """
    seconds = _read_seconds(cleanup_interval)
    return {
        "session_mgmt.cleanup": {
            "task": CLEANUP_TASK,
            "schedule": seconds,
            "options": {"expires": seconds * 0.9},
        },
        "session_mgmt.drain": {
            "task": "session_mgmt.drain_outbox",
            "schedule": 10.0,
            "options": {"expires": 9.0},
        },
        "session_mgmt.webhooks": {
            "task": "session_mgmt.send_webhooks",
            "schedule": 10.0,
            "options": {"expires": 9.0},
        },
    }


def _read_seconds(interval: Any) -> float:
    seconds = interval.total_seconds() if isinstance(interval, timedelta) else interval
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < float("inf"):
        raise ValueError(f"cleanup_interval is a timedelta or a positive number of seconds, not {interval!r}.")
    return float(seconds)
