"""``manage.py export_user``: print all data of a user."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator
from typing import Any

from session_mgmt.actions import audit
from session_mgmt.actions.privacy.export import export_user
from session_mgmt.management.base import ReportCommand
from session_mgmt.management.people import find_user


class Command(ReportCommand):
    help = "Print all data about a user as JSON: sessions, documents, events, connections, personal publications."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("user", help="Name of the user.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object, not one record per line.")
        parser.add_argument("--dry-run", action="store_true", help="Only count the records of each kind.")

    def handle(self, *args: Any, **options: Any) -> None:
        user = find_user(options["user"])
        if options["dry_run"]:
            self._print_counts(user, as_json=options["json"])
            return
        audit.add_entry(audit.EXPORT_USER, user_id=str(user.pk))
        records = export_user(user)
        if options["json"]:
            self._print_object(str(user.pk), records)
            return
        for number, record in enumerate(records, 1):
            self.stdout.write(json.dumps(record))
            if number % 1000 == 0 and not self.is_quiet:
                self.tell_progress(f"{number} records")

    def _print_object(self, user: str, records: Iterator[dict[str, Any]]) -> None:
        """Write the one object of ``--json`` record by record, because all records may not fit into memory."""
        self._has_reported = True
        self.stdout.write(f'{{"user": {json.dumps(user)}, "records": [', ending="")
        between, end = "\n", "]}"
        try:
            for record in records:
                self.stdout.write(between + json.dumps(record), ending="")
                between = ",\n"
        except BaseException as error:
            # Programs read an object also now; "error" tells them that it is not complete.
            end = f'], "error": {json.dumps(str(error) or type(error).__name__)}}}'
            raise
        finally:
            self.stdout.write(end)

    def _print_counts(self, user: Any, *, as_json: bool) -> None:
        counts = Counter(record["kind"] for record in export_user(user))
        if as_json:
            self.print_json({"dry_run": True, "records": counts})
            return
        for kind, rows in counts.items():
            self.stdout.write(f"{kind:<14} {rows}")
