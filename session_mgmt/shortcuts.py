"""Public Python API: ``from session_mgmt.shortcuts import on, on_message, publish, send, state, topic``.

Every function may be called from a view, a signal handler, a task, the admin, or inside ``atomic()``, where it takes
effect if and only if the transaction commits. Pass a session as a ``ClientSession`` or by its id.
"""

from __future__ import annotations

import uuid
from typing import Any

import orjson

from session_mgmt.actions import checking
from session_mgmt.actions.access import SERVER
from session_mgmt.actions.outbox import Ticket
from session_mgmt.actions.sessions import connections, lifecycle
from session_mgmt.actions.sessions.lifecycle import Created, Device
from session_mgmt.actions.state import bodies, compaction, history, lookup
from session_mgmt.actions.state import conflicts as kept_conflicts
from session_mgmt.actions.state.lookup import ClientState
from session_mgmt.actions.state.updates import Terms
from session_mgmt.bridge import bridge
from session_mgmt.conf import settings
from session_mgmt.documents import pointer
from session_mgmt.documents.errors import DocumentError
from session_mgmt.documents.merge import CONFLICT
from session_mgmt.documents.values import MISSING
from session_mgmt.exceptions import DocumentNotFound, InvalidField
from session_mgmt.models import ClientSession, clock
from session_mgmt.protocol.codes import Close
from session_mgmt.protocol.position import Position
from session_mgmt.registry import off, on, on_message, topic
from session_mgmt.writes import conflicts as deciding
from session_mgmt.writes import restore, verbs
from session_mgmt.writes.verbs import publish

__all__ = [
    "CONFLICT",
    "MISSING",
    "create_session",
    "disconnect",
    "drain",
    "get_session",
    "is_connected",
    "off",
    "on",
    "on_message",
    "publish",
    "reconnect",
    "send",
    "state",
    "terminate_session",
    "topic",
]

Session = ClientSession | uuid.UUID


def create_session(
    *, user: Any = None, metadata: dict[str, Any] | None = None, session_id: uuid.UUID | None = None, **config: Any
) -> Created:
    """Create a session from trusted code; the result holds its token. ``config`` as in ``docs/reference/rest.md``."""
    return lifecycle.create_session(user=user, metadata=metadata, config=config, session_id=session_id, device=Device())


def get_session(session: uuid.UUID) -> ClientSession:
    """Return the session with its user and activity. Raises ``SessionNotFound``."""
    return lifecycle.read_session(SERVER, session)


def terminate_session(session: Session, *, reason: str = "requested") -> bool:
    """End a session for good. Return False if it had ended before."""
    return lifecycle.terminate_session(SERVER, _id(session), reason=reason)


def send(session: Session, data: Any, *, key: str | None = None) -> Position | Ticket:
    """Write a message to the session's own log: each of its clients sees it once, now or when it comes back."""
    return verbs.send(_id(session), data, key=key)


def is_connected(session: Session) -> bool:
    """Return whether any client of the session has a live connection, on any process."""
    return connections.read_states([_id(session)])[_id(session)] == "connected"


def disconnect(session: Session) -> None:
    """Close the session's connections on every process; their clients do not reconnect by themselves."""
    connections.stop_session(_id(session), Close.NORMAL)


def reconnect(session: Session) -> None:
    """Close the session's connections on every process; their clients reconnect at once."""
    connections.stop_session(_id(session), Close.DETACHED)


class State:
    """Documents of a session, as ``state.update(session, {"cart": {"coupon": "WELCOME"}})``."""

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
        if version is None:
            data = lookup.read_info(_id(session), name).data
        else:
            data = self.read_at(session, version, name=name)
        try:
            found = pointer.find_value(data, path)
        except DocumentError as error:
            raise checking.translate_error(error) from error
        return default if found is MISSING else found

    def info(self, session: Session, name: str = "main") -> ClientState:
        """Return ``data, version, last_modified, checksum, …`` of the document, all of one version."""
        return lookup.read_info(_id(session), name)

    def checksum(self, session: Session, name: str = "main") -> str:
        """Return the SHA-256 of the document's RFC 8785 text, in hex; an up-to-date client computes the same."""
        return lookup.read_info(_id(session), name).checksum

    def documents(self, session: Session) -> list[dict[str, Any]]:
        """Return the heads of the session's documents, by name: ``name, version, position, size, …``, no data."""
        return [lookup.describe_head(row) for row in lookup.list_documents(_id(session))]

    def sync(
        self, session: Session, position: Position | list[Any] | None = None, *, name: str = "main"
    ) -> dict[str, Any]:
        """Return the changes since ``position`` as one verdict (``docs/reference/rest.md``).

        Its ``mode`` is ``up_to_date``, ``entries`` or ``snapshot``.
        """
        given = position.as_json() if isinstance(position, Position) else position
        answer: dict[str, Any] = orjson.loads(orjson.dumps(lookup.sync_document(_id(session), name, given)))
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
    ) -> Position | Ticket:
        """Change a document at its head, merged with concurrent changes of its clients.

        Give one of ``merge`` (RFC 7396), ``ops`` (total operations) or ``patch`` (RFC 6902, not in a transaction).
        ``key`` makes a repetition harmless.
        """
        given = {"merge": merge, "ops": ops, "patch": patch}
        chosen = {kind: change for kind, change in given.items() if change is not None}
        if len(chosen) != 1:
            raise InvalidField("Give exactly one of merge, ops and patch.", field="merge")
        ((kind, change),) = chosen.items()
        return verbs.update(_id(session), name, kind, change, Terms(key=key))

    def create_if_absent(
        self, session: Session, data: Any, *, name: str = "main", key: str | None = None
    ) -> Position | Ticket:
        """Give a document its first value; do nothing if it was ever written, even if it was cleared since.

        Return the document's position after the call.
        """
        return verbs.update(_id(session), name, "data", data, Terms(key=key, if_absent=True))

    def replace(self, session: Session, data: Any, *, name: str = "main", key: str | None = None) -> Position | Ticket:
        """Set the whole document."""
        return verbs.update(_id(session), name, "data", data, Terms(key=key))

    def clear(self, session: Session, *, name: str = "main") -> Position | Ticket:
        """Empty the document, as an ordinary new version."""
        return restore.clear(_id(session), name)

    def history(
        self, session: Session, *, name: str = "main", before: int | None = None, limit: int = history.PAGE
    ) -> dict[str, Any]:
        """Return a page of versions, newest first (``docs/reference/rest.md``).

        ``next`` is the ``before`` of the next page.
        """
        return history.list_versions(self._row(session, name), before=before, limit=limit)

    def read_at(self, session: Session, version: int | str, *, name: str = "main") -> Any:
        """Return the document of a version or label. Raises ``NotFound`` if the log no longer reaches back to it."""
        return history.read_version_or_label(self._row(session, name), version).data

    def diff(self, session: Session, first: int, second: int, *, name: str = "main") -> list[dict[str, Any]]:
        """Return the difference of two versions as an RFC 6902 patch from the first to the second."""
        return history.diff_versions(self._row(session, name), first, second)

    def persist(self, session: Session, label: str | None = None, *, name: str = "main") -> int:
        """Keep the current version for good, under a label that ``restore`` accepts. Return the version."""
        return int(history.keep_checkpoint(self._row(session, name), label)["version"])

    def checkpoints(self, session: Session, *, name: str = "main") -> list[dict[str, Any]]:
        """Return the checkpoints of ``persist``, oldest first: ``label``, ``version``, ``at``."""
        return history.list_checkpoints(self._row(session, name))

    def forget(self, session: Session, label: str, *, name: str = "main") -> bool:
        """Delete a checkpoint. Return False if there is none of this label."""
        return history.forget_checkpoint(self._row(session, name), label)

    def restore(self, session: Session, to: int | str, *, name: str = "main") -> Position | Ticket:
        """Restore the document of a version or label, as an ordinary new version."""
        return restore.restore(_id(session), name, to)

    def compress(self, session: Session, *, name: str = "main") -> int:
        """Store a snapshot (compressed if it is large) and shorten a log that is over its limits.

        Return the number of revisions removed.
        """
        return compaction.compact_document(self._row(session, name))

    def _row(self, session: Session, name: str) -> int:
        row = bodies.find_document(settings().database, _id(session), name)
        if row is None:
            raise DocumentNotFound()
        return row

    def conflicts(
        self, session: Session, *, name: str = "main", include_resolved: bool = False
    ) -> list[dict[str, Any]]:
        """Return the records that ``manual`` kept, newest first: ``id, path, version, base?, server?, client?, …``."""
        row = bodies.find_document(settings().database, _id(session), name)
        return [] if row is None else kept_conflicts.list_conflicts(row, include_resolved=include_resolved)

    def resolve(
        self, session: Session, conflict: uuid.UUID | str, keep: str, value: Any = MISSING, *, name: str = "main"
    ) -> Position:
        """Decide a conflict: ``keep`` is ``server``, ``client`` or ``value``. Not inside a transaction.

        Raises ``Conflict`` if somebody has decided it before.
        """
        id_ = conflict if isinstance(conflict, uuid.UUID) else uuid.UUID(conflict)
        return deciding.resolve(_id(session), name, id_, keep, value).require()

    def size(self, session: Session, name: str = "main") -> int:
        """Return the exact size in bytes of compact JSON."""
        using = settings().database
        row = bodies.find_document(using, _id(session), name)
        if row is None:
            return 2
        bodies.keep_snapshot(using, row, at=clock.read(using))
        return bodies.read_size_bound(using, row)


state = State()


def drain() -> int:
    """Apply the outbox entries of committed transactions, now and in this process. Return their number."""
    return bridge().drain()


def _id(session: Session) -> uuid.UUID:
    return session.pk if isinstance(session, ClientSession) else session
