"""Sessions that survive: durable state, subscriptions and missed messages for every client of a Django site.

Importing this package loads no Django; the pure rooms and the client work without it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

__version__ = "0.1.0"


def beat_schedule(*, cleanup_interval: timedelta = timedelta(minutes=5)) -> dict[str, dict[str, Any]]:
    """Entries for Celery beat: the cleanup, and the drain for processes that serve no sockets.

    ``expires`` is shorter than the interval, so that a backlog after downtime runs once and not once per missed beat.
    """
    seconds = cleanup_interval.total_seconds()
    return {
        "session_mgmt.cleanup": {
            "task": "session_mgmt.cleanup_sessions",
            "schedule": seconds,
            "options": {"expires": seconds * 0.9},
        },
        "session_mgmt.drain": {
            "task": "session_mgmt.drain_outbox",
            "schedule": 10.0,
            "options": {"expires": 9.0},
        },
    }
