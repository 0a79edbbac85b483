"""Documents of sessions: ``state``, and a handle for one of them."""

from __future__ import annotations

import uuid
from typing import Any

import orjson

from session_mgmt.actions import access, checking
from session_mgmt.actions.encoding import encode_python, telling_place
from session_mgmt.actions.outbox import Ticket
from session_mgmt.actions.outcome import Written
from session_mgmt.actions.state import bodies, compaction, history, lookup, snapshots
from session_mgmt.actions.state import conflicts as kept_conflicts
from session_mgmt.actions.state.lookup import ClientState
from session_mgmt.actions.state.updates import Terms
from session_mgmt.bridge.colours import make_async
from session_mgmt.conf import settings
from session_mgmt.documents import pointer
from session_mgmt.documents.errors import DocumentError
from session_mgmt.documents.values import MISSING
from session_mgmt.exceptions import DocumentNotFound, InvalidField
from session_mgmt.models import clock
from session_mgmt.protocol.position import Position
from session_mgmt.shortcuts.arguments import (
    Session,
    as_count,
    as_session_id,
    as_text,
    as_uuid,
    as_version,
    as_version_or_label,
)
from session_mgmt.shortcuts.async_calls import AsyncCalls
from session_mgmt.writes import conflicts as deciding
from session_mgmt.writes import restore, verbs


def _update(session: Session, name: str, kind: str, change: Any, terms: Terms) -> Written | Ticket:
    # Check this first, because it names the real mistake: inside a transaction no patch is possible.
    verbs.check_kind(kind)
    with telling_place():
        return verbs.update(as_session_id(session), name, kind, encode_python(change), terms)


class State(AsyncCalls):
    """Functions for the documents of sessions, such as ``state.update(session, {"cart": {"coupon": "WELCOME"}})``."""

    def get(
        self,
        session: Session,
        name: str = "main",
        *,
        path: str = "",
        version: int | str | None = None,
        default: Any = None,
    ) -> Any:
        """Return the document, ``{}`` if nothing was ever written; with ``version`` (or a label), an earlier one.

        With ``path`` (RFC 6901) return the value there, or ``default``. Raises ``InvalidPath``, and as ``read_at``.
        """
        path = as_text(path, "path")
        if version is None:
            data = self.info(session, name).data
        else:
            data = self.read_at(session, version, name=name)
        try:
            found = pointer.find_value(data, path)
        except DocumentError as error:
            raise checking.translate_error(error) from error
        return default if found is MISSING else found

    def info(self, session: Session, name: str = "main") -> ClientState:
        """Return ``data, version, last_modified, checksum, …`` of the document, all of one version."""
        access.check_document_name(name)
        return lookup.read_info(as_session_id(session), name)

    def checksum(self, session: Session, name: str = "main") -> str:
        """Return the SHA-256 of the document's canonical JSON (RFC 8785) in hex. A client that is up to date computes
        the same.
        """
        return self.info(session, name).checksum

    def documents(self, session: Session) -> list[dict[str, Any]]:
        """Return the heads of the session's documents, by name: ``name, version, position, size, …``, no data."""
        return [lookup.describe_head(row) for row in lookup.list_documents(as_session_id(session))]

    def sync(
        self, session: Session, position: Position | list[Any] | None = None, *, name: str = "main"
    ) -> dict[str, Any]:
        """Return the changes since ``position`` as one verdict (``docs/reference/rest.md``).

        Its ``mode`` is ``up_to_date``, ``entries`` or ``snapshot``.
        """
        given = position.as_json() if isinstance(position, Position) else position
        # Decode fragments of stored JSON, because callers in Python expect values.
        answer: dict[str, Any] = orjson.loads(orjson.dumps(lookup.sync_document(as_session_id(session), name, given)))
        return answer

    def update(
        self,
        session: Session,
        merge: dict[str, Any] | None = None,
        *,
        ops: list[Any] | None = None,
        patch: list[Any] | None = None,
        name: str = "main",
        key: str | None = None,
    ) -> Written | Ticket:
        """Change the current version of a document, merged with concurrent changes of its clients.

        Give one of ``merge`` (RFC 7396), ``ops`` (total operations) or ``patch`` (RFC 6902, not in a transaction).
        ``key`` makes a repetition harmless. ``dropped`` in the result lists the paths of each ``inc`` that was left out
        because its sum exceeds the allowed numbers. Raises ``InvalidField``, ``InvalidJSON``, ``DocumentRefused``,
        ``SessionEnded``, ``SessionNotFound``, ``StateError`` or ``TemporaryError``.
        """
        given = {"merge": merge, "ops": ops, "patch": patch}
        chosen = {kind: change for kind, change in given.items() if change is not None}
        if len(chosen) != 1:
            raise InvalidField("Give exactly one of merge, ops and patch.", field="merge")
        ((kind, change),) = chosen.items()
        return _update(session, name, kind, change, Terms(key=key))

    def create_if_absent(
        self, session: Session, data: Any, *, name: str = "main", key: str | None = None
    ) -> Position | Ticket:
        """Give a document its first value. Do nothing if it was ever written, even if it was cleared later.

        Return the document's position after the call.
        """
        return _update(session, name, "data", data, Terms(key=key, if_absent=True))

    def replace(self, session: Session, data: Any, *, name: str = "main", key: str | None = None) -> Position | Ticket:
        """Set the whole document."""
        return _update(session, name, "data", data, Terms(key=key))

    def clear(self, session: Session, *, name: str = "main") -> Position | Ticket:
        """Set the document to ``{}``, as an ordinary new version."""
        return restore.clear(as_session_id(session), name)

    def history(
        self, session: Session, *, name: str = "main", before: int | None = None, limit: int = history.PAGE
    ) -> dict[str, Any]:
        """Return a page of versions, newest first (``docs/reference/rest.md``).

        ``next`` is the ``before`` of the next page.
        """
        row, before = self._find_row(session, name), None if before is None else as_version(before, "before")
        return history.list_versions(row, before=before, limit=as_count(limit, "limit"))

    def read_at(self, session: Session, version: int | str, *, name: str = "main") -> Any:
        """Return the document of a version or label. Raises ``NotFound`` if the log no longer reaches back to it,
        ``DocumentNotFound`` or ``InvalidField``.
        """
        to = as_version_or_label(version)
        return history.read_version_or_label(self._find_row(session, name), to).data

    def diff(self, session: Session, first: int, second: int, *, name: str = "main") -> list[dict[str, Any]]:
        """Return the JSON Patch (RFC 6902) that turns the first version into the second."""
        first, second = as_version(first, "first"), as_version(second, "second")
        return history.diff_versions(self._find_row(session, name), first, second)

    def persist(self, session: Session, label: str | None = None, *, name: str = "main") -> int:
        """Keep the current version permanently, under a label that ``restore`` accepts. Return the version."""
        return int(history.keep_checkpoint(self._find_row(session, name), label)["version"])

    def checkpoints(self, session: Session, *, name: str = "main") -> list[dict[str, Any]]:
        """Return the checkpoints of ``persist``, oldest first: ``label``, ``version``, ``at``."""
        return history.list_checkpoints(self._find_row(session, name))

    def forget(self, session: Session, label: str, *, name: str = "main") -> bool:
        """Delete a checkpoint. Return False if there is none of this label."""
        return history.forget_checkpoint(self._find_row(session, name), as_text(label, "label"))

    def restore(self, session: Session, to: int | str, *, name: str = "main") -> Position | Ticket:
        """Restore the document of a version or label, as an ordinary new version."""
        access.check_document_name(name)
        return restore.restore(as_session_id(session), name, as_version_or_label(to, "to"))

    def compress(self, session: Session, *, name: str = "main") -> int:
        """Store a snapshot (compressed if it is large) and shorten a log that is over its limits.

        Return the number of revisions removed.
        """
        return compaction.compact_document(self._find_row(session, name))

    def _find_row(self, session: Session, name: str) -> int:
        access.check_document_name(name)
        row = bodies.find_document(settings().database, as_session_id(session), name)
        if row is None:
            raise DocumentNotFound()
        return row

    def conflicts(
        self, session: Session, *, name: str = "main", include_resolved: bool = False
    ) -> list[dict[str, Any]]:
        """Return the conflicts that the strategy ``manual`` has kept, newest first: ``id, path, version, base?,
        server?, client?, …``.
        """
        access.check_document_name(name)
        row = bodies.find_document(settings().database, as_session_id(session), name)
        return [] if row is None else kept_conflicts.list_conflicts(row, include_resolved=include_resolved)

    def resolve(
        self, session: Session, conflict: uuid.UUID | str, keep: str, value: Any = MISSING, *, name: str = "main"
    ) -> Position:
        """Resolve a conflict: ``keep`` is ``server``, ``client`` or ``value``. Not inside a transaction.

        Raises ``Conflict`` if it was resolved before.
        """
        id_ = as_uuid(conflict, "conflict")
        with telling_place():
            fine = value if value is MISSING else encode_python(value)
            return deciding.resolve(as_session_id(session), name, id_, keep, fine).require()

    def size(self, session: Session, name: str = "main") -> int:
        """Return the exact size in bytes of compact JSON."""
        access.check_document_name(name)
        using = settings().database
        row = bodies.find_document(using, as_session_id(session), name)
        if row is None:
            return 2
        snapshots.keep_snapshot(using, row, at=clock.read(using))
        return bodies.read_size_bound(using, row)

    adocuments = make_async(documents)


state = State()
