"""``manage.py rotate_state_keys``: encrypt everything with the first key of ``state_keys``."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from session_mgmt.actions import audit
from session_mgmt.actions.keys import rotation, usage
from session_mgmt.actions.keys.rotation import Rotation
from session_mgmt.conf import settings
from session_mgmt.exceptions import StateUnreadable
from session_mgmt.management.base import ReportCommand

_EVERY = 100


class Command(ReportCommand):
    help = "Encrypt everything with the first of state_keys. You may stop it and run it again at any time."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Only count; change nothing.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    def handle(self, *args: Any, **options: Any) -> None:
        self._told = 0
        try:
            report = rotation.rotate_all(self._show_progress, dry_run=options["dry_run"])
        except StateUnreadable as error:
            raise CommandError(f"{error.detail} Name one in state_keys (docs/howto/encryption.md).") from error
        except KeyboardInterrupt:
            if not options["dry_run"]:
                with self.stops.hold():
                    audit.add_entry("rotate_state_keys", rows=dict(self.done))
            raise
        if not options["dry_run"]:
            audit.add_entry("rotate_state_keys", rows=report.as_dict())
        # Count the rows again, because the result decides whether the old key may be removed from the settings.
        rows = usage.count_rows(settings().database)
        missing = usage.list_missing_keys(set(rows))
        if options["json"]:
            told = {"dry_run": options["dry_run"], **report.as_dict(), "keys": rows, "missing": missing}
            self.print_json(told)
        else:
            self._print_report(report, rows)
        if missing:
            raise CommandError(f"Rows use keys that are not in state_keys: {', '.join(missing)}.", returncode=2)
        if report.unreadable:
            raise CommandError("Some documents could not be read. They stayed unchanged.", returncode=2)

    def _print_report(self, report: Rotation, rows: dict[str, dict[str, int]]) -> None:
        for what, count in report.as_dict().items():
            self.stdout.write(f"{what:<14} {count}")
        for key_id, counts in rows.items():
            listed = ", ".join(f"{count} {kind}" for kind, count in counts.items())
            self.stdout.write(f"{f'key {key_id}' if key_id else 'plain'}: {listed}")

    def _show_progress(self, what: str, count: int) -> None:
        """Print a count every 100 rows. Counts come one by one or in batches, and start again with each kind of row."""
        self.done[what] = count
        self._told = min(self._told, count)
        if not self.is_quiet and count - self._told >= _EVERY:
            self._told = count
            self.tell_progress(f"{what}: {count}")
