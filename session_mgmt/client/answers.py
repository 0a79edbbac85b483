"""Answers of the REST API about a document and its history (PROTOCOL section 13)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from session_mgmt.documents.values import MISSING

T = TypeVar("T")
Place = list[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentHead:
    """Document without its data. `last_writer` is the client that wrote the newest version, None for the server.

    `checksum` is the SHA-256 of the RFC 8785 text at `checksum_version`, which may be older than `version`; it is
    opaque if the document is encrypted. `size` is an upper bound of the bytes of the data as compact JSON.
    """

    name: str
    version: int
    position: Place
    last_modified: str
    last_writer: str | None
    checksum: str | None
    checksum_version: int | None
    compressed: bool
    encrypted: bool
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientState(DocumentHead):
    data: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentSizes:
    """Sizes in bytes: compact JSON (an upper bound unless `exact`), `stored` snapshots, operations in the `log`."""

    version: int
    size: int
    exact: bool
    stored: int
    log: int
    compressed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """Origin of a version; `client_id` and `seq` are None for the server itself."""

    version: int
    tag: str
    kind: str
    at: str
    client_id: str | None
    seq: int | None
    paths: list[str]
    bytes: int
    labels: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPage:
    """Versions, newest first. `oldest` is the first readable version, `next` the `before` of the next page."""

    results: list[HistoryEntry]
    oldest: int
    next: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Version kept under a label; `at` is None in the answer of `persist`."""

    label: str
    version: int
    at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptConflict:
    """Conflict that the strategy `manual` has kept; a value that was absent is MISSING."""

    id: str
    path: str
    version: int
    base: Any = MISSING
    server: Any = MISSING
    client: Any = MISSING
    client_id: str | None = None
    at: str
    resolved_at: str | None = None
    resolution: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """Result of a write over HTTP: the new position. `unchanged` is True if the document already had this value."""

    position: Place
    unchanged: bool = False

    @property
    def version(self) -> int:
        return int(self.position[1])


def build_answer(kind: type[T], fields_: Mapping[str, Any]) -> T:
    """Build a value from an answer; leave out fields that only a newer server knows."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: fields_[name] for name in names if name in fields_})
