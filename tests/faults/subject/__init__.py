"""What the kill test declares in the server under test: its topics and its message handler."""

from __future__ import annotations

import logging

# Said by the handler of a server that is told to hang (SESSION_MGMT_TEST_HANG).
HANGS = "The handler hangs."


class Stumbled(Exception):
    """Failure of a durable handler, made on purpose."""


class IsUnexpected:
    """Filter of the log: without the failures that are made on purpose."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], Stumbled))
