"""Admin pages that inspect sessions. They read rows, and change something only through functions of ``actions`` and
``writes``; no row can be edited.
"""

from session_mgmt.admin.conflicts import StateConflictAdmin
from session_mgmt.admin.documents import StateDocumentAdmin
from session_mgmt.admin.events import HandlerRunAdmin, SessionEventAdmin
from session_mgmt.admin.rows import AuditEntryAdmin, MemberAdmin, OutboxAdmin, StreamAdmin
from session_mgmt.admin.sessions import ClientSessionAdmin
from session_mgmt.admin.webhooks import WebhookDeliveryAdmin, WebhookEndpointAdmin

__all__ = [
    "AuditEntryAdmin",
    "ClientSessionAdmin",
    "HandlerRunAdmin",
    "MemberAdmin",
    "OutboxAdmin",
    "SessionEventAdmin",
    "StateConflictAdmin",
    "StateDocumentAdmin",
    "StreamAdmin",
    "WebhookDeliveryAdmin",
    "WebhookEndpointAdmin",
]
