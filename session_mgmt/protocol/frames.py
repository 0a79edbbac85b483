"""Frames from clients as frozen values: one class per frame of PROTOCOL section 3.

Frequent frames are tuples, which are created five times faster. ``parse`` takes decoded JSON, strictly checked before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from session_mgmt.exceptions import InvalidField, UnknownFrame
from session_mgmt.protocol import position as positions
from session_mgmt.protocol.fields import (
    check_replaced,
    check_tag,
    read_count,
    read_flag,
    read_optional_count,
    read_optional_text,
    read_seconds,
    read_text,
)
from session_mgmt.protocol.logs import SESSION, STATE, TOPIC
from session_mgmt.protocol.position import Position

JSON: TypeAlias = Any

NUMBERED = ("update", "publish", "send")
CHANGES = ("ops", "merge", "patch", "data")
STRATEGIES = ("merge", "server_wins", "client_wins", "reject", "manual")
_OF_A_BASE = ("base", "epoch", "tag", "replaced")
NAME_LIMIT = 100
TOPIC_LIMIT = 255
USER_LIMIT = 200
# Entries in a page of a topic's history: by default, and at most.
HISTORY_PAGE, HISTORY_LIMIT = 50, 200
# Proof of the session: a token in the frame, or the cookie of the handshake.
BY_TOKEN, BY_COOKIE = "token", "cookie"
# For a page that does not name the expected user; None is no user. A text in a frame cannot contain NUL.
ANYBODY = "\0"


@dataclass(frozen=True, slots=True)
class Connect:
    token: str = field(repr=False)
    client_id: str | None
    acked: int
    logs: dict[str, JSON]
    agent: str
    user: str | None = ANYBODY
    auth: str = BY_TOKEN
    name: str | None = None
    slow: dict[str, JSON] = field(default_factory=dict)
    since: dict[str, JSON] = field(default_factory=dict)
    filters: dict[str, JSON] = field(default_factory=dict)

    @property
    def has_topics(self) -> bool:
        """True if one of the logs is a topic."""
        return any(name.startswith(TOPIC) for name in self.logs)


class Update(NamedTuple):
    """Change of a document; ``kind`` is the field that held it: ``ops``, ``merge``, ``patch`` or ``data``.

    ``base``, ``epoch`` and ``tag`` are the position of the version that the change was made on. Without ``strategy``
    the document's strategy is used. ``replaced`` are digests of the values that the change replaced, by path. With
    ``if_absent`` the document must never have been written. With ``atomic`` either all operations take effect, or none.
    """

    seq: int
    doc: str
    kind: str
    change: JSON
    base: int | None
    epoch: str | None
    strategy: str | None
    replaced: dict[str, str | None] | None
    if_absent: bool = False
    tag: str | None = None
    atomic: bool = False


class Publish(NamedTuple):
    """Publication; ``seq`` is None only if it is ephemeral."""

    seq: int | None
    topic: str
    data: JSON
    key: str | None


class Send(NamedTuple):
    seq: int
    data: JSON


@dataclass(frozen=True, slots=True)
class Subscribe:
    id: int
    log: str
    position: JSON
    slow: str | None = None
    since: JSON = None
    filter: JSON = None


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    id: int
    log: str


@dataclass(frozen=True, slots=True)
class History:
    """Request for the entries of a topic before a position, or for the newest ones."""

    id: int
    log: str
    before: Position | None
    limit: int


@dataclass(frozen=True, slots=True)
class Enter:
    """Request to become a member of a topic, or to change the ``data`` of the client's member."""

    id: int
    log: str
    data: JSON


@dataclass(frozen=True, slots=True)
class Leave:
    """Request to leave the members of a topic."""

    id: int
    log: str


@dataclass(frozen=True, slots=True)
class Members:
    """Request for the members of a topic."""

    id: int
    log: str


@dataclass(frozen=True, slots=True)
class Value:
    """Request for the value of a topic, with the position after which entries change it."""

    id: int
    log: str


class Ack(NamedTuple):
    seq: int


class Ping(NamedTuple):
    id: int


class Pong(NamedTuple):
    ping: int
    acked: int | None


@dataclass(frozen=True, slots=True)
class Configure:
    """Wishes for this connection by name: ``interval``, ``missed_limit`` and ``batch``."""

    id: int
    wishes: dict[str, float]


@dataclass(frozen=True, slots=True)
class Refresh:
    """Exchange of a refresh token for the next pair; ``nonce`` identifies the request, so that it may be repeated."""

    id: int
    token: str = field(repr=False)
    nonce: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Disconnect:
    reason: str = field(default="")


Frame: TypeAlias = (
    Connect
    | Update
    | Publish
    | Send
    | Subscribe
    | Unsubscribe
    | History
    | Enter
    | Leave
    | Members
    | Value
    | Ack
    | Ping
    | Pong
    | Configure
    | Refresh
    | Disconnect
)


def parse(message: JSON) -> Frame:
    """Build a frame from decoded JSON. Raises ``UnknownFrame``, or ``InvalidField`` with the name of the field."""
    if not isinstance(message, dict):
        raise InvalidField("A frame is a JSON object.", field="")
    kind = message.get("type")
    reader = _READERS.get(kind) if type(kind) is str else None
    if reader is None:
        read_text(message, "type", 40)
        raise UnknownFrame()
    return reader(message)


def _read_connect(message: JSON) -> Connect:
    logs = message.get("logs", {})
    # Names and positions are judged one by one, so that a bad one denies only its own log.
    if not isinstance(logs, dict):
        raise InvalidField("logs is an object of positions by name.", field="logs")
    wishes = {name: {} if message.get(name) is None else message[name] for name in ("slow", "since", "filter")}
    for name, value in wishes.items():
        if not isinstance(value, dict):
            raise InvalidField(f"{name} is an object of wishes by log.", field=name)
    auth = read_optional_text(message, "auth", 20) or BY_TOKEN
    if auth not in (BY_TOKEN, BY_COOKIE):
        raise InvalidField("auth is token or cookie.", field="auth")
    if auth == BY_COOKIE and message.get("token") is not None:
        raise InvalidField("Beside auth cookie there is no token.", field="token")
    return Connect(
        token=read_text(message, "token", 200) if auth == BY_TOKEN else "",
        client_id=read_optional_text(message, "client_id", 40),
        acked=read_count(message, "acked", default=0),
        logs=logs,
        agent=(read_optional_text(message, "agent", 100) or ""),
        user=read_optional_text(message, "user", USER_LIMIT) if "user" in message else ANYBODY,
        auth=auth,
        name=read_optional_text(message, "name", 40),
        slow=wishes["slow"],
        since=wishes["since"],
        filters=wishes["filter"],
    )


def _read_update(message: JSON) -> Update:
    kinds = [kind for kind in CHANGES if kind in message]
    # Two changes in one frame would have no order.
    if len(kinds) != 1:
        raise InvalidField("An update has exactly one of ops, merge, patch and data.", field="ops")
    strategy = read_optional_text(message, "strategy", 20)
    if strategy is not None and strategy not in STRATEGIES:
        raise InvalidField(f"strategy is one of {', '.join(STRATEGIES)}.", field="strategy")
    return Update(
        seq=read_count(message, "seq", least=1),
        doc=read_optional_text(message, "doc", NAME_LIMIT) or "main",
        kind=kinds[0],
        change=message[kinds[0]],
        base=read_optional_count(message, "base"),
        epoch=read_optional_text(message, "epoch", 64),
        strategy=strategy,
        replaced=None if message.get("replaced") is None else check_replaced(message["replaced"]),
        if_absent=_read_if_absent(message, kinds[0]),
        tag=check_tag(message.get("tag"), message.get("base")),
        atomic=read_flag(message, "atomic"),
    )


def _read_if_absent(message: JSON, kind: str) -> bool:
    given = message.get("if_absent")
    if given is None or given is False:
        return False
    # A change that names a version, or patches a value, says that the document is not absent.
    if given is not True or kind == "patch" or any(message.get(name) is not None for name in _OF_A_BASE):
        raise InvalidField(f"if_absent is true or false, without patch, {', '.join(_OF_A_BASE)}.", field="if_absent")
    return True


def _read_publish(message: JSON) -> Publish:
    if "data" not in message:
        raise InvalidField("data is missing.", field="data")
    # An ephemeral publication is never stored, so it has no number and no receipt.
    return Publish(
        seq=None if read_flag(message, "ephemeral") else read_count(message, "seq", least=1),
        topic=read_text(message, "topic", TOPIC_LIMIT),
        data=message["data"],
        key=read_optional_text(message, "key", NAME_LIMIT),
    )


def _read_send(message: JSON) -> Send:
    if "data" not in message:
        raise InvalidField("data is missing.", field="data")
    return Send(read_count(message, "seq", least=1), message["data"])


def _read_subscribe(message: JSON) -> Subscribe:
    # The position is read later: an unreadable one results in a verdict about the log, not in an error of the frame.
    return Subscribe(
        id=read_count(message, "id"),
        log=read_text(message, "log", TOPIC_LIMIT + 10),
        position=message.get("position"),
        slow=read_optional_text(message, "slow", 20),
        since=message.get("since"),
        filter=message.get("filter"),
    )


def _read_unsubscribe(message: JSON) -> Unsubscribe:
    log = read_text(message, "log", TOPIC_LIMIT + 10)
    if not log.startswith((TOPIC, STATE)) and log != SESSION:
        raise InvalidField("log is session, state:<name> or topic:<topic>.", field="log")
    return Unsubscribe(read_count(message, "id"), log)


def _read_history(message: JSON) -> History:
    limit = read_count(message, "limit", least=1, default=HISTORY_PAGE)
    if limit > HISTORY_LIMIT:
        raise InvalidField(f"limit is at most {HISTORY_LIMIT}.", field="limit", allowed=[1, HISTORY_LIMIT])
    given = message.get("before")
    before = positions.parse(given)
    if given is not None and before is None:
        raise InvalidField("before is the position of an entry, or null.", field="before")
    return History(read_count(message, "id"), read_text(message, "log", TOPIC_LIMIT + 10), before, limit)


def _read_enter(message: JSON) -> Enter:
    return Enter(read_count(message, "id"), read_text(message, "log", TOPIC_LIMIT + 10), message.get("data"))


def _read_leave(message: JSON) -> Leave:
    return Leave(read_count(message, "id"), read_text(message, "log", TOPIC_LIMIT + 10))


def _read_members(message: JSON) -> Members:
    return Members(read_count(message, "id"), read_text(message, "log", TOPIC_LIMIT + 10))


def _read_value(message: JSON) -> Value:
    return Value(read_count(message, "id"), read_text(message, "log", TOPIC_LIMIT + 10))


def _read_ack(message: JSON) -> Ack:
    return Ack(read_count(message, "seq"))


def _read_ping(message: JSON) -> Ping:
    return Ping(read_count(message, "id"))


def _read_pong(message: JSON) -> Pong:
    return Pong(read_count(message, "ping"), read_optional_count(message, "acked"))


def _read_configure(message: JSON) -> Configure:
    wishes: dict[str, float] = {}
    for name in ("interval", "batch"):
        if message.get(name) is not None:
            wishes[name] = read_seconds(message, name)
    if message.get("missed_limit") is not None:
        wishes["missed_limit"] = read_count(message, "missed_limit", least=1)
    return Configure(read_count(message, "id"), wishes)


def _read_refresh(message: JSON) -> Refresh:
    return Refresh(read_count(message, "id"), read_text(message, "token", 200), read_text(message, "nonce", 43))


def _read_disconnect(message: JSON) -> Disconnect:
    return Disconnect(read_optional_text(message, "reason", 100) or "")


_READERS: dict[str, Callable[[JSON], Frame]] = {
    "connect": _read_connect,
    "update": _read_update,
    "publish": _read_publish,
    "send": _read_send,
    "subscribe": _read_subscribe,
    "unsubscribe": _read_unsubscribe,
    "history": _read_history,
    "enter": _read_enter,
    "leave": _read_leave,
    "members": _read_members,
    "value": _read_value,
    "ack": _read_ack,
    "ping": _read_ping,
    "pong": _read_pong,
    "configure": _read_configure,
    "refresh": _read_refresh,
    "disconnect": _read_disconnect,
}

FRAME_TYPES = tuple(_READERS)
