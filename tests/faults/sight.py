"""Place of a client in its logs, and the documents as it sees them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.faults.evidence import LOST
from tests.faults.operations import advance, digest_value

Frame = dict[str, Any]
Position = list[Any]


@dataclass(slots=True)
class Write:
    """Numbered write and its label, unique in the run; `digests` of what it replaces, for a base that is gone."""

    op: str
    frame: Frame
    digests: dict[str, str | None] = field(default_factory=dict)

    def build_base(self, position: Position) -> Frame:
        """Build the fields by which the write goes by its digests, on this position."""
        return {"base": position[1], "epoch": position[0], "tag": position[2], "replaced": self.digests}


class Sight:
    """Logs of one client. ``lost`` are those whose history the server has lost, until a snapshot comes."""

    def __init__(self, logs: Iterable[str]) -> None:
        self.positions: dict[str, Position | None] = dict.fromkeys(logs)
        self.lost: set[str] = set()
        self._views: dict[str, Frame] = {}

    @property
    def offsets(self) -> dict[str, int]:
        """Offset in every log, 0 where nothing was heard yet."""
        return {log: position[1] if position else 0 for log, position in self.positions.items()}

    def take_verdicts(self, verdicts: Mapping[str, Frame]) -> None:
        for log, verdict in verdicts.items():
            if verdict["mode"] in {"up_to_date", "gap"}:
                self.positions[log] = verdict["position"]
            elif verdict["mode"] == "snapshot" and verdict.get("reason") in LOST:
                self.lost.add(log)

    def advance(self, frame: Frame) -> bool:
        """Take entries, a snapshot or a gap; tell whether it ends the wait after a lost history."""
        log = frame["log"]
        if frame["type"] == "entries":
            self._take_entries(frame)
            return False
        self.positions[log] = frame["position"]
        if frame["type"] == "snapshot":
            self._views[log] = {"": copy.deepcopy(frame["data"])}  # the history keeps the frame
        # Without a verdict where a poll, or a running server, finds that history was lost.
        is_back = frame["type"] == "snapshot" and (log in self.lost or frame.get("reason") in LOST)
        self.lost -= {log} if is_back else set()
        return is_back

    def _take_entries(self, frame: Frame) -> None:
        log = frame["log"]
        for offset, tag, body in frame["entries"]:
            known = self.positions[log]
            if known is None or known[0] != frame["epoch"] or offset > known[1]:
                self.positions[log] = [frame["epoch"], offset, tag]
                if log.startswith("state:"):
                    advance(self._views.setdefault(log, {"": {}}), body["ops"])
        if "prev" in frame:
            # Of a part: the frame stands for all entries up to its position.
            self.positions[log] = frame["position"]

    def list_digests(self, frame: Frame, pending: Iterable[Write]) -> dict[str, str | None]:
        """Return the digest of every value that an update is about to replace, after the client's pending writes."""
        places = [op[1] for op in frame.get("ops", ()) if op[0] == "set"]
        waiting = list(pending)
        return {path: digest_value(self._find_value(frame["doc"], path, waiting)) for path in places}

    def _find_value(self, doc: str, path: str, pending: list[Write]) -> Any:
        for write in reversed(pending):
            for op in write.frame.get("ops", ()) if write.frame.get("doc") == doc else ():
                if op[:2] == ["set", path]:
                    return op[2]
        value = self._views.get(f"state:{doc}", {}).get("", {})
        for token in path[1:].split("/"):
            value = value.get(token) if isinstance(value, dict) else None
        return value
