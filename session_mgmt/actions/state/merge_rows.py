"""Rows that a merge writes: the requested operations, the losing values, and the report in the receipt."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from session_mgmt.actions import vaults
from session_mgmt.actions.vaults import Vault
from session_mgmt.conf import settings
from session_mgmt.documents import strict
from session_mgmt.documents.keyed_places import KeyedPlace, decode_place
from session_mgmt.documents.merge import Conflict, Value
from session_mgmt.documents.values import MISSING
from session_mgmt.exceptions import Conflict as ConflictRefused
from session_mgmt.exceptions import StateUnreadable
from session_mgmt.models import StateConflict, tables
from session_mgmt.models.sql import Statements
from session_mgmt.protocol.position import Position

# Encrypted columns, in the order of the part numbers under which they are encrypted.
_COLUMNS_SEALED = ("path", "base", "server", "client_value")
# Encrypted in place of an absent value; JSON is never empty.
_NOTHING = b""
# Most bytes of a report, because a receipt is sent in one frame, and stored for repetitions.
REPORT_BYTES = 2048
# Resolved conflicts to keep for each document; people look only at the latest ones.
RESOLVED_KEPT = 100
_COLUMNS = {
    "id": "uuid",
    "document_id": "bigint",
    "version": "bigint",
    "path": "bytea",
    "base": "bytea",
    "server": "bytea",
    "client_value": "bytea",
    "size": "bigint",
    "client_id": "bigint",
    "at": "timestamptz",
    "resolution": "text",
}


@dataclass(frozen=True, slots=True)
class LostValues:
    """Conflict whose values are stored; ``id`` is made before it is stored, so that the receipt can contain it."""

    id: uuid.UUID
    conflict: Conflict

    @property
    def values(self) -> tuple[bytes | None, ...]:
        found = (self.conflict.base, self.conflict.server, self.conflict.client)
        return tuple(None if value is MISSING else strict.dump_json(value) for value in found)

    @property
    def size(self) -> int:
        return sum(len(value) for value in self.values if value is not None) + len(self.conflict.path.encode())


@dataclass(frozen=True, slots=True)
class MergeRecord:
    """Facts about an update that was merged or resolved outside the lane.

    ``asked`` are the client's own operations, encoded, and ``paths`` are the paths that they touch. If ``movable``, it
    still holds if other places of the document have changed in the meantime. ``resolves`` is the id of the conflict
    that it resolves, and the resolution.
    """

    asked: bytes = b""
    paths: tuple[str, ...] = ()
    report: dict[str, Any] = field(default_factory=dict)
    losing: tuple[LostValues, ...] = ()
    movable: bool = True
    resolves: tuple[uuid.UUID, str] | None = None


def build_report(conflicts: Iterable[Conflict], ids: Sequence[uuid.UUID] = ()) -> dict[str, Any]:
    """Return ``{"conflicts": [{path, kept, base?, server?, client?, id?}]}`` with at most 2 KB of conflicts; ``{}`` if
    there are none.

    Absent values have no field. An entry has ``cut`` if its values were left out, and ``more`` is the number of
    conflicts that were left out.
    """
    listed = [_show_conflict(found, ids[at] if ids else None) for at, found in enumerate(conflicts)]
    if not listed:
        return {}
    described: list[dict[str, Any]] = []
    room = REPORT_BYTES
    for whole in listed:
        # Without room for its values an entry has only its path: the client can read the values itself.
        entry = next((one for one in (whole, _cut_values(whole)) if len(orjson.dumps(one)) < room), None)
        if entry is None:
            break
        # One byte for the comma.
        room -= len(orjson.dumps(entry)) + 1
        described.append(entry)
    more = len(listed) - len(described)
    return {"conflicts": described, **({"more": more} if more else {})}


def _show_conflict(found: Conflict, id_: uuid.UUID | None) -> dict[str, Any]:
    values = {"base": found.base, "server": found.server, "client": found.client}
    present = {name: value for name, value in values.items() if value is not MISSING}
    return {"path": found.path, "kept": found.kept, **present, **({"id": str(id_)} if id_ else {})}


def _cut_values(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: entry[name] for name in ("path", "kept", "id") if name in entry} | {"cut": True}


def find_refusal(statements: Statements, document: int, merge: MergeRecord, here: Position) -> ConflictRefused | None:
    """Return the reason why a merged update cannot be written, or ``None``. The caller has locked the document."""
    if merge.losing and not _has_room(statements, document, merge.losing):
        return ConflictRefused("As many conflicts wait as may be kept.", position=here.as_json())
    if merge.resolves is not None and not _is_open(statements, merge.resolves[0]):
        return ConflictRefused("The conflict was resolved before.", position=here.as_json())
    return None


def write_merge(
    statements: Statements,
    vault: Vault | None,
    document: int,
    version: int,
    client: int | None,
    merge: MergeRecord,
    at: datetime,
) -> None:
    """Write the rows that belong to the revision, in its transaction."""
    # Two different things: requested operations are needed for later merges, losing values are shown to people.
    if is_asked_kept(client, merge):
        _keep_asked(statements, vault, document, version, merge.asked)
    if merge.losing:
        _keep_losing(statements, vault, document, version, client, merge.losing, at)
    if merge.resolves is not None:
        _mark_resolved(statements, *merge.resolves, at)


def is_asked_kept(client: int | None, merge: MergeRecord | None) -> bool:
    """Return whether the requested operations are stored with the revision; the client's next writes are based
    on them.
    """
    return client is not None and merge is not None and bool(merge.asked)


def _has_room(statements: Statements, document: int, losing: Sequence[LostValues]) -> bool:
    ((count, size),) = statements.fetch(
        f"SELECT COUNT(*), COALESCE(SUM(size), 0) FROM {tables.CONFLICT}"
        " WHERE document_id = %s AND resolved_at IS NULL",
        [document],
    )
    now = settings()
    # Count bytes too, because one conflict may contain a whole document three times.
    fresh = sum(lost.size for lost in losing)
    return count + len(losing) <= now.max_conflicts and size + fresh <= now.max_conflict_bytes


def _keep_asked(statements: Statements, vault: Vault | None, document: int, version: int, asked: bytes) -> None:
    stored = asked if vault is None else vault.seal_column(vaults.ASKED, version, asked)
    statements.run(
        f"UPDATE {tables.REVISION} SET asked = %s WHERE document_id = %s AND version = %s", [stored, document, version]
    )


def _keep_losing(
    statements: Statements,
    vault: Vault | None,
    document: int,
    version: int,
    client: int | None,
    losing: Iterable[LostValues],
    at: datetime,
) -> None:
    rows = []
    for lost in losing:
        # With the keys of array items on the path, so that the place can be found after the array has changed.
        place = KeyedPlace(lost.conflict.path, lost.conflict.keys).encode().encode()
        fields = _seal_columns(vault, lost.id, version, (place, *lost.values))
        moment = statements.moment(at)
        rows.append((statements.uuid(lost.id), document, version, *fields, lost.size, client, moment, ""))
    statements.insert(tables.CONFLICT, _COLUMNS, rows)
    # Only the latest resolved conflicts are kept.
    statements.run(
        f"DELETE FROM {tables.CONFLICT} WHERE id IN (SELECT id FROM {tables.CONFLICT}"
        " WHERE document_id = %s AND resolved_at IS NOT NULL"
        " ORDER BY resolved_at DESC LIMIT 1000 OFFSET %s)",
        [document, RESOLVED_KEPT],
    )


def _seal_columns(
    vault: Vault | None, id_: uuid.UUID, version: int, values: Sequence[bytes | None]
) -> list[bytes | None]:
    """Return the columns of a conflict. Encrypted ones also contain absent values, because anybody could clear a
    column.
    """
    if vault is None:
        return list(values)
    return [
        vault.seal_column(vaults.CONFLICT, version, _NOTHING if value is None else value, part=at, row=id_.hex)
        for at, value in enumerate(values)
    ]


def open_conflict(vault: Vault | None, row: StateConflict) -> tuple[KeyedPlace, tuple[Value, ...]]:
    """Return the place of a conflict and its values: base, server, client; ``MISSING`` if absent. Raises
    ``StateUnreadable``.
    """
    path, *values = _open_columns(vault, row)
    try:
        return decode_place((path or b"").decode()), tuple(
            MISSING if value is None else orjson.loads(value) for value in values
        )
    except ValueError as error:
        raise StateUnreadable("A kept value is no JSON.") from error


def _open_columns(vault: Vault | None, row: StateConflict) -> list[bytes | None]:
    return [_open_column(vault, row, at, stored) for at, stored in enumerate(read_columns(row))]


def _open_column(vault: Vault | None, row: StateConflict, at: int, stored: bytes | None) -> bytes | None:
    if stored is None:
        if vault is not None:
            # An absent value is encrypted too, so this column was cleared by somebody without the key.
            raise StateUnreadable("A kept value was taken away.")
        return None
    value = vaults.open_column(vault, vaults.CONFLICT, row.version, stored, part=at, row=row.id.hex)
    return None if vault is not None and value == _NOTHING else value


def reseal_conflict(vault: Vault | None, fresh: Vault, row: StateConflict) -> None:
    """Encrypt the columns of a conflict with another key. Raises ``StateUnreadable``."""
    sealed = _seal_columns(fresh, row.id, row.version, _open_columns(vault, row))
    for name, value in zip(_COLUMNS_SEALED, sealed, strict=True):
        setattr(row, name, value)
    row.save(update_fields=_COLUMNS_SEALED)


def read_columns(row: StateConflict) -> list[bytes | None]:
    """Return the columns of a conflict as they are stored."""
    return [None if (stored := getattr(row, name)) is None else bytes(stored) for name in _COLUMNS_SEALED]


def _is_open(statements: Statements, id_: uuid.UUID) -> bool:
    rows = statements.fetch(
        f"SELECT id FROM {tables.CONFLICT} WHERE id = %s AND resolved_at IS NULL", [statements.uuid(id_)]
    )
    # The document is locked, so nobody can resolve the conflict before this transaction ends.
    return bool(rows)


def _mark_resolved(statements: Statements, id_: uuid.UUID, resolution: str, at: datetime) -> None:
    statements.run(
        f"UPDATE {tables.CONFLICT} SET resolved_at = %s, resolution = %s WHERE id = %s",
        [statements.moment(at), resolution, statements.uuid(id_)],
    )
