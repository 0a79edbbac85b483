"""Process that creates tables, sessions, and documents of the baseline, and prints the tokens as JSON.

Run it with a benchmark's environment.
"""

from __future__ import annotations

import json
import os
import sys

import django
from django.core.management import call_command
from django.db import transaction

django.setup()

from session_mgmt.actions.sessions import lifecycle  # noqa: E402
from tests.benchmarks import samples  # noqa: E402
from tests.benchmarks.baseline.models import Whole  # noqa: E402


def make_tables() -> None:
    """Make the tables, unless the file is a copy of one that has them (BENCHMARK_MIGRATED)."""
    if not os.environ.get("BENCHMARK_MIGRATED"):
        call_command("migrate", run_syncdb=True, verbosity=0)


def main(count: int, sizes: list[int]) -> list[str]:
    """Create ``count`` sessions and return their tokens. The baseline's documents have their sizes as keys."""
    make_tables()
    for size in sizes:
        Whole.objects.update_or_create(pk=size, defaults={"data": samples.document(size)})
    with transaction.atomic():
        return [lifecycle.create_session().token.secret for _ in range(count)]


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), [int(size) for size in sys.argv[2:]])))
