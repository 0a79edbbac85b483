"""Security log: one line for each event that concerns somebody's access, written to the logger
``session_mgmt.security``.

``Formatter`` writes each as one JSON object, for the project's ``LOGGING`` setting. This module imports no models,
because ``LOGGING`` is read before any app is loaded. Facts are names, ids and addresses, never a secret and never
content.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any, Final

logger: Final = logging.getLogger("session_mgmt.security")

# Clients choose some of these texts. None may fill the disk, or look like a second line.
MOST_CHARACTERS: Final = 200


def log_event(event: str, *, level: int = logging.INFO, **facts: Any) -> None:
    """Write one line with the user, the address, the session and the facts; the logging handler adds the time."""
    if not logger.isEnabledFor(level):
        return
    fine = {name: _make_plain(value) for name, value in facts.items() if value is not None}
    text = " ".join([event, *(f"{name}={value}" for name, value in fine.items())])
    logger.log(level, "%s", text, extra={"security_event": event, "facts": fine})


def _make_plain(value: Any) -> Any:
    """Return a fact as a JSON value; text is cut to a limit, and its control characters are escaped."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {str(key)[:MOST_CHARACTERS]: _make_plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_make_plain(part) for part in value]
    text = str(value)[:MOST_CHARACTERS]
    return "".join(sign if sign.isprintable() else f"\\u{ord(sign):04x}" for sign in text)


class Formatter(logging.Formatter):
    """Formatter that writes one JSON object per line: ``at`` in UTC, ``level``, ``event``, and the facts."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        event = getattr(record, "security_event", None) or record.getMessage()
        facts = {**getattr(record, "facts", {}), "at": at, "level": record.levelname, "event": event}
        return json.dumps(facts, ensure_ascii=True, sort_keys=True)
