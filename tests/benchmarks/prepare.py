"""Run with a benchmark's environment: make the tables and so many sessions, and print their tokens as JSON."""

from __future__ import annotations

import json
import sys

import django
from django.core.management import call_command
from django.db import transaction

django.setup()

from session_mgmt.actions import sessions  # noqa: E402


def main(count: int) -> list[str]:
    """The tokens of ``count`` new sessions."""
    call_command("migrate", run_syncdb=True, verbosity=0)
    with transaction.atomic():
        return [sessions.create().token.secret for _ in range(count)]


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]))))
