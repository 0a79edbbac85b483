"""Conflicts that wait for a decision: list them, and prepare the update that resolves one."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from django.db import connections
from django.db.models import QuerySet

from session_mgmt.actions import checking
from session_mgmt.actions.state import bodies, merge_rows, stored_rows, unreadable
from session_mgmt.actions.state.bodies import ATTEMPTS
from session_mgmt.actions.state.merge_rows import MergeRecord
from session_mgmt.actions.state.stored_rows import Runner, StoredHead, run_inline
from session_mgmt.actions.state.updates import NO_TERMS, Terms, Update
from session_mgmt.actions.vaults import Vault
from session_mgmt.conf import settings
from session_mgmt.documents import deciding, strict
from session_mgmt.documents.deciding import Decided, Decision
from session_mgmt.documents.errors import DocumentError
from session_mgmt.documents.keyed_places import KeyedPlace
from session_mgmt.documents.merge import Value
from session_mgmt.documents.values import JSON, MISSING
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


def list_conflicts(document: int, *, include_resolved: bool = False, run: Runner = run_inline) -> list[dict[str, Any]]:
    """Return the conflicts of a document that wait for a decision, newest first; with ``include_resolved`` also the
    resolved ones that are stored.

    Each is ``{id, path, version, base?, server?, client?, client_id, at, resolved_at, resolution}``; absent values have
    no field. Heavy work is passed to ``run``. Raises ``DocumentNotFound`` or ``StateUnreadable``.
    """
    rows = _conflict_rows().filter(document=document).order_by("-id")
    chosen = rows if include_resolved else rows.filter(resolved_at=None)
    return _read_conflicts(document, chosen, run)


def read_conflict(document: int, id_: uuid.UUID, *, run: Runner = run_inline) -> dict[str, Any]:
    """Return one conflict in the form of ``list_conflicts``. Raises ``NotFound``, and the errors of that function."""
    found = _read_conflicts(document, _conflict_rows().filter(document=document, pk=id_), run)
    if not found:
        raise NotFound()
    return found[0]


def _read_conflicts(document: int, rows: QuerySet[StateConflict], run: Runner) -> list[dict[str, Any]]:
    opened = _read_with_vault(
        document, lambda vault: [(row, *merge_rows.open_conflict(vault, row)) for row in rows.all()]
    )
    moving = {row.pk: place for row, place, _ in opened if place.keys and row.resolved_at is None}
    paths = _find_paths(document, moving, run) if moving else {}
    return [_show_conflict(row, paths.get(row.pk, place.path), values) for row, place, values in opened]


def _find_paths(document: int, places: dict[uuid.UUID, KeyedPlace], run: Runner) -> dict[uuid.UUID, str]:
    """Return the current paths of the places of open conflicts, from one read of the document."""
    using = settings().database
    with unreadable.audit_unreadable(using, document):
        past = bodies.load_source(using, document, None)
        work = stored_rows.choose_runner(run, past.parts)
        return dict(zip(places, work(deciding.find_paths, past.parts, list(places.values())), strict=True))


def _read_with_vault(document: int, read: Callable[[Vault | None], T]) -> T:
    """Call ``read`` with the vault of the document, and return its result. Raises ``StateUnreadable``."""
    using = settings().database
    statements = Statements(connections[using])
    with unreadable.audit_unreadable(using, document):
        for _ in range(ATTEMPTS):
            head = stored_rows.read_head(statements, document)
            found = stored_rows.unless_rekeyed(statements, head, partial(read, head.vault))
            if found is not None:
                return found
        raise StateUnreadable()


def _show_conflict(row: StateConflict, path: str, values: tuple[Value, ...]) -> dict[str, Any]:
    present = {name: v for name, v in zip(("base", "server", "client"), values, strict=True) if v is not MISSING}
    return {
        "id": str(row.pk),
        "path": path,
        "version": row.version,
        **present,
        "client_id": row.client.client_id if row.client else None,
        "at": as_text(row.at),
        "resolved_at": as_text(row.resolved_at) if row.resolved_at else None,
        "resolution": row.resolution or None,
    }


def parse_value(text: str) -> JSON:
    """Parse a value that a person has typed, with the rules of all transports. Raises ``SessionMgmtError``."""
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
    run: Runner = run_inline,
) -> Update:
    """Prepare the update that resolves a conflict: an ordinary change of the head, or no change for ``server``.

    ``keep`` is ``server`` (leave the document as it is), ``client`` (set the value of the client that lost) or
    ``value`` (set ``value``; ``MISSING`` removes it). ``seen`` is the digest of the current value that the decision is
    based on, as returned by ``inspection.describe_value``; empty for no value. Heavy work is passed to ``run``. Raises
    ``NotFound``, ``InvalidField``, ``Conflict`` if the value has changed since or if the place in an array may now be
    that of another item, and the errors of documents.
    """
    if keep not in (SERVER, CLIENT, VALUE):
        raise InvalidField("keep is server, client or value.", field="keep")
    place, (_, server, client) = _read_with_vault(
        document, lambda vault: merge_rows.open_conflict(vault, _find_conflict(document, id_))
    )
    using = settings().database
    with unreadable.audit_unreadable(using, document), checking.translate_errors():
        # The document does not change, so it need not be read or built.
        if keep == SERVER:
            head, made = stored_rows.read_head(Statements(connections[using]), document), Decided(place.path)
        else:
            wanted, limits = (client, None) if keep == CLIENT else (value, checking.document_limits())
            head, made = _carry_out(using, document, Decision(place, server, wanted, seen, limits), run)
    if made.refusal:
        raise Conflict(made.refusal, position=head.position.as_json(), paths=[made.path])
    return Update(
        document=document,
        ops=made.ops,
        paths=made.paths,
        growth=made.growth,
        at_version=head.position.offset,
        terms=terms._replace(epoch=head.position.epoch),
        exact_size=made.size,
        # The decision is based on the value of this version, and could be different for a later one.
        merge=MergeRecord(movable=False, resolves=(id_, keep)),
    )


def _carry_out(using: str, document: int, decision: Decision, run: Runner) -> tuple[StoredHead, Decided]:
    """Apply the decision to the newest version; return that version and the result.

    The head and its body are read together, because the decision holds for this version only; the lane checks that.
    """
    past = bodies.load_source(using, document, None)
    return past.head, stored_rows.choose_runner(run, past.parts)(deciding.carry_out, past.parts, decision)


def _find_conflict(document: int, id_: uuid.UUID) -> StateConflict:
    row = _conflict_rows().filter(document=document, pk=id_).first()
    if row is None:
        raise NotFound()
    return row


def _conflict_rows() -> QuerySet[StateConflict]:
    return StateConflict.objects.using(settings().database).select_related("client")
