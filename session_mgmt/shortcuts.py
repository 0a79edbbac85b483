"""What projects import: ``from session_mgmt.shortcuts import on, on_message, publish, send, state, topic``.

Every function may be called from a view, a signal, a task, the admin, or inside ``atomic()``, where it takes effect
if and only if the transaction commits. A session is given as a ``ClientSession`` or its id.
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
    """Make a session from trusted code; the answer holds its token. ``config`` as in ``docs/reference/rest.md``."""
    return lifecycle.create(user=user, metadata=metadata, config=config, session_id=session_id, device=Device())


def get_session(session: uuid.UUID) -> ClientSession:
    """The session with its user and activity. Raises ``SessionNotFound``."""
    return lifecycle.get(SERVER, session)


def terminate_session(session: Session, *, reason: str = "requested") -> bool:
    """End a session for good; False if it had ended before."""
    return lifecycle.terminate(SERVER, _id(session), reason=reason)


def send(session: Session, data: Any, *, key: str | None = None) -> Position | Ticket:
    """Put a message into the session's own log: every client of it sees the message once, now or when it comes back."""
    return verbs.send(_id(session), data, key=key)


def is_connected(session: Session) -> bool:
    """Whether any client of the session has a live connection, on whatever process."""
    return connections.states([_id(session)])[_id(session)] == "connected"


def disconnect(session: Session) -> None:
    """Close the session's connections wherever they are; their clients do not come back by themselves."""
    connections.stop(_id(session), Close.NORMAL)


def reconnect(session: Session) -> None:
    """Close the session's connections wherever they are; their clients come back at once."""
    connections.stop(_id(session), Close.DETACHED)


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
        """The document as it is, ``{}`` if nothing was ever written; or as it was at a version or under a label.

        With ``path`` (RFC 6901) the value there, ``default`` if none. Raises ``InvalidPath``, and as ``read_at``.
        """
        data = lookup.info(_id(session), name).data if version is None else self.read_at(session, version, name=name)
        try:
            found = pointer.value(data, path)
        except DocumentError as error:
            raise checking.translate_error(error) from error
        return default if found is MISSING else found

    def info(self, session: Session, name: str = "main") -> ClientState:
        """The document with what is known of it: ``data, version, last_modified, checksum, …``, all of one version."""
        return lookup.info(_id(session), name)

    def checksum(self, session: Session, name: str = "main") -> str:
        """SHA-256 of the document as RFC 8785 text, in hex; a client that is up to date has the same."""
        return lookup.info(_id(session), name).checksum

    def documents(self, session: Session) -> list[dict[str, Any]]:
        """The session's documents without their data, by name: ``name, version, position, size, …``."""
        return [lookup.head(row) for row in lookup.listed(_id(session))]

    def sync(
        self, session: Session, position: Position | list[Any] | None = None, *, name: str = "main"
    ) -> dict[str, Any]:
        """What somebody at ``position`` has missed: one verdict, ``mode`` ``up_to_date``, ``entries`` or ``snapshot``
        (``docs/reference/rest.md``).
        """
        given = position.as_json() if isinstance(position, Position) else position
        answer: dict[str, Any] = orjson.loads(orjson.dumps(lookup.sync(_id(session), name, given)))
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
        """Change a document at its head, merged with whatever its clients are doing.

        One of ``merge`` (RFC 7396), ``ops`` (total operations) or ``patch`` (RFC 6902, not inside a transaction).
        ``key`` makes a repetition harmless.
        """
        given = {"merge": merge, "ops": ops, "patch": patch}
        chosen = {kind: change for kind, change in given.items() if change is not None}
        if len(chosen) != 1:
            raise InvalidField("Give exactly one of merge, ops and patch.", field="merge")
        ((kind, change),) = chosen.items()
        return verbs.update(_id(session), name, kind, change, key=key)

    def create_if_absent(
        self, session: Session, data: Any, *, name: str = "main", key: str | None = None
    ) -> Position | Ticket:
        """Give a document its first value; no effect if it was ever written, also if it was cleared since. The
        position is where the document then stands.
        """
        return verbs.update(_id(session), name, "data", data, key=key, if_absent=True)

    def replace(self, session: Session, data: Any, *, name: str = "main", key: str | None = None) -> Position | Ticket:
        """Set the whole document."""
        return verbs.update(_id(session), name, "data", data, key=key)

    def clear(self, session: Session, *, name: str = "main") -> Position | Ticket:
        """Empty the document; an ordinary new version."""
        return restore.clear(_id(session), name)

    def history(
        self, session: Session, *, name: str = "main", before: int | None = None, limit: int = history.PAGE
    ) -> dict[str, Any]:
        """A page of what made each version, newest first; ``next`` is the ``before`` of the next page
        (``docs/reference/rest.md``).
        """
        return history.versions(self._row(session, name), before=before, limit=limit)

    def read_at(self, session: Session, version: int | str, *, name: str = "main") -> Any:
        """The document as it was at a version or under a label. Raises ``NotFound`` where it is gone."""
        return history.read(self._row(session, name), version).data

    def diff(self, session: Session, first: int, second: int, *, name: str = "main") -> list[dict[str, Any]]:
        """What makes the second version of the first, as an RFC 6902 patch."""
        return history.diff(self._row(session, name), first, second)

    def persist(self, session: Session, label: str | None = None, *, name: str = "main") -> int:
        """Keep the document as it is for good, under a label; returns the version. ``restore`` takes the label back."""
        return int(history.persist(self._row(session, name), label)["version"])

    def checkpoints(self, session: Session, *, name: str = "main") -> list[dict[str, Any]]:
        """What ``persist`` keeps, oldest first: ``label``, ``version``, ``at``."""
        return history.checkpoints(self._row(session, name))

    def forget(self, session: Session, label: str, *, name: str = "main") -> bool:
        """Give a checkpoint up; False if there is none of this label."""
        return history.forget(self._row(session, name), label)

    def restore(self, session: Session, to: int | str, *, name: str = "main") -> Position | Ticket:
        """Make the document what it was at a version or under a label; an ordinary new version."""
        return restore.restore(_id(session), name, to)

    def compress(self, session: Session, *, name: str = "main") -> int:
        """Store a snapshot, compressed if it is large, and shorten a log that is over its limits; returns how many
        revisions went.
        """
        return compaction.compact(self._row(session, name))

    def _row(self, session: Session, name: str) -> int:
        row = bodies.find(settings().database, _id(session), name)
        if row is None:
            raise DocumentNotFound()
        return row

    def conflicts(
        self, session: Session, *, name: str = "main", include_resolved: bool = False
    ) -> list[dict[str, Any]]:
        """What ``manual`` kept: ``id, path, version, base?, server?, client?, …``, newest first."""
        row = bodies.find(settings().database, _id(session), name)
        return [] if row is None else kept_conflicts.listed(row, open_only=not include_resolved)

    def resolve(
        self, session: Session, conflict: uuid.UUID | str, keep: str, value: Any = MISSING, *, name: str = "main"
    ) -> Position:
        """Decide a conflict: ``keep`` is ``server``, ``client`` or ``value``. Not inside a transaction. Raises
        ``Conflict`` if somebody has decided before.
        """
        id_ = conflict if isinstance(conflict, uuid.UUID) else uuid.UUID(conflict)
        return verbs.told(deciding.resolve(_id(session), name, id_, keep, value))

    def size(self, session: Session, name: str = "main") -> int:
        """Bytes of compact JSON, exact."""
        using = settings().database
        now = settings()
        row = bodies.find(using, _id(session), name)
        if row is None:
            return 2
        bodies.materialise(
            using, row, at=clock.read(using), threshold=now.compression_threshold, limit=now.max_document_bytes * 2
        )
        return bodies.bound(using, row)


state = State()


def drain() -> int:
    """Carry out what committed transactions left in the outbox, now and here; returns how many wishes it was."""
    return bridge().drain()


def _id(session: Session) -> uuid.UUID:
    return session.pk if isinstance(session, ClientSession) else session
