"""Models. Constraints and indexes are in ``Meta``; changes that touch several tables are in ``actions``."""

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured

# Explain it here: Django's own error would name a model of this app, and not the app that the project misses.
if not apps.apps_ready:
    raise ImproperlyConfigured(
        "Django is not set up yet, and this import of session_mgmt needs its models. In settings import nothing but"
        " session_mgmt itself; elsewhere call django.setup() or get_asgi_application() first."
    )
if not apps.is_installed("session_mgmt"):
    raise ImproperlyConfigured("Add 'session_mgmt' to INSTALLED_APPS.")

from session_mgmt.models.audit import AuditEntry
from session_mgmt.models.client import Client, Connection
from session_mgmt.models.conflict import StateConflict
from session_mgmt.models.event import SessionEvent
from session_mgmt.models.handler_run import HandlerRun
from session_mgmt.models.login import Login
from session_mgmt.models.outbox import Outbox
from session_mgmt.models.presence import Attendance, Member
from session_mgmt.models.session import ClientSession, SessionActivity
from session_mgmt.models.state import Receipt, StateDocument, StateRevision, StateSnapshot
from session_mgmt.models.stream import Publication, Stream, Subscription
from session_mgmt.models.token import Token
from session_mgmt.models.webhook import WebhookCursor, WebhookDelivery, WebhookEndpoint

__all__ = [
    "Attendance",
    "AuditEntry",
    "Client",
    "ClientSession",
    "Connection",
    "HandlerRun",
    "Login",
    "Member",
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
    "WebhookCursor",
    "WebhookDelivery",
    "WebhookEndpoint",
]
