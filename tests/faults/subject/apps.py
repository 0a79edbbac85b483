"""What the server does otherwise where tokens live for seconds (`settings.TOKENS`), where events are told to services
and handlers (`settings.HOOKS`), and where it is broken on purpose (`settings.BREAK`).
"""

from __future__ import annotations

import time
from datetime import timedelta
from importlib import import_module
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.signals import setting_changed

from tests.faults.breakage import break_server

SOCKET_GRACE = 0.5
ANSWER_SECONDS = 0.1
# Of webhooks: seconds after a failure, and the times of a worker.
FIRST_WAIT, LONGEST_WAIT = 0.2, 1.0
LEASE, TURN = timedelta(seconds=8), timedelta(seconds=1)


class Subject(AppConfig):
    name = "tests.faults.subject"

    def ready(self) -> None:
        # It needs the models.
        points = import_module("tests.faults.points")
        points.watch_points(points.obey_orders)
        for name in ("TOKENS", "HOOKS", "BREAK"):
            follow_setting(name, getattr(settings, name))
        # A process that sets Django up for many servers changes them afterwards (tests/forking.py).
        setting_changed.connect(lambda setting, value, **more: follow_setting(setting, value), weak=False)


def follow_setting(name: str, value: Any) -> None:
    """Do what a setting of the tests is there for."""
    if name == "TOKENS" and value:
        _allow_lifetime(value)
        _cut_off_soon()
        _answer_late()
    if name == "HOOKS" and value:
        _send_soon()
        import_module("tests.faults.subject.events").declare_handlers()
    if name == "BREAK" and value:
        break_server(value)


def _send_soon() -> None:
    """Let deliveries that failed, or whose worker died, be sent again within the run."""
    sending: Any = import_module("session_mgmt.actions.webhooks.sending")
    sending.FIRST_WAIT, sending.LONGEST_WAIT = FIRST_WAIT, LONGEST_WAIT
    sending.LEASE, sending.TURN = LEASE, TURN


def _allow_lifetime(seconds: float) -> None:
    """Let tokens live as briefly as no project may have them live, so that runs need not wait for their ends."""
    values: Any = import_module("session_mgmt.checks.values")
    values._LEAST["access_lifetime"] = seconds


def _cut_off_soon() -> None:
    """Let a socket outlive its token by little: who does not refresh loses it within the run."""
    lifetime: Any = import_module("session_mgmt.consumers.lifetime")
    lifetime.TOKEN_GRACE = SOCKET_GRACE


def _answer_late() -> None:
    """Stretch the moment between the commit of a refresh and its answer, so that a kill can come in between."""
    refreshing: Any = import_module("session_mgmt.actions.sessions.refreshing")
    refresh = refreshing.refresh_tokens

    def refresh_slowly(*args: Any, **named: Any) -> Any:
        refreshed = refresh(*args, **named)
        time.sleep(ANSWER_SECONDS)
        return refreshed

    refreshing.refresh_tokens = refresh_slowly
