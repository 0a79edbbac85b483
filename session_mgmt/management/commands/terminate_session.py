"""``manage.py terminate_session``: end sessions permanently, by id or by user."""

from __future__ import annotations

import uuid
from argparse import ArgumentParser
from typing import Any, Final

from django.core.management.base import CommandError

from session_mgmt.actions import audit
from session_mgmt.actions.access import SERVER
from session_mgmt.actions.sessions import devices, lifecycle
from session_mgmt.management.base import ReportCommand, WrongArgument
from session_mgmt.management.people import find_user
from session_mgmt.models import ClientSession

_LONGEST_REASON: Final = int(ClientSession._meta.get_field("end_reason").max_length or 0)


class Command(ReportCommand):
    help = "End sessions for good. Their tokens become invalid, and their connections are closed."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("sessions", nargs="*", type=uuid.UUID, help="Ids of sessions.")
        parser.add_argument("--user", help="Name of a user whose active sessions all end.")
        parser.add_argument("--reason", default="command", help="Reason to store; at most 60 characters.")
        parser.add_argument("--dry-run", action="store_true", help="Only list the sessions; end none.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    def handle(self, *args: Any, **options: Any) -> None:
        if len(options["reason"]) > _LONGEST_REASON or not options["reason"].isprintable():
            raise WrongArgument(f"--reason must have at most {_LONGEST_REASON} characters, all printable.")
        wanted = [*options["sessions"], *(self._list_of_user(options["user"]) if options["user"] else [])]
        if not wanted and not options["user"]:
            raise WrongArgument("Name sessions, or a user with --user.")
        # In the given order, and each only once: a session may be named by its id and by its user.
        # Read their states first, because ending one may end other sessions of the same browser.
        states = lifecycle.read_states(wanted)
        outcomes = {str(session): states.get(session, "not_found") for session in wanted}
        if not options["dry_run"]:
            outcomes |= self._end_sessions(states, options["reason"])
        if options["json"]:
            self.print_json({"dry_run": options["dry_run"], "sessions": outcomes})
        else:
            for session, outcome in outcomes.items():
                self.stdout.write(f"{session} {outcome}")
        if "not_found" in outcomes.values():
            raise CommandError("Some of the sessions do not exist.")

    def _list_of_user(self, name: str) -> list[uuid.UUID]:
        # Use the user model's own name field, which need not be `username`.
        return list(lifecycle.list_active(SERVER, user=find_user(name)).values_list("pk", flat=True))

    def _end_sessions(self, states: dict[uuid.UUID, str], reason: str) -> dict[str, str]:
        outcomes = dict.fromkeys(map(str, states), "ended before")
        live = [session for session, state in states.items() if state == ClientSession.State.ACTIVE]
        groups = devices.end_devices(live, reason, lambda ended: self._note_ends(ended, reason))
        while True:
            with self.stops.hold():
                ended = next(groups, None)
                if ended is None:
                    break
                outcomes |= dict.fromkeys(map(str, ended), "terminated")
                self.count_done("terminated", len(ended))
        # The cleanup may have deleted it since the look-up.
        kept = lifecycle.read_states(states)
        return outcomes | {str(session): "not_found" for session in states if session not in kept}

    @staticmethod
    def _note_ends(ended: list[uuid.UUID], reason: str) -> None:
        audit.add_entries(audit.TERMINATE, ended, reason=reason)
