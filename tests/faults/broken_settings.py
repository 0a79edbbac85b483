"""`settings`, with one deliberate fault in the server: SESSION_MGMT_TEST_BREAK names it (tests/faults/breakage.py)."""

from __future__ import annotations

from tests.faults.settings import *  # noqa: F403

INSTALLED_APPS = [*INSTALLED_APPS, "tests.faults.breakage.Breakage"]  # noqa: F405
