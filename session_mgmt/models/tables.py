"""Table names for set-based SQL, read from the models so that each name is written once."""

from __future__ import annotations

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

ACTIVITY = SessionActivity._meta.db_table
ATTENDANCE = Attendance._meta.db_table
CLIENT = Client._meta.db_table
CONFLICT = StateConflict._meta.db_table
CONNECTION = Connection._meta.db_table
DOCUMENT = StateDocument._meta.db_table
EVENT = SessionEvent._meta.db_table
HANDLER_RUN = HandlerRun._meta.db_table
LOGIN = Login._meta.db_table
MEMBER = Member._meta.db_table
OUTBOX = Outbox._meta.db_table
PUBLICATION = Publication._meta.db_table
RECEIPT = Receipt._meta.db_table
REVISION = StateRevision._meta.db_table
SESSION = ClientSession._meta.db_table
SNAPSHOT = StateSnapshot._meta.db_table
STREAM = Stream._meta.db_table
SUBSCRIPTION = Subscription._meta.db_table
TOKEN = Token._meta.db_table
WEBHOOK_CURSOR = WebhookCursor._meta.db_table
WEBHOOK_DELIVERY = WebhookDelivery._meta.db_table
WEBHOOK_ENDPOINT = WebhookEndpoint._meta.db_table
