"""Canary: no token and no nonce reaches a log, whoever writes it; the whole suite runs under this watch.

Every record of this process is looked at, also those of loggers that pass nothing on, and so is whatever a server that
a test started has written. The test in which it happened fails.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

# A nonce has no prefix of its own, but it gives a lost answer again, and whoever says it names it.
SECRET = re.compile(r"sm[arc]_[\w-]{43,}|\bnonce\W{1,6}[\w-]{43}\b")
# Enough to find which one it was, and too little to use it.
SHOWN = 12
# Django's records carry the request itself, with all its headers; handlers that show it have filters of their own.
NOT_SHOWN = {"request"}
_FORMAT = logging.Formatter("%(message)s")


def find_secrets(text: str) -> list[str]:
    """Return the beginnings of all secrets in a text."""
    return [found.group()[:SHOWN] for found in SECRET.finditer(text)]


def read_record(record: logging.LogRecord) -> str:
    """Return all that a handler could write of a record: its line with the traceback, and each part of it alone."""
    # The formatter keeps the traceback in the record, where another one would find it.
    kept = record.exc_text
    try:
        line = _FORMAT.format(record)
    # A record that does not fit its arguments is the business of whoever handles it.
    except (TypeError, ValueError):
        line = ""
    record.exc_text = kept
    parts = (part for name, part in vars(record).items() if name not in NOT_SHOWN and not isinstance(part, int | float))
    return "\n".join([line, *map(repr, parts)])


class Canary:
    """What has been found in the logs, with the logger that wrote it."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def look_at(self, record: logging.LogRecord) -> None:
        self.found += [f"{record.name}: {secret}…" for secret in find_secrets(read_record(record))]

    def look_through(self, name: str, lines: Iterable[str]) -> None:
        """Look at lines that somebody else has written."""
        self.found += [f"{name}: {secret}…" for line in lines for secret in find_secrets(line)]

    def take(self) -> list[str]:
        """Return what has been found since the last time."""
        found, self.found = self.found, []
        return found

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Look at every record before its logger's handlers, filters of handlers and propagation decide about it."""
        handle = logging.Logger.handle
        look_at = self.look_at

        def look_and_handle(self: logging.Logger, record: logging.LogRecord) -> None:
            look_at(record)
            handle(self, record)

        logging.Logger.handle = look_and_handle  # type: ignore[method-assign]
        try:
            yield
        finally:
            logging.Logger.handle = handle  # type: ignore[method-assign]


canary = Canary()


def check_log(path: Path) -> None:
    """Look at the whole log of a server; a secret in it counts for the test that is running."""
    with contextlib.suppress(FileNotFoundError), path.open(errors="replace") as lines:
        canary.look_through(path.name, lines)
