"""Conflicts that wait for a decision: list them, and prepare the update that settles one."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from django.db import connections
from django.db.models import QuerySet

from session_mgmt.actions import checking
from session_mgmt.actions.state import bodies, merge_rows, stored_rows, unreadable
from session_mgmt.actions.state.bodies import ATTEMPTS
from session_mgmt.actions.state.merge_rows import MergeRecord
from session_mgmt.actions.state.updates import NO_TERMS, Terms, Update
from session_mgmt.actions.vaults import Vault
from session_mgmt.conf import settings
from session_mgmt.documents import operations, pointer, replaced, size, strict, touched
from session_mgmt.documents.errors import DocumentError
from session_mgmt.documents.keyed_places import KeyedPlace
from session_mgmt.documents.merge import Value
from session_mgmt.documents.operations import Op
from session_mgmt.documents.values import JSON, MISSING, are_equal
from session_mgmt.exceptions import Conflict, InvalidField, NotFound, StateUnreadable
from session_mgmt.models import StateConflict
from session_mgmt.models.clock import as_text
from session_mgmt.models.sql import Statements

T = TypeVar("T")

SERVER, CLIENT, VALUE = (
    StateConflict.Resolution.SERVER,
    StateConflict.Resolution.CLIENT,
    StateConflict.Resolution.VALUE,
)


def list_conflicts(document: int, *, include_resolved: bool = False) -> list[dict[str, Any]]:
    """List the records of a document that wait for a decision, newest first; with ``include_resolved`` all that are
    kept.

    ``{id, path, version, base?, server?, client?, client_id, at, resolved_at, resolution}``; absent values have no
    field. Raises ``DocumentNotFound`` or ``StateUnreadable``.
    """
    rows = _conflict_rows().filter(document=document).order_by("-id")
    chosen = rows if include_resolved else rows.filter(resolved_at=None)
    return _read_with_vault(document, lambda vault: [_show_conflict(vault, row) for row in chosen.all()])


def _read_with_vault(document: int, read: Callable[[Vault | None], T]) -> T:
    """Call ``read`` with the vault of the document and return its result."""
    using = settings().database
    statements = Statements(connections[using])
    with unreadable.audit_unreadable(using, document):
        for _ in range(ATTEMPTS):
            head = stored_rows.read_head(statements, document)
            found = stored_rows.unless_rekeyed(statements, head, partial(read, head.vault))
            if found is not None:
                return found
        raise StateUnreadable()


def _show_conflict(vault: Vault | None, row: StateConflict) -> dict[str, Any]:
    place, values = merge_rows.open_conflict(vault, row)
    present = {name: v for name, v in zip(("base", "server", "client"), values, strict=True) if v is not MISSING}
    return {
        "id": str(row.pk),
        "path": _find_path(place, row),
        "version": row.version,
        **present,
        "client_id": row.client.client_id if row.client else None,
        "at": as_text(row.at),
        "resolved_at": as_text(row.resolved_at) if row.resolved_at else None,
        "resolution": row.resolution or None,
    }


def _find_path(place: KeyedPlace, row: StateConflict) -> str:
    """Return where the place is by now; where it was, if an item on the way is gone or the record is decided."""
    if not place.keys or row.resolved_at is not None:
        return place.path
    body = bodies.load_body(settings().database, row.document_id)
    return place.find_path(body.data) or place.path


def read_conflict(document: int, id_: uuid.UUID) -> dict[str, Any]:
    """Return one record in the form of ``list_conflicts``. Raises ``NotFound``, and as that does."""
    return _read_with_vault(document, lambda vault: _show_conflict(vault, _find_conflict(document, id_)))


def _find_conflict(document: int, id_: uuid.UUID) -> StateConflict:
    row = _conflict_rows().filter(document=document, pk=id_).first()
    if row is None:
        raise NotFound()
    return row


def parse_value(text: str) -> JSON:
    """Parse a value that somebody typed, under the rules of every transport. Raises ``SessionMgmtError``."""
    try:
        return strict.parse_json(text, checking.document_limits(), settings().max_document_bytes)
    except DocumentError as error:
        raise checking.translate_error(error) from error


def prepare_resolution(
    document: int,
    id_: uuid.UUID,
    keep: str,
    value: Value = MISSING,
    terms: Terms = NO_TERMS,
    *,
    seen: str | None = None,
) -> Update:
    """Prepare the update that settles a record: an ordinary change of the head, or none for ``server``.

    ``keep``: ``server`` leaves the document as it is, ``client`` sets the losing value, ``value`` sets ``value``
    (MISSING removes). ``seen`` is the digest of the value at the time of the decision, empty for none (as of
    ``inspection.describe_value``). Raises ``NotFound``, ``InvalidField``, ``Conflict`` if another value is there by now
    or the place in an array may be another item's, and errors of documents.
    """
    if keep not in (SERVER, CLIENT, VALUE):
        raise InvalidField("keep is server, client or value.", field="keep")
    place, (_, server, client) = _read_with_vault(
        document, lambda vault: merge_rows.open_conflict(vault, _find_conflict(document, id_))
    )
    body = bodies.load_body(settings().database, document)
    found = place.find_path(body.data)
    path = place.path if found is None else found
    # Without keys an index is all that is known: if another value stands there, it may be another item.
    if keep != SERVER and not place.keys and _is_moved(body.data, path, server):
        raise Conflict("The array has changed since.", position=body.position.as_json(), paths=[path])
    if (
        keep != SERVER
        and found is not None
        and seen is not None
        and seen != (replaced.digest_value(pointer.find_value(body.data, path)) or "")
    ):
        raise Conflict("The value has changed since.", position=body.position.as_json(), paths=[path])
    wanted = client if keep == CLIENT else value if keep == SERVER else _check_resolution_value(value, path)
    # An update without operations: it makes no change, but the record is settled in the order of all writes.
    ops = () if keep == SERVER else _make_ops(place, found, body.data, wanted)
    result = operations.apply_ops(body.data, ops)
    return Update(
        document=document,
        ops=operations.encode_ops(ops),
        paths=() if are_equal(result, body.data) else touched.list_stored_paths(ops),
        growth=size.bound_growth(ops),
        at_version=body.position.offset,
        terms=replace(terms, epoch=body.position.epoch),
        exact_size=size.measure_extent(result),
        merge=MergeRecord(movable=False, resolves=(id_, keep)),
    )


def _conflict_rows() -> QuerySet[StateConflict]:
    return StateConflict.objects.using(settings().database).select_related("client")


def _is_moved(document: JSON, path: str, server: Value) -> bool:
    """Tell whether a place behind an array's index may be another item's by now."""
    inside = any(isinstance(pointer.find_value(document, above), list) for above in pointer.iter_ancestors(path))
    return inside and not are_equal(pointer.find_value(document, path), server)


def _make_ops(place: KeyedPlace, path: str | None, document: JSON, value: Value) -> tuple[Op, ...]:
    if path is not None:
        return (("del", path),) if value is MISSING else (("set", path, value),)
    array = place.find_array(document)
    # An item that is gone comes back at the end. Inside of such an item there is nothing to decide any more.
    return () if array is None or value is MISSING else (("ins", f"{array}/-", value),)


def _check_resolution_value(value: Value, path: str) -> Value:
    return value if value is MISSING else checking.check_value(value, path.count("/"))
