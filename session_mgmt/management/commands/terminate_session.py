"""``manage.py terminate_session``: end sessions for good, by id or by user."""

from __future__ import annotations

import uuid
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from session_mgmt.actions import audit
from session_mgmt.actions.access import SERVER
from session_mgmt.actions.sessions import devices, lifecycle
from session_mgmt.exceptions import SessionNotFound
from session_mgmt.management.base import ReportCommand
from session_mgmt.management.people import find_user
from session_mgmt.models import ClientSession


class Command(ReportCommand):
    help = "End sessions for good: their tokens stop working and their connections are closed."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("sessions", nargs="*", type=uuid.UUID, help="Ids of sessions.")
        parser.add_argument("--user", help="Name of a user, for all active sessions of that user.")
        parser.add_argument("--reason", default="command", help="Kept with the session; at most 60 characters.")
        parser.add_argument("--dry-run", action="store_true", help="List the sessions only; end none.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    def handle(self, *args: Any, **options: Any) -> None:
        wanted = [*options["sessions"], *(self._list_of_user(options["user"]) if options["user"] else [])]
        if not wanted and not options["user"]:
            raise CommandError("Name sessions, or a user with --user.")
        # In the order of asking, each once: a session may be named by its id and by its user.
        # Their states first, because sessions of one browser end together.
        states = {session: self._read_state(session) for session in dict.fromkeys(wanted)}
        outcomes = {str(session): self._end_session(session, state, options) for session, state in states.items()}
        if options["json"]:
            self.print_json({"dry_run": options["dry_run"], "sessions": outcomes})
        else:
            for session, outcome in outcomes.items():
                self.stdout.write(f"{session} {outcome}")
        if "not_found" in outcomes.values():
            raise CommandError("Some of the sessions do not exist.")

    def _list_of_user(self, name: str) -> list[uuid.UUID]:
        # By the project's own field for names, which need not be `username`.
        return list(lifecycle.list_active(SERVER, user=find_user(name)).values_list("pk", flat=True))

    def _read_state(self, session: uuid.UUID) -> str:
        try:
            return str(lifecycle.read_session(SERVER, session).state)
        except SessionNotFound:
            return "not_found"

    def _end_session(self, session: uuid.UUID, state: str, options: dict[str, Any]) -> str:
        if options["dry_run"] or state == "not_found":
            return state
        if state != ClientSession.State.ACTIVE:
            return "ended before"
        with self.stops.hold():
            try:
                devices.end_device(SERVER, session, reason=options["reason"])
            except SessionNotFound:
                # The cleanup has deleted it since it was looked up.
                return "not_found"
            audit.add_entry("terminate", session=session, reason=options["reason"][:60])
            self.done["terminated"] += 1
        return "terminated"
