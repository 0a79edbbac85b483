"""Public Python API: ``from session_mgmt.shortcuts import on, on_message, publish, send, state, topic``.

Every function may be called from a view, a signal handler, a task, the admin, or inside ``atomic()``, where it takes
effect if and only if the transaction commits. Pass a session as a ``ClientSession``, by its id or by the id's text.
Async code calls the same names with an ``a`` in front: ``await apublish(...)``, ``await state.aupdate(...)``.
"""

from session_mgmt.documents.merge import CONFLICT
from session_mgmt.documents.values import MISSING
from session_mgmt.publishing import PublishingManager, PublishingQuerySet, publishes
from session_mgmt.registry import Presence, TopicEntry, off, on, on_claim, on_message, topic
from session_mgmt.shortcuts.documents import State as State
from session_mgmt.shortcuts.documents import state
from session_mgmt.shortcuts.handle import session_state
from session_mgmt.shortcuts.permissions import HasScope, RecentAuth
from session_mgmt.shortcuts.privacy import aerase_user, aexport_user, erase_user, export_user
from session_mgmt.shortcuts.sessions import (
    aaccess_changed,
    access_changed,
    acreate_session,
    adisconnect,
    aend_login,
    aend_user_sessions,
    aget_session,
    ahistory,
    ais_connected,
    alist_connections,
    amembers,
    apublish,
    arebind_session,
    areconnect,
    arequire_recent_login,
    asend,
    aterminate_session,
    create_session,
    disconnect,
    drain,
    end_login,
    end_user_sessions,
    get_session,
    history,
    is_connected,
    list_connections,
    members,
    open_snapshot,
    publish,
    rebind_session,
    reconnect,
    require_recent_login,
    send,
    terminate_session,
)

__all__ = [
    "CONFLICT",
    "MISSING",
    "HasScope",
    "Presence",
    "PublishingManager",
    "PublishingQuerySet",
    "RecentAuth",
    "TopicEntry",
    "aaccess_changed",
    "access_changed",
    "acreate_session",
    "adisconnect",
    "aend_login",
    "aend_user_sessions",
    "aerase_user",
    "aexport_user",
    "aget_session",
    "ahistory",
    "ais_connected",
    "alist_connections",
    "amembers",
    "apublish",
    "arebind_session",
    "areconnect",
    "arequire_recent_login",
    "asend",
    "aterminate_session",
    "create_session",
    "disconnect",
    "drain",
    "end_login",
    "end_user_sessions",
    "erase_user",
    "export_user",
    "get_session",
    "history",
    "is_connected",
    "list_connections",
    "members",
    "off",
    "on",
    "on_claim",
    "on_message",
    "open_snapshot",
    "publish",
    "publishes",
    "rebind_session",
    "reconnect",
    "require_recent_login",
    "send",
    "session_state",
    "state",
    "terminate_session",
    "topic",
]
