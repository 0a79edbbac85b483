"""Scopes: limits of a session and its tokens, and the tables of the scopes that frames and calls need.

A scope is ``what``, as in ``state:read``, or ``what:pattern``, as in ``state:write:cart``. A pattern names one document
or topic, or with ``*`` at its end all names that begin with it. Everything that is not in the tables is denied.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from session_mgmt.exceptions import InvalidField, ScopeMissing
from session_mgmt.protocol.logs import PRESENCE, SESSION, STATE, TOPIC

READ_STATE, WRITE_STATE = "state:read", "state:write"
FOLLOW, PUBLISH = "topics:follow", "topics:publish"
READ_EVENTS, SEND = "events:read", "messages:send"
MANAGE = "session:manage"
LIST_SESSIONS, END_SESSIONS = "sessions:list", "sessions:end"
APP = "app"
# Scopes that may have a pattern; ``app`` must have one.
_OF_NAMES = (READ_STATE, WRITE_STATE, FOLLOW, PUBLISH)
_PLAIN = (READ_EVENTS, SEND, MANAGE, LIST_SESSIONS, END_SESSIONS)
# A session without a user has no sister sessions; its list shows only itself.
OF_USERS: Final = frozenset((END_SESSIONS,))

MOST: Final = 50
# Name in a scope: visible characters, with "*" only at the end.
_NAME = r"(?:[^*\s\x00-\x1f\x7f\ud800-\udfff]{1,255}\*?|\*)"
SCOPE_PATTERN: Final = rf"^(?:(?:{'|'.join(_OF_NAMES)})(?::{_NAME})?|{'|'.join(_PLAIN)}|{APP}:{_NAME})$"
_SCOPE = re.compile(SCOPE_PATTERN)


@dataclass(frozen=True, slots=True)
class Need:
    """Scope that something needs. Its pattern is compared with ``part``, the name of a field or of a part of a URL."""

    what: str | None
    part: str | None = None


FREE = Need(None)
BY_LOG = Need(None, "log")

FRAMES: Final[dict[str, Need]] = {
    # Its logs are checked one by one.
    "connect": BY_LOG,
    "subscribe": BY_LOG,
    "history": BY_LOG,
    "enter": BY_LOG,
    "members": BY_LOG,
    "value": BY_LOG,
    "update": Need(WRITE_STATE, "doc"),
    "publish": Need(PUBLISH, "topic"),
    "send": Need(SEND),
    **dict.fromkeys(("unsubscribe", "leave", "ack", "ping", "pong", "configure", "refresh", "disconnect"), FREE),
}

_READ, _WRITE, _EVENTS, _MANAGE = Need(READ_STATE, "name"), Need(WRITE_STATE, "name"), Need(READ_EVENTS), Need(MANAGE)
# By the name of the route and the method, for callers with a session's token.
CALLS: Final[dict[tuple[str, str], Need]] = {
    # Their frames and logs are checked one by one.
    **{(name, "POST"): FREE for name in ("connections", "connection-poll", "connection-frames", "connection-leave")},
    ("session-list", "GET"): Need(LIST_SESSIONS),
    # A token is refused there for another reason.
    ("session-list", "POST"): FREE,
    ("device-list", "GET"): Need(LIST_SESSIONS),
    ("device-list", "DELETE"): Need(END_SESSIONS),
    ("device-detail", "DELETE"): Need(END_SESSIONS),
    ("session-detail", "GET"): FREE,
    ("session-detail", "PATCH"): _MANAGE,
    ("session-detail", "DELETE"): _MANAGE,
    ("session-validate", "POST"): FREE,
    # Only tokens without their own scopes are accepted there.
    ("session-recover", "POST"): FREE,
    ("session-metrics", "GET"): _EVENTS,
    ("session-events", "GET"): _EVENTS,
    ("session-connections", "GET"): _EVENTS,
    ("session-disconnect", "POST"): FREE,
    ("session-reconnect", "POST"): FREE,
    ("session-messages", "POST"): FREE,
    ("document-list", "GET"): Need(READ_STATE),
    ("document-detail", "GET"): _READ,
    ("document-detail", "PATCH"): _WRITE,
    ("document-detail", "PUT"): _WRITE,
    ("document-detail", "DELETE"): _WRITE,
    ("document-sync", "POST"): _READ,
    ("document-sync", "pending"): _WRITE,
    ("document-size", "GET"): _READ,
    ("document-compress", "POST"): _WRITE,
    ("document-history", "GET"): _READ,
    ("document-version", "GET"): _READ,
    ("document-diff", "GET"): _READ,
    ("document-persist", "GET"): _READ,
    ("document-persist", "POST"): _WRITE,
    ("document-checkpoint", "GET"): _READ,
    ("document-checkpoint", "DELETE"): _WRITE,
    ("document-restore", "POST"): _WRITE,
    ("conflict-list", "GET"): _READ,
    ("conflict-resolve", "POST"): _WRITE,
    ("topic-publications", "GET"): Need(FOLLOW, "topic"),
    ("topic-publications", "POST"): Need(PUBLISH, "topic"),
    ("topic-value", "GET"): Need(FOLLOW, "topic"),
    ("topic-members", "GET"): Need(FOLLOW, "topic"),
    ("token-narrow", "POST"): FREE,
    # For a sister session instead of the token's own session.
    ("session-detail", "sister"): Need(END_SESSIONS),
    ("health", "GET"): FREE,
    ("schema", "GET"): FREE,
}


class Scopes:
    """Scopes of a session or of a token, prepared for a check of each frame."""

    __slots__ = ("_exact", "_prefixes", "_whole", "names")

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(sorted(set(names)))
        split = [_split(name) for name in self.names]
        self._whole = frozenset(what for what, pattern in split if pattern is None)
        self._exact = frozenset((what, p) for what, p in split if p is not None and not p.endswith("*"))
        prefixes: dict[str, tuple[str, ...]] = {}
        for what, pattern in split:
            if pattern is not None and pattern.endswith("*"):
                prefixes[what] = (*prefixes.get(what, ()), pattern[:-1])
        self._prefixes = prefixes

    def allows(self, what: str, of: str | None) -> bool:
        """Return True if the scopes allow ``what`` for the name ``of``; None stands for all names."""
        if what in self._whole:
            return True
        if of is None:
            return False
        return (what, of) in self._exact or of.startswith(self._prefixes.get(what, ()))

    def covers(self, name: str) -> bool:
        """Return True if another scope allows nothing in addition to these."""
        what, pattern = _split(name)
        if pattern is None or not pattern.endswith("*"):
            return self.allows(what, pattern)
        prefixes = self._prefixes.get(what, ())
        return what in self._whole or pattern[:-1].startswith(prefixes)


@dataclass(frozen=True, slots=True)
class Restriction:
    """Scopes of a session and of its token; both must allow something. Without scopes only ``lacks`` is refused."""

    parts: tuple[Scopes, ...] = ()
    lacks: frozenset[str] = frozenset()

    def find_missing(self, what: str, of: str | None = None) -> str | None:
        """Return the scope that is missing, or ``None``."""
        if what not in self.lacks and all(part.allows(what, of) for part in self.parts):
            return None
        return what if of is None else f"{what}:{of}"

    def covers(self, name: str) -> bool:
        """Return True if a scope allows nothing in addition to these."""
        return name not in self.lacks and all(part.covers(name) for part in self.parts)


def explain_missing(restriction: Restriction | None, need: Need | None, of: str | None = None) -> ScopeMissing | None:
    """Return the reason why something is not allowed, or None. Something without a row in the tables is
    never allowed.
    """
    if need is None:
        return ScopeMissing("Nothing allows this.", scope="")
    if restriction is None or need.what is None:
        return None
    if need.what == FOLLOW and of is not None:
        # For scopes, the right to follow a topic includes the right to see its members.
        of = of.removeprefix(PRESENCE)
    missing = restriction.find_missing(need.what, of)
    return None if missing is None else ScopeMissing(f"The token lacks the scope {missing}.", scope=missing)


def explain_log(restriction: Restriction | None, log: str) -> ScopeMissing | None:
    """Return the reason why a log may not be followed, or None; a name that is not a log is not checked here."""
    if restriction is None:
        return None
    if log == SESSION:
        return explain_missing(restriction, _EVENTS)
    for prefix, what in ((STATE, READ_STATE), (TOPIC, FOLLOW)):
        if log.startswith(prefix):
            return explain_missing(restriction, Need(what), log.removeprefix(prefix))
    return None


def check_scopes(given: Any) -> list[str]:
    """Return the scopes sorted, each once. Raises ``InvalidField``, also for an empty list, which could be misread."""
    if not isinstance(given, list | tuple | set | frozenset) or not 0 < len(given) <= MOST:
        raise InvalidField(f"scopes is a list of 1 to {MOST} names.", field="scopes")
    for name in given:
        if not isinstance(name, str) or _SCOPE.fullmatch(name) is None:
            shown = repr(name[:100]) if isinstance(name, str) else "a value that is not text"
            raise InvalidField(f"scopes has {shown}, which is no scope.", field="scopes")
    return sorted(set(given))


def require_covered(restriction: Restriction | None, names: Iterable[str]) -> None:
    """Check that scopes allow nothing beyond a restriction. Raises ``ScopeMissing``."""
    for name in names:
        if restriction is not None and not restriction.covers(name):
            raise ScopeMissing(f"The scope {name} goes beyond what the caller has.", scope=name)


def restrict(session: Iterable[str], token: Iterable[str] | None, *, is_nobodys: bool) -> Restriction | None:
    """Return the restriction by the scopes of a session and its token; None if there is none."""
    parts = tuple(_read_scopes(tuple(names)) for names in (session, token) if names)
    if not parts and not is_nobodys:
        return None
    return Restriction(parts, OF_USERS if is_nobodys else frozenset())


@lru_cache(maxsize=1000)
def _read_scopes(names: tuple[str, ...]) -> Scopes:
    """Return the scopes; cached, because thousands of connections have few different sets of them."""
    return Scopes(names)


def _split(name: str) -> tuple[str, str | None]:
    """Return what a scope allows, and its pattern or None."""
    if name.startswith(APP + ":"):
        return APP, name.removeprefix(APP + ":")
    area, _, rest = name.partition(":")
    verb, colon, pattern = rest.partition(":")
    return f"{area}:{verb}", pattern if colon else None
