"""``manage.py erase_user``: erase all that concerns a user."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.db import IntegrityError

from session_mgmt.actions.privacy.erasure import erase_user
from session_mgmt.management.base import DatabaseCommand
from session_mgmt.management.people import find_user


class Command(DatabaseCommand):
    help = "Erase a user's sessions with all that hangs on them, logins, personal publications, traces in the trail."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("user", help="Name of the user, whose account stays.")
        parser.add_argument("--dry-run", action="store_true", help="Count only; erase nothing.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    def handle(self, *args: Any, **options: Any) -> None:
        self._quiet = options["json"] or options["verbosity"] == 0
        user = find_user(options["user"])
        try:
            report = erase_user(user, self._show_progress, dry_run=options["dry_run"]).as_dict()
        except IntegrityError as error:
            raise CommandError("Rows of the project protect a session of this user.", returncode=2) from error
        if options["json"]:
            self.stdout.write(json.dumps({"dry_run": options["dry_run"], **report}))
            return
        for kind, rows in report.items():
            self.stdout.write(f"{kind:<14} {rows}")

    def _show_progress(self, step: str, rows: int) -> None:
        if not self._quiet:
            self.stderr.write(f"{step}: {rows} more")
