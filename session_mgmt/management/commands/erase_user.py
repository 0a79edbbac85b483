"""``manage.py erase_user``: erase all data of a user."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.db import IntegrityError

from session_mgmt.actions import audit
from session_mgmt.actions.privacy.erasure import erase_user
from session_mgmt.management.base import ReportCommand
from session_mgmt.management.people import find_user


class Command(ReportCommand):
    help = "Erase a user's sessions and their data, logins, personal publications, and traces in the audit trail."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("user", help="Name of the user. The account is kept.")
        parser.add_argument("--dry-run", action="store_true", help="Only count; erase nothing.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    def handle(self, *args: Any, **options: Any) -> None:
        user = find_user(options["user"])
        try:
            report = erase_user(user, self.count_done, dry_run=options["dry_run"]).as_dict()
        except IntegrityError as error:
            raise CommandError("Rows of the project protect a session of this user.", returncode=2) from error
        except KeyboardInterrupt:
            if not options["dry_run"]:
                with self.stops.hold():
                    audit.add_entry(audit.ERASE_USER, rows=dict(self.done))
            raise
        if options["json"]:
            self.print_json({"dry_run": options["dry_run"], **report})
            return
        for kind, rows in report.items():
            self.stdout.write(f"{kind:<14} {rows}")
