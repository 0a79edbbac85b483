"""``manage.py cleanup_sessions``: run the cleanup by hand or from cron."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from session_mgmt.actions import audit, cleanup
from session_mgmt.management.base import ReportCommand


class Command(ReportCommand):
    help = "End expired sessions, close connections of dead processes, and delete rows past their retention."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Only count; change nothing.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            report: dict[str, Any] = cleanup.run_cleanup(self.count_done, dry_run=options["dry_run"]).as_dict()
        except KeyboardInterrupt:
            if not options["dry_run"]:
                with self.stops.hold():
                    audit.add_entry("cleanup", **dict[str, Any](self.done))
            raise
        if not options["dry_run"]:
            audit.add_entry("cleanup", **report)
        if options["json"]:
            self.print_json({"dry_run": options["dry_run"], **report})
        else:
            for step, rows in report.items():
                self.stdout.write(f"{step:<14} {rows}")
        # A separate exit code for cron and monitoring: the other steps have run, but one needs attention.
        if report["failed"]:
            sys.exit(2)
