"""Deliberately broken builds: a checker that has never failed proves nothing.

Each function takes one guarantee out of the running server. `--break NAME` starts the servers with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from django.apps import AppConfig

VARIABLE = "SESSION_MGMT_TEST_BREAK"


def ack_before_commit() -> None:
    """Answer a write before the transaction that holds it has committed."""


def skip_fence() -> None:
    """Let every attachment of a client write, not only the newest."""


def double_drain() -> None:
    """Carry out what the outbox holds twice."""


BREAKS: dict[str, Callable[[], None]] = {
    "ack_before_commit": ack_before_commit,
    "skip_fence": skip_fence,
    "double_drain": double_drain,
}


class Breakage(AppConfig):
    name = "tests.faults"
    label = "breakage"

    def ready(self) -> None:
        BREAKS[os.environ[VARIABLE]]()
