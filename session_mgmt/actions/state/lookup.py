"""Documents for requests about one of them: lists, heads, sizes, and synchronisation with one verdict."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from django.db import connections
from django.db.models import QuerySet, Sum
from django.db.models.functions import Length

from session_mgmt.actions import access
from session_mgmt.actions.access import Proof
from session_mgmt.actions.state import bodies, compaction, entries, stored_rows, unreadable
from session_mgmt.actions.state.bodies import DocumentWindow, VersionSource
from session_mgmt.actions.state.stored_rows import Runner, run_inline
from session_mgmt.actions.timeline.ledger import make_record
from session_mgmt.actions.timeline.proofs import check_proof
from session_mgmt.actions.timeline.recording import record_entries
from session_mgmt.conf import settings
from session_mgmt.documents import canonical, rebuild, size
from session_mgmt.models import StateDocument, StateSnapshot, clock
from session_mgmt.models.clock import as_text
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Statements
from session_mgmt.protocol import position as positions
from session_mgmt.protocol.events import STATE_SYNCHRONIZED
from session_mgmt.protocol.position import Position
from session_mgmt.protocol.recovery import Mode, Reason, Verdict, decide, is_dense


def list_documents(session: uuid.UUID) -> QuerySet[StateDocument]:
    """Return the documents of a session by name, as rows without their content."""
    return StateDocument.objects.using(settings().database).filter(session=session).order_by("name")


def position_of(row: StateDocument) -> Position:
    """Return the position of a document."""
    return stored_rows.make_position(row.epoch, row.version, bytes(row.chain))


def describe_head(row: StateDocument) -> dict[str, Any]:
    """Return ``ClientState`` without its data. ``checksum`` is that of ``checksum_version``, which may be older."""
    return {
        "name": row.name,
        "version": row.version,
        "position": position_of(row).as_json(),
        "last_modified": as_text(row.last_modified),
        "last_writer": row.last_writer or None,
        "checksum": row.checksum or None,
        "checksum_version": row.checksum_version,
        "compressed": row.compressed,
        "encrypted": row.encrypted,
        "size": row.size,
    }


def read_client_state(row: StateDocument, *, run: Runner = run_inline) -> tuple[Position, dict[str, Any]]:
    """Return the position of a document, and its ``ClientState`` with data and exact size and checksum.

    The result may be of a later version than ``row``. Heavy work is passed to ``run``. Raises ``StateUnreadable``.
    """
    using = settings().database
    with unreadable.audit_unreadable(using, row.pk):
        found = bodies.load_source(using, row.pk, None)
        raw, checksum = _build_whole(row, found, run)
    position = found.position
    exact = {"checksum": checksum, "checksum_version": position.offset, "size": len(raw)}
    here = {"version": position.offset, "position": position.as_json(), "data": orjson.Fragment(raw)}
    return position, {**describe_head(row), **here, **exact}


def _build_whole(row: StateDocument, found: VersionSource, run: Runner) -> tuple[bytes, str]:
    # The stored checksum of an encrypted document is keyed, so clients could not compare it.
    is_known = row.checksum and row.checksum_version == found.position.offset and not row.encrypted
    if is_known and not found.parts.ops:
        # A snapshot is returned as it is stored, and nothing is decoded.
        return rebuild.build_raw(found.parts), row.checksum
    built: tuple[bytes, str] = stored_rows.choose_runner(run, found.parts)(rebuild.build_raw_and_checksum, found.parts)
    return built


@dataclass(frozen=True, slots=True)
class ClientState:
    """Document at one version. ``last_modified`` is ``None`` if it was never written; ``checksum`` is the SHA-256 of
    ``data`` as RFC 8785 text, and ``size`` the bytes of ``data`` as compact JSON; ``compressed`` and ``encrypted`` show
    how it is stored.
    """

    data: Any
    version: int
    last_modified: datetime | None
    compressed: bool
    encrypted: bool

    @property
    def checksum(self) -> str:
        return canonical.compute_checksum(self.data)

    @property
    def size(self) -> int:
        return size.measure_size(self.data)


def read_info(session: uuid.UUID, name: str) -> ClientState:
    """Return a document; one that was never written is ``{}`` at version 0. Raises ``StateUnreadable``."""
    row = list_documents(session).filter(name=name).first() if access.is_document(name) else None
    if row is None:
        return ClientState({}, 0, None, compressed=False, encrypted=False)
    body = bodies.load_body(settings().database, row.pk)
    written = body.last_modified if body.position.offset else None
    return ClientState(body.data, body.position.offset, written, row.compressed, row.encrypted)


def measure_document(row: StateDocument, *, run: Runner = run_inline) -> int:
    """Return the exact bytes of the head as compact JSON. Heavy work is passed to ``run``.

    Raises ``StateUnreadable``.
    """
    if row.snapshot_version == row.version:
        return row.size
    using = settings().database
    with unreadable.audit_unreadable(using, row.pk):
        found = bodies.load_source(using, row.pk, None)
        measured: int = stored_rows.choose_runner(run, found.parts)(rebuild.measure_parts, found.parts)
    return measured


def read_sizes(row: StateDocument) -> dict[str, Any]:
    """Return the sizes of a document in bytes: ``size`` of its compact JSON (an upper bound unless ``exact``),
    ``stored`` of its snapshots, and ``log`` of its revisions.
    """
    stored = StateSnapshot.objects.using(settings().database).filter(document=row).aggregate(sum=Sum(Length("body")))
    return {
        "name": row.name,
        "version": row.version,
        "size": row.size,
        "exact": row.snapshot_version == row.version,
        "stored": stored["sum"] or 0,
        "log": row.log_bytes,
        "compressed": row.compressed,
    }


def compress_document(document: int, *, proof: Proof | None = None, run: Runner = run_inline) -> None:
    """Take a snapshot of the head now: reading it then needs no revisions, and it is stored compressed if it is large.

    Raises the errors of ``check_proof``, ``DocumentNotFound`` or ``StateUnreadable``. No lock is held while a large
    document is packed.
    """
    check_proof(settings().database, proof)
    compaction.compact_document(document, run=run)


def sync_document(session: uuid.UUID, name: str, given: Any, *, run: Runner = run_inline) -> dict[str, Any]:
    """Return the answer to a client whose position is ``given`` (``None`` for none): one verdict, with entries or a
    snapshot.

    Unless the client is up to date, ``state_synchronized`` is recorded in the session's log. Heavy work is passed to
    ``run``.
    """
    answer = _answer_sync(session, name, given, run)
    # A poll without news records nothing, because it would fill the session's log.
    if answer["mode"] != "up_to_date":
        data = {"document": name, "mode": answer["mode"], "version": answer["position"][1]}
        using = settings().database
        with open_transaction(using):
            record_entries(using, [make_record(session, STATE_SYNCHRONIZED, data)], at=clock.read(using))
    return answer


def _answer_sync(session: uuid.UUID, name: str, given: Any, run: Runner) -> dict[str, Any]:
    using = settings().database
    asked = positions.parse(given)
    statements = Statements(connections[using])
    bodies.ensure_document(using, session, name, most=settings().max_documents, at=clock.read(using))
    place = (session, name, asked.offset if asked else None)
    window = bodies.load_windows(statements, [place])[place]
    answer = _answer_verdict(using, statements, window, asked, given, run)
    return {**answer, "encrypted": True} if window.encrypted else answer


def _answer_verdict(
    using: str, statements: Statements, window: DocumentWindow, asked: Position | None, given: Any, run: Runner
) -> dict[str, Any]:
    verdict = _judge_position(asked, given, window)
    if verdict.mode is Mode.UP_TO_DATE:
        return {"mode": "up_to_date", "reason": verdict.reason, "position": window.window.head.as_json()}
    if verdict.mode is Mode.ENTRIES and asked is not None:
        answer = _answer_entries(statements, window, asked)
        if answer is not None:
            return answer
    return _answer_snapshot(using, window, verdict.reason if verdict.mode is Mode.LOST else Reason.TRIMMED, run)


def _judge_position(asked: Position | None, given: Any, window: DocumentWindow) -> Verdict:
    if asked is None:
        return Verdict(Mode.LOST, Reason.FIRST if given is None else Reason.UNREADABLE_POSITION)
    return decide(asked, window.window, most=settings().replay_page)


def _answer_entries(statements: Statements, window: DocumentWindow, asked: Position) -> dict[str, Any] | None:
    """Return the answer with entries, or ``None`` if a compaction has deleted some of them since the verdict."""
    # The answer must be complete or be a snapshot, so the limit of bytes for pages of a replay does not apply.
    limit, most = settings().replay_page, settings().max_log_bytes
    found = entries.read_entries(statements, window.id, asked.offset, limit, most_bytes=most)
    if not found or not is_dense((entry.offset for entry in found), after=asked.offset):
        return None
    last = Position(asked.epoch, found[-1].offset, found[-1].tag)
    return {
        "mode": "entries",
        "from": asked.offset,
        "to": last.offset,
        "position": last.as_json(),
        "entries": [orjson.Fragment(entry.as_json()) for entry in found],
    }


def _answer_snapshot(using: str, window: DocumentWindow, reason: Reason, run: Runner) -> dict[str, Any]:
    position, _, raw = bodies.load_raw(using, window.id, run=run)
    return {"mode": "snapshot", "reason": reason, "position": position.as_json(), "data": orjson.Fragment(raw)}
