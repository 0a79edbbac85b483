"""``manage.py rotate_state_keys``: put all that is encrypted under the first of ``state_keys``."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from session_mgmt.actions import audit, rotation
from session_mgmt.exceptions import StateUnreadable


class Command(BaseCommand):
    help = "Encrypt again, under the first of state_keys, whatever is not; may be stopped and run again at any time."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Only count what would be done.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    def handle(self, *args: Any, **options: Any) -> None:
        self._quiet = options["json"] or options["verbosity"] == 0
        try:
            report = rotation.rotate(self._progress, dry_run=options["dry_run"]).as_dict()
        except StateUnreadable as error:
            raise CommandError(error.detail) from error
        if not options["dry_run"]:
            audit.note("rotate_state_keys", rows=report)
        if options["json"]:
            self.stdout.write(json.dumps({"dry_run": options["dry_run"], **report}))
        else:
            for what, count in report.items():
                self.stdout.write(f"{what:<14} {count}")
        if report["unreadable"]:
            raise CommandError("Some documents could not be read and stayed as they are.", returncode=2)

    def _progress(self, what: str, count: int) -> None:
        if not self._quiet and count and count % 100 == 0:
            self.stderr.write(f"{what}: {count}")
