"""Logs of an attachment over HTTP: which of them it may poll, their positions, and their grants."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from session_mgmt.client.transports.carrier import Frame
from session_mgmt.protocol import position as positions
from session_mgmt.protocol.position import Position

# Positions that a call has sent.
Asked: TypeAlias = dict[str, Position | None]
_PLACED = frozenset({"entries", "snapshot", "gap"})


class Places:
    """Logs that the server knows, each with its grant if it has one.

    `find_logs` returns the positions that the client has reached. `find_wishes` returns by wish how the client wants to
    read its logs. `tell_change` is called when the list changes.
    """

    def __init__(
        self,
        find_logs: Callable[[], Mapping[str, Position | None]],
        find_wishes: Callable[[], Mapping[str, Mapping[str, Any]]],
        tell_change: Callable[[], None],
    ) -> None:
        self._find_logs, self._find_wishes, self._tell_change = find_logs, find_wishes, tell_change
        self._grants: dict[str, str | None] = {}
        # Logs that the client asked to follow or to leave, by the id of the request.
        self._questions: dict[int, str] = {}

    def take_connected(self, frame: Frame) -> None:
        for log, verdict in frame["logs"].items():
            if verdict["mode"] != "denied":
                self._grants[log] = verdict.get("grant")

    def note_sent(self, frame: Mapping[str, Any]) -> None:
        id_, log = frame.get("id"), frame.get("log")
        if id_ is None or log is None:
            return
        if frame["type"] == "unsubscribe":
            self._grants.pop(log, None)
        self._questions[id_] = log

    def note_frame(self, frame: Frame) -> None:
        """Note what a frame says about logs, before it is handled."""
        if frame["type"] == "grants":
            for log, grant in frame["grants"].items():
                if log in self._grants:
                    self._grants[log] = grant
        elif frame["type"] == "error" and frame.get("id") is None:
            self._grants.pop(str(frame.get("log")), None)

    def note_answer(self, frame: Frame) -> None:
        """Note the answer to a request about a log, after it was handled."""
        if frame["type"] not in ("reply", "error") or frame.get("id") is None:
            return
        log = self._questions.pop(frame["id"], None)
        if log is None:
            return
        if frame["type"] == "reply" and "verdict" in frame:
            self._grants[log] = frame["verdict"].get("grant")
        self._tell_change()

    def describe_for_poll(self) -> tuple[Asked, dict[str, Any]]:
        """Return the positions of all logs, and the `logs` of a poll."""
        asked = self.list_places(self._grants)
        logs: dict[str, dict[str, Any]] = {log: {"position": place and place.as_json()} for log, place in asked.items()}
        wishes = self._find_wishes()
        for log, described in logs.items():
            described.update({name: by_log[log] for name, by_log in wishes.items() if log in by_log})
            if grant := self._grants[log]:
                described["grant"] = grant
        return asked, logs

    def list_places(self, logs: Iterable[str]) -> Asked:
        """Return the positions of these logs, if they are followed."""
        known = self._find_logs()
        return {log: known[log] for log in logs if log in known and log in self._grants}

    def is_stale(self, frame: Frame, asked: Asked) -> bool:
        """Return True for a frame about an older position than the client has reached by another call.

        Entries need no such check, because their offsets show what is known.
        """
        if frame["type"] not in ("snapshot", "gap"):
            return False
        log, place = frame["log"], self._find_logs().get(frame["log"])
        if place is None or log not in asked or asked[log] == place:
            return False
        position = positions.parse(frame.get("position"))
        return position is None or position.epoch != place.epoch or position.offset <= place.offset

    def advance(self, frame: Frame, asked: Asked) -> None:
        """Note the position to which a frame has brought a log, because the call's next frame begins there."""
        if frame["type"] in _PLACED and frame["log"] in asked and frame["log"] in self._find_logs():
            asked[frame["log"]] = self._find_logs()[frame["log"]]
