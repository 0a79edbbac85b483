"""Where a client keeps what must survive its process: who it is, its places in the logs and its unanswered writes."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(slots=True)
class Saved:
    """`writes` are the frames without a receipt, oldest first; `positions` leave out documents: no body is kept."""

    token: str | None = None
    websocket: str | None = None
    client_id: str | None = None
    next_seq: int = 1
    writes: list[dict[str, Any]] = field(default_factory=list)
    positions: dict[str, list[Any] | None] = field(default_factory=dict)


class Storage(Protocol):
    """Two calls; `save` must leave either the old or the new whole, never a mixture."""

    durable: bool

    def load(self) -> Saved: ...

    def save(self, saved: Saved) -> None: ...


class MemoryStorage:
    """Lives and dies with the process."""

    durable = False

    def __init__(self) -> None:
        self._saved = Saved()

    def load(self) -> Saved:
        return self._saved

    def save(self, saved: Saved) -> None:
        self._saved = saved


class FileStorage:
    """One JSON file, for one client: two processes with one file would replace each other's connection.

    It holds the session's token, so only the owner may read it.
    """

    durable = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    def load(self) -> Saved:
        """What was saved; a new `Saved` without a file. Raises ValueError for a file that is not one of ours."""
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return Saved()
        try:
            return Saved(**json.loads(text))
        except TypeError as problem:
            raise ValueError(f"{self._path} does not hold a client's storage") from problem

    def save(self, saved: Saved) -> None:
        """Replace the file in one step: a process that dies in the middle leaves the old one."""
        beside = self._path.with_name(self._path.name + ".new")
        with open(beside, "w", encoding="utf-8", opener=_owner_only) as file:
            json.dump(asdict(saved), file, separators=(",", ":"))
        beside.replace(self._path)


def _owner_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
