"""Sessions, publications and messages."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model

from session_mgmt.actions import access, monitoring
from session_mgmt.actions.access import SERVER
from session_mgmt.actions.encoding import encode_python, telling_place
from session_mgmt.actions.outbox import Ticket
from session_mgmt.actions.sessions import (
    connections,
    devices,
    lifecycle,
    logins,
    standing,
    stopping,
    user_changes,
)
from session_mgmt.actions.sessions.lifecycle import Created, Device
from session_mgmt.actions.topics import snapshots
from session_mgmt.actions.topics.history import PastPage, read_page_before
from session_mgmt.actions.topics.presence import Members, read_members
from session_mgmt.actions.topics.snapshots import Value
from session_mgmt.bridge import bridge
from session_mgmt.bridge.colours import make_async
from session_mgmt.conf import settings
from session_mgmt.exceptions import InvalidField
from session_mgmt.models import ClientSession, clock
from session_mgmt.protocol.codes import Close
from session_mgmt.protocol.frames import HISTORY_LIMIT, HISTORY_PAGE
from session_mgmt.protocol.patterns import is_topic
from session_mgmt.protocol.position import Position, parse
from session_mgmt.protocol.scopes import check_scopes
from session_mgmt.shortcuts.arguments import (
    Session,
    as_count,
    as_label,
    as_owner,
    as_session_id,
    as_text,
    as_user,
    as_uuid,
)
from session_mgmt.writes import verbs


def create_session(
    *,
    user: Any = None,
    metadata: dict[str, Any] | None = None,
    session_id: uuid.UUID | str | None = None,
    idle_timeout: float | None = None,
    absolute_timeout: float | None = None,
    scopes: Iterable[str] | None = None,
    tenant: str = "",
) -> Created:
    """Create a session from trusted code; the result holds its token. Timeouts are in seconds.

    ``scopes`` limit what the session may do; ``None`` means no limit.

    Raises ``InvalidField``, ``InvalidJSON``, ``SessionLimit`` or ``DocumentRefused`` (of the metadata).
    """
    config = {"idle_timeout": idle_timeout, "absolute_timeout": absolute_timeout}
    owner = as_user(user)
    id_ = None if session_id is None else as_uuid(session_id, "session_id")
    listed = list(scopes) if isinstance(scopes, Iterable) and not isinstance(scopes, str) else scopes
    may = [] if listed is None else check_scopes(listed)
    with telling_place():
        return lifecycle.create_session(
            user=owner,
            metadata=None if metadata is None else encode_python(metadata),
            config=config,
            session_id=id_,
            device=Device(),
            scopes=may,
            tenant=as_label(tenant, "tenant", 100),
        )


def require_recent_login(session: ClientSession, max_age: timedelta) -> None:
    """Require that the session's user has logged in recently.

    Call it in message handlers and functions of topics. Raises ``ReauthRequired``, which is sent to the client. A login
    at an unknown time is never recent.
    """
    access.require_recent_login(session.auth_time, max_age, clock.read(settings().database))


def get_session(session: Session) -> ClientSession:
    """Return the session with its user and activity. Raises ``SessionNotFound`` or ``InvalidField``."""
    return lifecycle.read_session(SERVER, as_session_id(session))


def terminate_session(session: Session, *, reason: str = "requested") -> bool:
    """End a session for good; return False if it has ended before. Raises ``SessionNotFound`` or ``InvalidField``."""
    return lifecycle.terminate_session(SERVER, as_session_id(session), reason=as_text(reason, "reason"))


def end_user_sessions(user: Any, *, keep: Session | None = None, reason: str = "requested") -> int:
    """End all sessions of a user permanently, and the logins they depend on.

    Return the number of sessions. All sessions in the browser of the session ``keep`` stay alive. Raises
    ``InvalidField``.
    """
    kept = None if keep is None else as_session_id(keep)
    return devices.end_user_sessions(as_owner(user), keep=kept, reason=as_text(reason, "reason"))


def end_login(request_or_key: Any, *, reason: str = "requested") -> bool:
    """End the login of a Django request, or of the Django session with this key, and all sessions that depend on it.

    Return False if no session has ever depended on it. Raises ``InvalidField``.
    """
    return logins.end_login_of(request_or_key, as_text(reason, "reason"))


def rebind_session(session: Session, user: Any) -> None:
    """Keep a session alive although its user's password has changed; call it in the transaction of the change.

    Sessions that depend on a browser's login do not need this. Raises ``SessionNotFound``, ``SessionTerminated`` or
    ``InvalidField``.
    """
    standing.rebind_session(as_session_id(session), as_owner(user))


def access_changed(user_or_session: Any) -> None:
    """Check the permission for everything that a user, or a session, follows again. Call it when rights have changed
    without a signal.

    Raises ``InvalidField``.
    """
    if isinstance(user_or_session, get_user_model()):
        user_changes.change_access(user=as_owner(user_or_session))
    else:
        user_changes.change_access(session=as_session_id(user_or_session))


def publish(topic: str, data: Any, *, key: str | None = None, ephemeral: bool = False) -> Position | Ticket | None:
    """Publish to a topic: ``Position`` if it is written now, ``Ticket`` inside a transaction, ``None`` if ephemeral.

    ``key`` makes a repetition harmless. Raises ``InvalidField`` (topic or key), ``InvalidJSON`` or
    ``DocumentRefused`` (data), ``Busy`` or ``Unavailable``.
    """
    with telling_place():
        return verbs.publish(topic, encode_python(data), key=key, ephemeral=ephemeral)


def history(topic: str, *, before: Position | None = None, limit: int = HISTORY_PAGE) -> PastPage:
    """Return the newest publications of a topic, or the newest before a position: ``entries`` with ``position``,
    ``data`` and ``at``, oldest first, and ``more``, which tells whether older ones are stored.

    The ``position`` of the first entry is the ``before`` of the next page, which has at most 200. Raises
    ``InvalidField``, or ``UnknownPosition`` for a position of another history.
    """
    if not is_topic(topic):
        raise InvalidField("A topic is printable text of at most 255 characters.", field="topic")
    # Read again as clients' positions are: also a `Position` may hold what no log has.
    if before is not None and (not isinstance(before, Position) or parse(before.as_json()) is None):
        raise InvalidField("before is the position of an entry.", field="before")
    if as_count(limit, "limit") > HISTORY_LIMIT:
        raise InvalidField(f"limit is a whole number from 1 to {HISTORY_LIMIT}.", field="limit")
    return read_page_before(settings().database, topic, before, limit)


@contextmanager
def open_snapshot(*topics: str) -> Iterator[dict[str, list[Any]]]:
    """Let the block read data for a page, together with the positions of topics at the same moment.

    The block gets a dictionary with the position of each topic as JSON. The page passes it as ``since`` to
    ``subscribe``, and so misses nothing. All reads of the block see that one moment of the app's database, and nothing
    can be written in it. Raises ``RuntimeError`` inside a transaction, ``InvalidField`` (topic) or ``Busy``.
    """
    if not all(is_topic(topic) for topic in topics):
        raise InvalidField("A topic is printable text of at most 255 characters.", field="topic")
    using = _require_no_transaction("open_snapshot()")
    with snapshots.open_snapshot(using, topics, bridge().drain) as places:
        yield {topic: place.as_json() for topic, place in places.items()}


def _require_no_transaction(name: str) -> str:
    """Return the alias of the app's database. Raises ``RuntimeError`` inside a transaction, where no snapshot can
    begin.
    """
    using = settings().database
    if bridge().inside_transaction():
        raise RuntimeError(
            f"{name} begins a transaction of its own on {using!r}, and cannot be used inside atomic(). With "
            "ATOMIC_REQUESTS, mark the view with @transaction.non_atomic_requests."
        )
    return using


def value(topic: str, session: Session) -> Value:
    """Return the value of a topic as a session would get it: ``data``, and the ``position`` after which publications
    change it. No permission is checked.

    Raises ``RuntimeError`` inside a transaction, ``SessionNotFound``, ``InvalidField`` for a topic that is not declared
    with ``snapshot``, ``HandlerFailed`` or ``Unavailable`` where its function fails, or ``Busy``.
    """
    if not is_topic(topic):
        raise InvalidField("A topic is printable text of at most 255 characters.", field="topic")
    using = _require_no_transaction("value()")
    return snapshots.read_value(using, get_session(session), topic, bridge().drain)


def members(topic: str) -> Members:
    """Return the members who are present in a topic, as its followers see them: ``count``, and ``rows`` by member, each
    with ``data`` and ``since``; ``None`` above ``members_shown``. ``position`` is the position in the log of its
    presence.

    Raises ``InvalidField`` for a topic that is not declared with presence.
    """
    if not is_topic(topic):
        raise InvalidField("A topic is printable text of at most 255 characters.", field="topic")
    return read_members(topic)


def send(session: Session, data: Any, *, key: str | None = None) -> Position | Ticket:
    """Write a message to the session's own log. Each of its clients receives it once, now or when it reconnects.

    Raises ``SessionNotFound`` or ``SessionEnded`` (not inside a transaction), and as ``publish``.
    """
    with telling_place():
        return verbs.send(as_session_id(session), encode_python(data), key=key)


def is_connected(session: Session) -> bool:
    """Return whether any client of the session has a live connection, on any process. Raises ``InvalidField``."""
    id_ = as_session_id(session)
    return connections.read_states([id_])[id_] == "connected"


def disconnect(session: Session) -> int:
    """Close the session's connections on every process, and return their number.

    Their clients do not reconnect. After the commit they can write nothing more. Each connection is closed at once, or
    by the next control query of its process if no notification reaches it. Raises ``InvalidField``.
    """
    return stopping.stop_session(as_session_id(session), Close.NORMAL)


def reconnect(session: Session) -> int:
    """Close the session's connections as ``disconnect`` does; their clients reconnect at once. Raises ``InvalidField``.

    Nothing is lost: clients come back with their positions, and repeat every write without a receipt.
    """
    return stopping.stop_session(as_session_id(session), Close.DETACHED)


def list_connections(session: Session) -> list[dict[str, Any]]:
    """Return the session's newest connections with their figures, like ``connections/`` of the REST API.

    Raises ``SessionNotFound`` or ``InvalidField``.
    """
    return monitoring.list_connections(lifecycle.read_session(SERVER, as_session_id(session)).pk)


def drain() -> int:
    """Apply the outbox entries of committed transactions, now and in this process. Return their number."""
    return bridge().drain()


acreate_session = make_async(create_session)
aget_session = make_async(get_session)
aterminate_session = make_async(terminate_session)
arequire_recent_login = make_async(require_recent_login)
aend_user_sessions = make_async(end_user_sessions)
aend_login = make_async(end_login)
arebind_session = make_async(rebind_session)
aaccess_changed = make_async(access_changed)
apublish = make_async(publish)
ahistory = make_async(history)
avalue = make_async(value)
amembers = make_async(members)
asend = make_async(send)
ais_connected = make_async(is_connected)
adisconnect = make_async(disconnect)
areconnect = make_async(reconnect)
alist_connections = make_async(list_connections)
