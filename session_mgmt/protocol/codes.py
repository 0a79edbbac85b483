"""Close codes, and how a client must go on after each of them.

A test compares ``docs/PROTOCOL.md`` section 10 with this table.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from session_mgmt.exceptions import SessionMgmtError

MOST_REASON = 60


def read_reason(value: Any) -> str:
    """Return the reason of an end in the form that clients receive; "" for anything that is not a single word."""
    return value if isinstance(value, str) and value.isidentifier() and len(value) <= MOST_REASON else ""


class Close(IntEnum):
    """Close codes. 4000-4499: reconnect; 4500-4999: stop. So an old client understands new codes too."""

    NORMAL = 1000
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    DRAINING = 4000
    TOKEN_EXPIRED = 4001
    HEARTBEAT_LOST = 4002
    SLOW_CONSUMER = 4003
    INSUFFICIENT_STATE = 4004
    DETACHED = 4005
    LOGIN_CHECK = 4006
    CONNECT_TIMEOUT = 4008
    UNAVAILABLE = 4013
    TOO_MANY_REQUESTS = 4029
    CONNECTION_LIMIT = 4030
    INVALID_FRAME = 4500
    INVALID_TOKEN = 4501
    SESSION_TERMINATED = 4503
    SESSION_EXPIRED = 4504
    UNSUPPORTED_VERSION = 4506
    REPLACED = 4507
    CLIENT_FORGOTTEN = 4508
    ORIGIN_DENIED = 4509

    @property
    def reconnect(self) -> bool:
        """True for a code after which the client should reconnect."""
        return may_reconnect(self.value)


CLIENT_HEARTBEAT_LOST = 4102
CLIENT_OUT_OF_ORDER = 4104

# Ends that a new connection would not change (RFC 6455 section 7.4.1): a normal end, a protocol error, or a message
# that was refused.
_STANDARD_STOPS = frozenset({1000, 1002, 1003, 1007, 1008, 1009, 1010})


def may_reconnect(code: int) -> bool:
    """Return True for a close code, ours or one of RFC 6455 section 7.4, after which the client should reconnect."""
    if code < 4000:
        return code not in _STANDARD_STOPS
    return code < 4500


def name_code(code: int) -> str:
    """Return the name of a close code, for a close frame of a server that has no name."""
    if code == Close.NORMAL:
        return "closed"
    return Close(code).name.lower() if code >= 4000 and code in Close.__members__.values() else "connection_lost"


def describe_refusal(error: SessionMgmtError) -> dict[str, Any]:
    """Return the body of a call that is refused as a whole: the error, and how its client must go on."""
    # An error that breaks the protocol would have closed a socket too.
    close = Close.INVALID_FRAME.value if error.close is None and error.status == 400 else error.close
    reconnect = error.temporary if close is None else may_reconnect(close)
    return {**error.as_dict(), "close": close, "reconnect": reconnect}
