"""Names of the events in a session's own log."""

from __future__ import annotations

SESSION_CREATED = "session_created"
SESSION_UPDATED = "session_updated"
SESSION_EXPIRED = "session_expired"
SESSION_TERMINATED = "session_terminated"
CONNECTION_ESTABLISHED = "connection_established"
CONNECTION_LOST = "connection_lost"
CONNECTION_RESTORED = "connection_restored"
AUTH_REQUIRED = "auth_required"
AUTH_SUCCESS = "auth_success"
AUTH_FAILED = "auth_failed"
STATE_SYNCHRONIZED = "state_synchronized"
ERROR_OCCURRED = "error_occurred"

EVENT_TYPES = (
    SESSION_CREATED,
    SESSION_UPDATED,
    SESSION_EXPIRED,
    SESSION_TERMINATED,
    CONNECTION_ESTABLISHED,
    CONNECTION_LOST,
    CONNECTION_RESTORED,
    AUTH_REQUIRED,
    AUTH_SUCCESS,
    AUTH_FAILED,
    STATE_SYNCHRONIZED,
    ERROR_OCCURRED,
)

MESSAGE = "message"
"""Type of the entries that ``send`` puts into the log; not an event."""
