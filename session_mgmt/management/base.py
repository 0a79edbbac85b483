"""Bases of the commands: signals, closed pipes and a database that is away end them with a line and no traceback."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections import Counter
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from session_mgmt.management.stopping import Stopped, Stops
from session_mgmt.models.outages import explain_outage, is_forbidden, is_outage, is_read_only, is_unmigrated

# Apart from 1, by which some commands say what they have found.
NO_DATABASE: Final = 3
# Those that a shell gives for a signal, SIGPIPE too.
OF_SIGNAL: Final = 128
CLOSED_PIPE: Final = 141


class ShellCommand(BaseCommand):
    """Command that people stop, and whose output other programs read."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.stops = Stops()

    def run_from_argv(self, argv: list[str]) -> None:
        code: Any = 0
        try:
            with self.stops.catch():
                super().run_from_argv(argv)
        except Stopped as stopped:
            self.tell_progress(self.explain_stop(stopped))
            code = OF_SIGNAL + stopped.number
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ENOSPC):
                raise
            code = CLOSED_PIPE if error.errno == errno.EPIPE else 1
            self._tell_full(error)
        except SystemExit as ended:
            code = ended.code
        # Here, where a closed pipe can still be told: Python itself would write a traceback at its end.
        if not self._flush_output() and not code:
            code = CLOSED_PIPE
        if code:
            sys.exit(code)

    def _flush_output(self) -> bool:
        """Return False if nobody reads the output, or nothing holds it."""
        try:
            sys.stdout.flush()
        except OSError as error:
            # To nowhere, so that Python does not try again when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self._tell_full(error)
            return False
        return True

    def _tell_full(self, error: OSError) -> None:
        if error.errno != errno.EPIPE:
            self.tell_progress(f"The output could not be written: {error.strerror}.")

    def explain_stop(self, stopped: Stopped) -> str:
        """Return the line for people about a stop."""
        return f"Stopped by {stopped}. Nothing was changed. Run it again at any time."

    def tell_progress(self, text: str) -> None:
        """Write a line to stderr, so that the report on stdout can be piped; nobody has to read it."""
        try:
            self.stderr.write(text)
        except BrokenPipeError:
            # The work goes on: its report may still be read.
            self.stderr.write = _write_nothing  # type: ignore[method-assign]


class DatabaseCommand(ShellCommand):
    """Command that needs the database; it ends with 3 where that does not answer, or takes no writes."""

    def execute(self, *args: Any, **options: Any) -> Any:
        try:
            return super().execute(*args, **options)
        except Error as error:
            told = _explain_error(error)
            if told is None:
                raise
            raise CommandError(told, returncode=NO_DATABASE) from error


class ReportCommand(DatabaseCommand):
    """Command that reports: text for people, or with ``--json`` one JSON object, which tells an error too.

    ``done`` counts what was done so far, by step.
    """

    # Those that only read say after a stop that nothing was changed.
    does = "Done so far"
    is_quiet = False
    _reports_json = _has_reported = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.done: Counter[str] = Counter()

    def execute(self, *args: Any, **options: Any) -> Any:
        self._reports_json, self._has_reported = bool(options.get("json")), False
        self.is_quiet = self._reports_json or options.get("verbosity") == 0
        self.done.clear()
        try:
            return super().execute(*args, **options)
        except CommandError as error:
            # Once: a report may be followed by an error about what it has found.
            if self._reports_json and not self._has_reported:
                self.print_json({"error": str(error)})
            raise

    def print_json(self, value: Any) -> None:
        """Write the one object of ``--json``."""
        self._has_reported = True
        self.stdout.write(json.dumps(value))

    def count_done(self, step: str, rows: int) -> None:
        """Count what a step has done, and tell it."""
        self.done[step] += rows
        if not self.is_quiet:
            self.tell_progress(f"{step}: {rows} more")

    def explain_stop(self, stopped: Stopped) -> str:
        done = ", ".join(f"{step} {rows}" for step, rows in self.done.items() if rows)
        told = super().explain_stop(stopped)
        if done:
            told = f"Stopped by {stopped}. {self.does}: {done}. Run it again for the rest."
        if self._reports_json and not self._has_reported:
            self.print_json({"error": told, "done": dict(self.done)})
        return told


def _explain_error(error: Error) -> str | None:
    """Return the line about an error of the database; ``None`` for one that is a fault of the code."""
    if is_unmigrated(error):
        return explain_outage(error).detail
    if is_read_only(error) or is_forbidden(error):
        hint = "Use one, and a user of it, that may write its tables."
        return f"The database refused: {str(error).strip()}. {hint}"
    if is_outage(error):
        return f"The database did not answer: {str(error).strip()}"
    return None


def _write_nothing(*_: Any, **__: Any) -> None:
    """Write nothing: nobody reads it."""
