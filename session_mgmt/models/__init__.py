"""Tables. Constraints and indexes live in ``Meta``; changes of several tables in ``actions``."""

from session_mgmt.models.audit import AuditEntry
from session_mgmt.models.client import Client, Connection
from session_mgmt.models.conflict import StateConflict
from session_mgmt.models.event import SessionEvent
from session_mgmt.models.outbox import Outbox
from session_mgmt.models.session import ClientSession, SessionActivity
from session_mgmt.models.state import Receipt, StateDocument, StateRevision, StateSnapshot
from session_mgmt.models.stream import Publication, Stream, Subscription
from session_mgmt.models.token import Token

__all__ = [
    "AuditEntry",
    "Client",
    "ClientSession",
    "Connection",
    "Outbox",
    "Publication",
    "Receipt",
    "SessionActivity",
    "SessionEvent",
    "StateConflict",
    "StateDocument",
    "StateRevision",
    "StateSnapshot",
    "Stream",
    "Subscription",
    "Token",
]
