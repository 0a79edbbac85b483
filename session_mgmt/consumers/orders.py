"""Orders of other processes, as they come through the doorbell.

The channel layer is trusted with doorbells and nothing else: whatever cannot be read is left out, and no frame to a
client is built from more than the data of an ephemeral message.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from session_mgmt.exceptions import SessionMgmtError
from session_mgmt.protocol.codes import Close, read_reason
from session_mgmt.writes import verbs


@dataclass(frozen=True, slots=True)
class Orders:
    """Sessions whose connections must close, each with code and reason; clients whose older generations must close,
    each with the code; sessions that must be checked; and sessions whose answers of the application must be forgotten.
    """

    stops: tuple[tuple[uuid.UUID, Close, str], ...] = ()
    fenced: tuple[tuple[int, int, Close], ...] = ()
    looks: tuple[uuid.UUID, ...] = ()
    forgets: tuple[uuid.UUID, ...] = ()


def read_orders(payload: Any) -> Orders:
    """Read the orders that a ring carries."""
    if not isinstance(payload, dict):
        return Orders()
    # Without a code, clients reconnect at once, and learn the state of their session then.
    code = _read_code(payload.get("code", Close.DETACHED))
    reason = read_reason(payload.get("reason"))
    # A code of a newer version closes nothing here; the control query closes these connections with a known code.
    stops = () if code is None else tuple((session, code, reason) for session in _read_sessions(payload.get("close")))
    fenced = [(*pair, Close.REPLACED) for pair in _read_generations(payload.get("replaced"))]
    fenced += () if code is None else [(*pair, code) for pair in _read_generations(payload.get("stop"))]
    looks, forgets = _read_sessions(payload.get("look")), _read_sessions(payload.get("forget"))
    return Orders(stops, tuple(fenced), tuple(looks), tuple(forgets))


def read_head(value: Any) -> int | None:
    """Read how far a log has come; ``None`` for anything that is no number of an entry."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def read_ephemeral(payload: Any) -> bytes | None:
    """Read the data of an ephemeral message as JSON; ``None`` for anything that nobody could have published."""
    if not isinstance(payload, dict) or "data" not in payload:
        return None
    try:
        return verbs.encode_data(payload["data"])
    except SessionMgmtError:
        return None


def _read_sessions(value: Any) -> Iterator[uuid.UUID]:
    for text in value if isinstance(value, list) else ():
        try:
            yield uuid.UUID(text)
        except (ValueError, AttributeError, TypeError):
            continue


def _read_code(value: Any) -> Close | None:
    try:
        return Close(value)
    except ValueError:
        return None


def _read_generations(value: Any) -> Iterator[tuple[int, int]]:
    for pair in value if isinstance(value, list | tuple) else ():
        match pair:
            case [int() as client, int() as generation]:
                yield client, generation
