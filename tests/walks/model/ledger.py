"""What the documents must be: every version, added up from the operations by a second reading of the protocol."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import orjson

from session_mgmt.actions.group_commit import Decision, Group
from session_mgmt.protocol.logs import DOCUMENT_KEY
from tests.faults.operations import replay

Ops = list[list[Any]]


@dataclass(frozen=True, slots=True)
class Version:
    """`client` and `seq` are None where the server itself wrote; `value` is the whole document."""

    ops: Ops
    client: str | None
    seq: int | None
    value: Any


@dataclass(slots=True)
class Book:
    """One document from its beginning: index is version."""

    versions: list[Version] = field(default_factory=lambda: [Version([], None, None, {})])

    @property
    def head(self) -> int:
        return len(self.versions) - 1

    def value(self, version: int) -> Any:
        return self.versions[version].value

    def add(self, version: int, body: Any) -> None:
        assert version == self.head + 1, f"version {version} was made after {self.head}"
        value = replay(self.versions[-1].value, body["ops"])
        self.versions.append(Version(body["ops"], body.get("client_id"), body.get("seq"), value))

    def made_by(self, client: str) -> dict[int, list[int]]:
        """By number, the versions that it made."""
        found: dict[int, list[int]] = {}
        for number, version in enumerate(self.versions):
            if version.client == client and version.seq is not None:
                found.setdefault(version.seq, []).append(number)
        return found


class Ledger:
    """Hears of every version as it is committed, so that no compaction takes one away unseen."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heard: list[tuple[str, int, bytes]] = []
        self._books: dict[int, Book] = {}

    def hear(self, group: Group, results: list[tuple[Any, Decision]]) -> None:
        """On the lane's thread."""
        entries = [
            (key, entry.offset, entry.body)
            for key, log in group.appended.items()
            if key.startswith(DOCUMENT_KEY)
            for entry in log.entries
        ]
        with self._lock:
            self._heard += entries

    def book(self, document: int) -> Book:
        with self._lock:
            heard, self._heard = self._heard, []
        for key, version, body in heard:
            row = int(key.removeprefix(DOCUMENT_KEY))
            self._books.setdefault(row, Book()).add(version, orjson.loads(body))
        return self._books.setdefault(document, Book())


def same(one: Any, other: Any) -> bool:
    """Equal as JSON: `true` is not 1."""
    return text(one) == text(other)


def text(value: Any) -> bytes:
    """Compact JSON with its keys in order."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
