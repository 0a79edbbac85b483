"""Base classes of the commands, which end with one line instead of a traceback after a signal, a closed pipe or an
outage.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import sys
from collections import Counter
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error

from session_mgmt.management.stopping import Stopped, Stops
from session_mgmt.models.outages import explain_outage, is_damaged, is_forbidden, is_outage, is_read_only, is_unmigrated

# Not 1, with which some commands report findings.
WRONG_ARGUMENT: Final = 2
NO_DATABASE: Final = 3
# The exit codes that a shell uses for these signals.
OF_SIGNAL: Final = 128
CLOSED_PIPE: Final = 141


class WrongArgument(CommandError):
    """An argument that cannot be meant, by itself or beside the others: ends the command as argparse does."""

    def __init__(self, message: str) -> None:
        super().__init__(message, returncode=WRONG_ARGUMENT)


class ShellCommand(BaseCommand):
    """Command that people may interrupt, and whose output may be read by other programs."""

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
        # Flush here, where a closed pipe can still be handled; at exit Python would print a traceback.
        if not self._flush_output() and not code:
            code = CLOSED_PIPE
        if code:
            sys.exit(code)

    def _flush_output(self) -> bool:
        """Return False if the output was closed, or its disk is full."""
        try:
            sys.stdout.flush()
        except OSError as error:
            # Redirect to nowhere, so that Python does not try again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self._tell_full(error)
            return False
        return True

    def _tell_full(self, error: OSError) -> None:
        if error.errno != errno.EPIPE:
            self.tell_progress(f"The output could not be written: {error.strerror}.")

    def explain_stop(self, stopped: Stopped) -> str:
        """Return the line that tells people about a stop."""
        return f"Stopped by {stopped}. Nothing was changed. Run it again at any time."

    def tell_progress(self, text: str) -> None:
        """Write a line to stderr, so that the report on stdout can be piped. It may be ignored."""
        try:
            self.stderr.write(text)
        except BrokenPipeError:
            # Continue the work, because its report on stdout may still be read.
            self.stderr.write = _write_nothing  # type: ignore[method-assign]


class DatabaseCommand(ShellCommand):
    """Command that needs the database; it exits with 3 if that does not answer, or is read-only."""

    def execute(self, *args: Any, **options: Any) -> Any:
        try:
            return super().execute(*args, **options)
        except Error as error:
            told = _explain_error(error)
            if told is None:
                raise
            raise CommandError(told, returncode=NO_DATABASE) from error


class ReportCommand(DatabaseCommand):
    """Command with a report: text for people, or with ``--json`` one JSON object, even for an error.

    ``done`` counts the work done so far, by step.
    """

    # Commands that only read report after a stop that nothing was changed.
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
            # Print only one object: a report may be followed by an error about its findings.
            if self._reports_json and not self._has_reported:
                self.print_json({"error": str(error)})
            raise

    def run_from_argv(self, argv: list[str]) -> None:
        self._reports_json, self._has_reported = "--json" in argv, False
        # The process is the command's own. The garbage collector would look at all that is loaded in the middle of a
        # transaction, and other writers would wait for it: 80 ms on SQLite (measured).
        gc.freeze()
        super().run_from_argv(argv)

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> CommandParser:
        """Let an error of the parser, which ends the process, be told as an object too."""
        parser = super().create_parser(prog_name, subcommand, **options)
        tell = parser.error

        def tell_error(message: str) -> Any:
            if self._reports_json:
                self.print_json({"error": message})
            tell(message)

        parser.error = tell_error  # type: ignore[method-assign]
        return parser

    def print_json(self, value: Any) -> None:
        """Write the one object of ``--json``."""
        self._has_reported = True
        self.stdout.write(json.dumps(value))

    def count_done(self, step: str, rows: int) -> None:
        """Count the work of a step, and show the progress."""
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
    """Return a line that explains an error of the database; ``None`` if it is a fault of the code."""
    if is_unmigrated(error):
        return explain_outage(error).detail
    if is_read_only(error) or is_forbidden(error):
        hint = "Use a database and a database user with the right to write."
        return f"The database refused: {str(error).strip()}. {hint}"
    if is_damaged(error):
        return f"The database cannot be read: {error}. Restore it from a backup, or name another file."
    if is_outage(error):
        return f"The database did not answer: {str(error).strip()}"
    return None


def _write_nothing(*_: Any, **__: Any) -> None:
    """Discard the text, because nobody reads it."""
