"""Storage of everything that must survive a client's process, such as its name, positions and unanswered writes."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(slots=True)
class Saved:
    """Record of a client: `writes` without a receipt, oldest first; `positions` in all logs except documents.

    `token` stands alone, or belongs to a pair with `refresh`. It was received at `since` (seconds since 1970) and lives
    for `life` seconds. After `login_due` the login of the session must be proved again. `nonce` belongs to a request
    for tokens that has no answer yet. `previous` is an expired session that the next login of its user may bring back.
    `way` is what the client has learnt about the transports to the server.
    """

    token: str | None = field(default=None, repr=False)
    websocket: str | None = None
    session_id: str | None = None
    client_id: str | None = None
    next_seq: int = 1
    writes: list[dict[str, Any]] = field(default_factory=list)
    positions: dict[str, list[Any] | None] = field(default_factory=dict)
    user_id: str | None = None
    refresh: str | None = field(default=None, repr=False)
    since: float = 0.0
    life: float = 0.0
    login_due: float | None = None
    nonce: str | None = field(default=None, repr=False)
    previous: str | None = None
    way: dict[str, Any] | None = None


class Storage(Protocol):
    """Interface of a storage. `save` must leave either the old or the new record, never a mixture."""

    durable: bool

    def load(self) -> Saved: ...

    def save(self, saved: Saved) -> None: ...


class StorageTaken(Exception):
    """The file belongs to another process by now."""


class MemoryStorage:
    """Storage that ends with the process."""

    durable = False

    def __init__(self) -> None:
        self._saved = Saved()

    def load(self) -> Saved:
        return self._saved

    def save(self, saved: Saved) -> None:
        self._saved = saved


class FileStorage:
    """JSON file of one client. If two processes use the same file, the one that opened it first stops.

    The file holds the session's tokens, so only its owner may read it.
    """

    durable = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        # Written with each record, so that a process can notice that another one uses the file.
        self._holder = secrets.token_hex(8)
        self._written: tuple[int, int] | None = None

    def __repr__(self) -> str:
        return f"FileStorage({str(self._path)!r})"

    def load(self) -> Saved:
        """Read the file; return a new `Saved` if there is none.

        Raises ValueError if it holds anything else, and OSError if it cannot be read.
        """
        try:
            record = self._read_record()
        except FileNotFoundError:
            return Saved()
        try:
            record.pop("holder", None)
            saved = Saved(**record)
            _check_saved(saved)
        except (AttributeError, KeyError, TypeError) as problem:
            raise ValueError(self._describe_other()) from problem
        return saved

    def save(self, saved: Saved) -> None:
        """Replace the file in one step, so that the old record stays if the process dies during the write.

        Raises StorageTaken if another process has begun to use the file, and OSError if it cannot be written.
        """
        if self.is_taken():
            raise StorageTaken(f"Another process uses {self._path}.")
        # In the same folder, because a file can be replaced in one step only within one file system.
        beside = self._path.with_name(f"{self._path.name}.{self._holder}.new")
        try:
            with open(beside, "w", encoding="utf-8", opener=_open_private) as file:
                json.dump({"holder": self._holder, **asdict(saved)}, file, separators=(",", ":"))
            identity = _identify(beside)
            beside.replace(self._path)
        # Such as a full disk. What was written of it holds tokens.
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        self._written = identity

    def is_taken(self) -> bool:
        """Return True if another process has written the file since the last write of this one."""
        try:
            if self._written is None or self._written == _identify(self._path):
                return False
            holder: Any = self._read_record().get("holder", self._holder)
        # The file is gone, or holds something else.
        except (OSError, ValueError, AttributeError):
            return False
        return bool(holder != self._holder)

    def _read_record(self) -> Any:
        try:
            return json.loads(self._path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as problem:
            raise ValueError(self._describe_other()) from problem

    def _describe_other(self) -> str:
        return f"{self._path} does not hold a client's storage: name another file, or remove it."


def _check_saved(saved: Saved) -> None:
    """Raise KeyError or TypeError for a record that no client has written."""
    texts = (saved.token, saved.websocket, saved.session_id, saved.client_id, saved.user_id, saved.refresh, saved.nonce)
    numbers = (saved.next_seq, saved.since, saved.life, saved.login_due or 0.0)
    sound = all(text is None or isinstance(text, str) for text in (*texts, saved.previous))
    sound = sound and all(isinstance(number, int | float) for number in numbers)
    sound = sound and all(isinstance(write["type"], str) and isinstance(write["seq"], int) for write in saved.writes)
    shapes = (saved.writes, list), (saved.positions, dict), (saved.way, dict | None)
    if not sound or not all(isinstance(value, kind) for value, kind in shapes):
        raise TypeError("no record of a client")


def _identify(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


def _open_private(path: str, flags: int) -> int:
    # Set the mode when the file is created; otherwise others could read the token for a moment.
    return os.open(path, flags, 0o600)
