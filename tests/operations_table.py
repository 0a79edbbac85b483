"""Operations table: the Python verb, the REST call or frame, and the JavaScript method of each operation.

``reason`` says why an operation lacks one of the three; `test_operations_table` fails for one that lacks it silently.
"""

from __future__ import annotations

from dataclasses import dataclass

SESSIONS = "session_mgmt.actions.sessions.lifecycle"
RESUME = "session_mgmt.actions.sessions.resume"
RECOVERY = "session_mgmt.actions.sessions.recovery"
FOLLOWING = "session_mgmt.actions.sessions.following"
CONNECTIONS = "session_mgmt.actions.sessions.connections"
DOCUMENTS = "session_mgmt.actions.state.lookup"
PRESENCE = "session_mgmt.actions.topics.presence"
SHORTCUTS = "session_mgmt.shortcuts"
WRITES = "session_mgmt.writes.verbs"


@dataclass(frozen=True)
class Operation:
    """``verb`` is ``module:name``; ``call`` is ``METHOD route``; ``frame`` a client's frame; ``sdk``
    ``Class.method``.
    """

    name: str
    verb: str = ""
    call: str = ""
    frame: str = ""
    sdk: str = ""
    reason: str = ""

    def __str__(self) -> str:
        return self.name


CHOICE = "which transport carries the connection is the client's choice; the server has no part in it"
ONE_SIDED = "only the client knows it; the server has no part in it"

OPERATIONS = [
    # ISessionManager
    Operation("createSession", f"{SESSIONS}:create_session", "POST session-list", sdk="Sessions.createSession"),
    Operation("getSession", f"{SESSIONS}:read_session", "GET session-detail", sdk="Sessions.getSession"),
    Operation("updateSession", f"{SESSIONS}:update_session", "PATCH session-detail", sdk="Sessions.updateSession"),
    Operation(
        "terminateSession", f"{SESSIONS}:terminate_session", "DELETE session-detail", sdk="Sessions.terminateSession"
    ),
    Operation("getActiveSessions", f"{SESSIONS}:list_active", "GET session-list", sdk="Sessions.getActiveSessions"),
    Operation(
        "cleanupExpiredSessions",
        "session_mgmt.actions.cleanup:run_cleanup",
        reason="an operator's verb: a Celery task, a command and an admin action, and no business of a client",
    ),
    Operation("validateSession", f"{SESSIONS}:find_refusal", "POST session-validate", sdk="Sessions.validateSession"),
    Operation("recoverSession", f"{RECOVERY}:recover_session", "POST session-recover", sdk="Sessions.recoverSession"),
    Operation(
        "getSessionMetrics",
        "session_mgmt.actions.monitoring:read_session_metrics",
        "GET session-metrics",
        sdk="Sessions.getSessionMetrics",
    ),
    Operation("onSessionEvent", f"{SHORTCUTS}:on", "GET session-events", sdk="Sessions.onSessionEvent"),
    Operation("onSessionEvent: unsubscribe", f"{SHORTCUTS}:off", frame="unsubscribe", sdk="Sessions.onSessionEvent"),
    # IConnectionManager
    Operation("connect", f"{RESUME}:attach_group", frame="connect", sdk="ConnectionControls.connect"),
    Operation("disconnect", f"{SHORTCUTS}:disconnect", frame="disconnect", sdk="ConnectionControls.disconnect"),
    Operation("reconnect", f"{SHORTCUTS}:reconnect", frame="connect", sdk="ConnectionControls.reconnect"),
    Operation("isConnected", f"{SHORTCUTS}:is_connected", "GET session-detail", sdk="ConnectionControls.isConnected"),
    Operation("send", f"{SHORTCUTS}:send", "POST session-messages", "send", sdk="ConnectionControls.send"),
    Operation("onMessage", f"{SHORTCUTS}:on_message", frame="send", sdk="ConnectionControls.onMessage"),
    Operation(
        "getConnectionStats",
        "session_mgmt.actions.monitoring:list_connections",
        "GET session-connections",
        sdk="ConnectionControls.getConnectionStats",
    ),
    Operation("setupHeartbeat", f"{CONNECTIONS}:renew_leases", frame="ping", sdk="ConnectionControls.setupHeartbeat"),
    Operation(
        "setConnectionConfig",
        "session_mgmt.protocol.configuration:apply_wishes",
        frame="configure",
        sdk="ConnectionControls.setConnectionConfig",
    ),
    Operation(
        "connection type websocket",
        "session_mgmt.consumers.websocket:SessionConsumer",
        frame="connect",
        sdk="SessionClient.start",
    ),
    Operation(
        "connection type http",
        "session_mgmt.consumers.http_calls:serve_attach",
        frame="connect",
        sdk="SessionClient.start",
    ),
    Operation("connection type hybrid", sdk="SessionClient.start", reason=CHOICE),
    # IStateManager
    Operation("getState", f"{SHORTCUTS}:State.get", "GET document-detail", sdk="StateDocument.getState"),
    Operation("updateState", f"{WRITES}:update", "PATCH document-detail", "update", "StateDocument.updateState"),
    Operation("syncState", f"{DOCUMENTS}:sync_document", "POST document-sync", "subscribe", "StateDocument.syncState"),
    Operation("persistState", f"{SHORTCUTS}:State.persist", "POST document-persist", sdk="StateDocument.persistState"),
    Operation("restoreState", f"{SHORTCUTS}:State.restore", "POST document-restore", sdk="StateDocument.restoreState"),
    Operation("clearState", f"{SHORTCUTS}:State.clear", "DELETE document-detail", sdk="StateDocument.clearState"),
    Operation(
        "compressState", f"{DOCUMENTS}:compress_document", "POST document-compress", sdk="StateDocument.compressState"
    ),
    Operation("getStateSize", f"{SHORTCUTS}:State.size", "GET document-size", sdk="StateDocument.getStateSize"),
    Operation(
        "onStateChange", "session_mgmt.signals:state_changed", frame="subscribe", sdk="StateDocument.onStateChange"
    ),
    # Documents beyond IStateManager
    Operation(
        "createIfAbsent",
        f"{SHORTCUTS}:State.create_if_absent",
        "PUT document-detail",
        "update",
        "StateDocument.createIfAbsent",
    ),
    Operation("list documents", f"{SHORTCUTS}:State.documents", "GET document-list", sdk="SessionClient.documents"),
    Operation("state info", f"{SHORTCUTS}:State.info", "GET document-detail", sdk="StateDocument.info"),
    Operation("state checksum", f"{SHORTCUTS}:State.checksum", "GET document-detail", sdk="StateDocument.checksum"),
    Operation("history", f"{SHORTCUTS}:State.history", "GET document-history", sdk="StateDocument.history"),
    Operation("read a version", f"{SHORTCUTS}:State.read_at", "GET document-version", sdk="StateDocument.readAt"),
    Operation("diff", f"{SHORTCUTS}:State.diff", "GET document-diff", sdk="StateDocument.diff"),
    Operation("checkpoints", f"{SHORTCUTS}:State.checkpoints", "GET document-persist", sdk="StateDocument.checkpoints"),
    Operation("read a checkpoint", f"{SHORTCUTS}:State.read_at", "GET document-checkpoint", sdk="StateDocument.readAt"),
    Operation("forget", f"{SHORTCUTS}:State.forget", "DELETE document-checkpoint", sdk="StateDocument.forget"),
    Operation("conflicts", f"{SHORTCUTS}:State.conflicts", "GET conflict-list", sdk="StateDocument.conflicts"),
    Operation("resolve", f"{SHORTCUTS}:State.resolve", "POST conflict-resolve", sdk="StateDocument.resolve"),
    # ISessionAuth
    Operation("tokens", "session_mgmt.actions.sessions.tokens:issue_token", "POST session-list", sdk="Auth.token"),
    Operation(
        "secure context", "session_mgmt.actions.sessions.tokens:verify_token", frame="connect", sdk="Auth.headers"
    ),
    Operation(
        "automatic refresh",
        "session_mgmt.actions.sessions.refreshing:refresh_tokens",
        frame="refresh",
        sdk="Auth.token",
    ),
    Operation("permission-based validation", f"{SESSIONS}:find_refusal", "POST session-validate", sdk="Auth.validate"),
    Operation("onAuthRequired", sdk="Auth.onAuthRequired", reason=ONE_SIDED),
    # ISessionRecovery
    Operation("recover logs", "session_mgmt.protocol.recovery:decide", frame="connect", sdk="SessionClient.on"),
    Operation(
        "recover a session", f"{RECOVERY}:recover_session", "POST session-recover", sdk="Sessions.recoverSession"
    ),
    # ISessionMonitor
    Operation("metrics", "session_mgmt.actions.monitoring:read_overview", "GET health", sdk="SessionClient.stats"),
    # IClientSession, the one object
    Operation("IClientSession", f"{SHORTCUTS}:create_session", frame="connect", sdk="SessionClient.start"),
    Operation("subscriptions", f"{FOLLOWING}:follow_log", frame="subscribe", sdk="Topics.subscribe"),
    Operation("past of a topic", f"{SHORTCUTS}:history", "GET topic-publications", "history", "Topics.history"),
    Operation("presence", f"{SHORTCUTS}:members", "GET topic-members", "members", "Topics.presence"),
    Operation(
        "value of a topic",
        f"{SHORTCUTS}:value",
        "GET topic-value",
        "value",
        "Topics.subscribe",
    ),
    Operation("enter a topic", f"{PRESENCE}:move_all", frame="enter", sdk="Topics.presence"),
    Operation("leave a topic", f"{PRESENCE}:move_all", frame="leave", sdk="Topics.presence"),
    Operation("publish", f"{SHORTCUTS}:publish", "POST topic-publications", "publish", "Topics.publish"),
]

SESSION_INFO = [
    "session_id",
    "user_id",
    "state",
    "created_at",
    "last_active_at",
    "expires_at",
    "connection_state",
    "label",
    "metadata",
]
CLIENT_STATE = ["data", "version", "last_modified", "checksum", "compressed", "encrypted", "size"]

# Field of SessionConfig -> a setting, or a field of a session, of an update, of the SDK's start; or why there is none.
SESSION_CONFIG = {
    "idle timeout": "setting idle_timeout",
    "absolute timeout": "setting absolute_timeout",
    "idle timeout of one session": "config idle_timeout",
    "absolute timeout of one session": "config absolute_timeout",
    "connection.type": "start transports",
    "connection.heartbeat interval": "setting heartbeat_interval",
    "connection.missed limit": "setting heartbeat_missed_limit",
    "connection.reconnect initial": "setting reconnect_initial",
    "connection.reconnect maximum": "setting reconnect_maximum",
    "connection.reconnect factor": "setting reconnect_factor",
    "connection.reconnect jitter": "none full jitter is the rule of the protocol, and no choice",
    "connection.reconnect attempts": "setting reconnect_attempts",
    "state.compression threshold": "setting compression_threshold",
    "state.maximum": "setting max_document_bytes",
    "state.encryption": "setting encrypt_state",
    # Only the client has anything to delay: what the server has acknowledged is stored.
    "state.sync": "start sync",
    "state.conflict strategy": "update strategy",
    "permissions": "create scopes",
    "metadata": "create metadata",
    "session_id of trusted code": "create session_id",
}
