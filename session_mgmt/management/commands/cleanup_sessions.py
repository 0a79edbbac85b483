"""``manage.py cleanup_sessions``: run the cleanup by hand or from cron."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from typing import Any

from session_mgmt.actions import audit, cleanup
from session_mgmt.management.base import DatabaseCommand


class Command(DatabaseCommand):
    help = "End expired sessions, close connections of dead processes, and delete rows past their retention."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Count only; change nothing.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    def handle(self, *args: Any, **options: Any) -> None:
        self._quiet = options["json"] or options["verbosity"] == 0
        report: dict[str, Any] = cleanup.run_cleanup(self._show_progress, dry_run=options["dry_run"]).as_dict()
        if not options["dry_run"]:
            audit.add_entry("cleanup", **report)
        if options["json"]:
            self.stdout.write(json.dumps({"dry_run": options["dry_run"], **report}))
        else:
            for step, rows in report.items():
                self.stdout.write(f"{step:<14} {rows}")
        # A code of its own, for cron and monitoring: the other steps have run, and one has to be looked at.
        if report["failed"]:
            sys.exit(2)

    def _show_progress(self, step: str, rows: int) -> None:
        if not self._quiet:
            # To stderr, so that the report on stdout can be piped into another program.
            self.stderr.write(f"{step}: {rows} more")
