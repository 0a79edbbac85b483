"""Base of the commands: a database that is away, or has no tables yet, is told in a line and not by a traceback."""

from __future__ import annotations

from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from session_mgmt.models.outages import explain_outage, is_outage, is_unmigrated

# Apart from 1, by which some commands say what they have found.
NO_DATABASE: Final = 3


class DatabaseCommand(BaseCommand):
    """Command that needs the database; it ends with 3 where that does not answer."""

    def execute(self, *args: Any, **options: Any) -> Any:
        try:
            return super().execute(*args, **options)
        except Error as error:
            if is_unmigrated(error):
                raise CommandError(explain_outage(error).detail, returncode=NO_DATABASE) from error
            if is_outage(error):
                told = f"The database did not answer: {str(error).strip()}"
                raise CommandError(told, returncode=NO_DATABASE) from error
            raise
