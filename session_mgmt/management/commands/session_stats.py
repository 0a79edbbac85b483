"""``manage.py session_stats``: print figures of the whole service, or of one session."""

from __future__ import annotations

import uuid
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandError

from session_mgmt.actions import monitoring
from session_mgmt.exceptions import SessionNotFound
from session_mgmt.management.base import ReportCommand


class Command(ReportCommand):
    help = "Show sessions, connections, and the delays of cleanup, outbox and handlers."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("session", nargs="?", type=uuid.UUID, help="Id of a session, to show only its figures.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    def handle(self, *args: Any, **options: Any) -> None:
        figures = self._read_figures(options["session"])
        if options["json"]:
            self.print_json(figures)
            return
        for name, value in flatten_figures(figures):
            self.stdout.write(f"{name:<28} {value}")

    def _read_figures(self, session: uuid.UUID | None) -> dict[str, Any]:
        if session is None:
            return monitoring.read_health()
        try:
            return monitoring.read_session_metrics(session)
        except SessionNotFound as error:
            raise CommandError(str(error)) from error


def flatten_figures(figures: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield a pair such as ``("outbox.lag", "0.0")`` for each figure."""
    for name, value in figures.items():
        if isinstance(value, dict) and value:
            yield from flatten_figures(value, f"{prefix}{name}.")
        else:
            listed = ", ".join(map(str, value)) if isinstance(value, list) else value
            yield f"{prefix}{name}", "-" if listed in (None, "", {}) else str(listed)
