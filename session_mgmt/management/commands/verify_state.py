"""``manage.py verify_state``: read every stored document row by row, and list damaged rows."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from session_mgmt.actions.keys import verification
from session_mgmt.actions.keys.verification import Finding
from session_mgmt.management.base import ReportCommand


class Command(ReportCommand):
    help = (
        "Look for gaps, broken chains and unreadable rows in all documents. The exit code is 1 if it finds any, and 2"
        " if a named document does not exist."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--name", action="append", help="Only documents with this name; may be repeated.")
        parser.add_argument(
            "--document", action="append", type=int, help="Only the document with this id; may be repeated."
        )
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    def handle(self, *args: Any, **options: Any) -> None:
        checked, found = 0, list[Finding]()
        wanted = options["document"] or ()
        # Refuse unknown documents: without any finding they would look like sound ones.
        missing = [str(document) for document in wanted if not verification.is_document(document)]
        missing += [repr(name) for name in options["name"] or () if not verification.is_name(name)]
        if missing:
            raise CommandError(f"There is no document {', '.join(missing)}.", returncode=2)
        for document in wanted or verification.list_documents(options["name"]):
            checked += 1
            found += verification.verify_document(document)
            if not self.is_quiet and checked % 100 == 0:
                self.tell_progress(f"{checked} documents, {len(found)} findings")
        # Receipts and outbox entries belong to no document, so they are left out if documents were chosen.
        if not options["document"] and not options["name"]:
            found += verification.verify_loose_rows()
        self._print_report(checked, found, options["json"])
        if found:
            raise CommandError(f"{len(found)} findings.", returncode=1)

    def _print_report(self, checked: int, found: list[Finding], as_json: bool) -> None:
        if as_json:
            listed = [finding.as_dict() for finding in found]
            self.print_json({"documents": checked, "findings": listed})
            return
        for finding in found:
            row = f"document {finding.document} {finding.row} {finding.version}"
            self.stdout.write(f"{row}: {finding.problem} {finding.detail}".rstrip())
        self.stdout.write(f"{checked} documents, {len(found)} findings")
