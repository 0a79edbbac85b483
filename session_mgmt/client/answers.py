"""What the server tells of a document and its past over HTTP (PROTOCOL section 13)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from session_mgmt.documents.values import MISSING

T = TypeVar("T")
Place = list[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentHead:
    """A document without its data. `last_writer` is the client that made the newest version, None the server.

    `checksum` is SHA-256 of the RFC 8785 text at `checksum_version`, which may be older, and opaque where the document
    is encrypted; `size` is an upper bound of its bytes as compact JSON.
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
    """Bytes: `size` of compact JSON (an upper bound unless `exact`), `stored` snapshots, `log` of operations."""

    version: int
    size: int
    exact: bool
    stored: int
    log: int
    compressed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """What made a version; `client_id` and `seq` are None for the server itself."""

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
    """Newest first. `oldest` is the first version that can be read, `next` the `before` of the next page."""

    results: list[HistoryEntry]
    oldest: int
    next: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """`at` is None in the answer of `persist`."""

    label: str
    version: int
    at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptConflict:
    """A conflict that `manual` kept; a value that was not there is MISSING."""

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
    """Where a write over HTTP took effect; `unchanged` if the document was so already."""

    position: Place
    unchanged: bool = False

    @property
    def version(self) -> int:
        return int(self.position[1])


def made(kind: type[T], told: Mapping[str, Any]) -> T:
    """An answer as its value; what a newer server tells besides is left out."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: told[name] for name in names if name in told})
