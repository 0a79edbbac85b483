"""Changes made on a version that the log no longer holds: judged by digests of the values that they replaced.

A client that was away for too long receives the document as it is, and sends its writes again with digests of the
values it saw. A value that is still the same is replaced as intended; where it differs, nobody can merge three ways,
and the strategy decides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from session_mgmt.documents import operations, pointer, touched
from session_mgmt.documents.canonical import encode_canonical
from session_mgmt.documents.diff import diff_documents
from session_mgmt.documents.merge import CONFLICT, Conflict, Merged, OnConflict, Side, Value, drop_overlapping
from session_mgmt.documents.operations import Op
from session_mgmt.documents.values import JSON, MISSING, are_equal

DIGEST_CHARACTERS: Final = 16


def digest_value(value: Value) -> str | None:
    """Return the first 16 hex digits of SHA-256 over the RFC 8785 bytes; None for MISSING."""
    return None if value is MISSING else hashlib.sha256(encode_canonical(value)).hexdigest()[:DIGEST_CHARACTERS]


def digest_replaced(document: JSON, ops: Iterable[Sequence[Any]]) -> dict[str, str | None]:
    """Return digests of the values that the operations replace, by path. An `inc` and an append replace nothing."""
    return {
        path: digest_value(pointer.find_value(document, path)) for path in list_replaced_paths(tuple(op) for op in ops)
    }


def list_replaced_paths(ops: Iterable[Op]) -> list[str]:
    """List the paths whose earlier values tell whether the operations still mean the same."""
    return [path for path in touched.list_paths(ops) if path == pointer.strip_mark(path)]


def rebase_by_digests(
    server: JSON, ops: Iterable[Op], replaced: Mapping[str, str | None], *, on_conflict: OnConflict = "server_wins"
) -> Merged:
    """Apply the operations to the server's head; a path whose value is not the replaced one is a conflict.

    A path without a digest counts as changed. The base of every conflict is MISSING: nobody knows it any more.
    """
    listed = tuple(ops)
    changed = [path for path in list_replaced_paths(listed) if not _is_same(server, path, replaced)]
    kept, overlapping = drop_overlapping(listed, changed)
    if not overlapping:
        return Merged(operations.apply_ops(server, listed), ops=listed)
    conflicts, settled = _decide_by_digests(server, overlapping, on_conflict)
    if conflicts and on_conflict == "reject":
        return Merged(server, tuple(conflicts))
    document = operations.apply_ops(server, settled)
    return Merged(operations.apply_ops(document, kept), tuple(conflicts), diff_documents(server, document) + kept)


def _is_same(server: JSON, path: str, replaced: Mapping[str, str | None]) -> bool:
    return path in replaced and replaced[path] == digest_value(pointer.find_value(server, path))


def _decide_by_digests(server: JSON, ops: tuple[Op, ...], on_conflict: OnConflict) -> tuple[list[Conflict], list[Op]]:
    wanted = operations.apply_ops(server, ops)
    conflicts, chosen = [], []
    for path in _list_topmost(map(pointer.strip_mark, touched.list_paths(ops))):
        theirs, mine = pointer.find_value(server, path), pointer.find_value(wanted, path)
        if are_equal(theirs, mine):
            continue
        kept, value = _choose_side(path, theirs, mine, on_conflict)
        conflicts.append(Conflict(path, MISSING, theirs, mine, kept))
        if kept != "server":
            chosen.append(("del", path) if value is MISSING else ("set", path, value))
    return conflicts, chosen


def _choose_side(path: str, server: Value, client: Value, on_conflict: OnConflict) -> tuple[Side, Value]:
    if on_conflict == "client_wins":
        return "client", client
    if callable(on_conflict):
        resolved = on_conflict(path, MISSING, server, client)
        if resolved is not CONFLICT:
            return "resolver", resolved
    return "server", server


def _list_topmost(paths: Iterable[str]) -> list[str]:
    found: list[str] = []
    for path in sorted(set(paths), key=lambda one: (one.count("/"), one)):
        if not any(above in found for above in pointer.iter_ancestors(path)):
            found.append(path)
    return found
