"""Result of one write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from session_mgmt.exceptions import ERRORS_BY_NAME, SessionMgmtError, TemporaryError, Unavailable
from session_mgmt.protocol import position as positions
from session_mgmt.protocol.logs import Entry
from session_mgmt.protocol.position import Position


@dataclass(frozen=True, slots=True, eq=False)
class Written(Position):
    """Position at which an update took effect, equal to the plain one; ``dropped``: paths of each `inc` that did not,
    because no document can carry the sum.
    """

    dropped: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Position) and self.as_json() == other.as_json()

    def __hash__(self) -> int:
        return Position.__hash__(self)


class Outcome(NamedTuple):
    """Result of one write.

    ``body`` is the receipt's JSON without ``type`` and ``seq``; ``log`` is the key of the log that the write belongs
    to. ``unchanged``: accepted, and nothing was different afterwards. ``replayed``: the answer of an earlier attempt.
    """

    body: bytes
    error: SessionMgmtError | None = None
    log: str | None = None
    position: Position | None = None
    unchanged: bool = False
    replayed: bool = False

    @property
    def is_final(self) -> bool:
        """Tell whether the number is used up: a temporary refusal leaves it free."""
        return not isinstance(self.error, TemporaryError)

    def require(self) -> Position:
        """Return the position at which the write took effect. Raise the error that refused it."""
        if self.error is not None:
            raise self.error
        if self.position is None:
            raise Unavailable()
        return self.position

    def require_written(self) -> Written:
        """Return the same for an update, with the paths of the dropped changes."""
        position = self.require()
        dropped = orjson.loads(self.body).get("dropped", ())
        return Written(position.epoch, position.offset, position.tag, tuple(dropped))


@dataclass(slots=True)
class Appended:
    """New entries of one log, for those who serve it after commit."""

    epoch: str
    entries: list[Entry]


def accept_write(position: Position | None, *, log: str | None = None, **facts: Any) -> Outcome:
    """Make the outcome of a write that took effect at ``position``; ``facts`` are further fields of its receipt."""
    # Nearly every write ends here: to put bytes together costs less than to encode a dictionary.
    if position is not None and not facts:
        return Outcome(b'{"ok":true,"position":%s}' % position.as_bytes(), log=log, position=position)
    answer: dict[str, Any] = {"ok": True, **facts}
    if position is not None:
        answer["position"] = position.as_json()
    unchanged = bool(facts.get("unchanged"))
    return Outcome(orjson.dumps(answer), log=log, position=position, unchanged=unchanged)


def refuse_write(error: SessionMgmtError) -> Outcome:
    """Make the outcome of a write that had no effect."""
    return Outcome(orjson.dumps({"ok": False, "error": error.as_dict()}), error=error)


def replay_answer(body: bytes) -> Outcome:
    """Make the outcome of a repetition from the stored answer of the first attempt."""
    answer = orjson.loads(body)
    stored = answer.get("error")
    error = ERRORS_BY_NAME[stored["name"]](stored["message"]) if stored else None
    position = positions.parse(answer.get("position"))
    body, unchanged = orjson.dumps({**answer, "replayed": True}), bool(answer.get("unchanged"))
    return Outcome(body, error=error, position=position, unchanged=unchanged, replayed=True)
