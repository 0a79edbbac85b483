"""What became of one write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from session_mgmt.exceptions import SessionMgmtError, TemporaryError, subclasses
from session_mgmt.protocol import position as positions
from session_mgmt.protocol.logs import Entry
from session_mgmt.protocol.position import Position

_BY_NAME = {error.name: error for error in subclasses()}


@dataclass(frozen=True, slots=True)
class Outcome:
    """``body`` is the receipt's JSON without ``type`` and ``seq``; ``log`` is the key of the log that moved, if one
    did.
    """

    body: bytes
    error: SessionMgmtError | None = None
    log: str | None = None
    position: Position | None = None
    replayed: bool = False

    @property
    def decided(self) -> bool:
        """Whether the number is used up: a temporary refusal leaves it free."""
        return not isinstance(self.error, TemporaryError)


@dataclass(slots=True)
class Appended:
    """New entries of one log, handed to whoever serves it after commit."""

    epoch: str
    entries: list[Entry]


def accepted(position: Position | None, *, log: str | None = None, **facts: Any) -> Outcome:
    """The write took effect at ``position``."""
    if position is not None and not facts:
        return Outcome(b'{"ok":true,"position":%s}' % position.as_bytes(), log=log, position=position)
    answer: dict[str, Any] = {"ok": True, **facts}
    if position is not None:
        answer["position"] = position.as_json()
    return Outcome(orjson.dumps(answer), log=log, position=position)


def refused(error: SessionMgmtError) -> Outcome:
    """The write had no effect."""
    return Outcome(orjson.dumps({"ok": False, "error": error.as_dict()}), error=error)


def replayed(body: bytes) -> Outcome:
    """The stored answer of an earlier attempt, marked as such."""
    answer = orjson.loads(body)
    stored = answer.get("error")
    error = _BY_NAME[stored["name"]](stored["message"]) if stored else None
    position = positions.parse(answer.get("position"))
    return Outcome(orjson.dumps({**answer, "replayed": True}), error=error, position=position, replayed=True)
