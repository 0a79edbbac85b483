"""Delete sessions so that the deletion wins over whatever is being written for them.

Django collects the dependent rows before it deletes anything. A write that commits in between would leave a row whose
session is gone, and the database would refuse the deletion at its COMMIT. So the deletion first takes the locks that
writes need, and then deletes: writes that come later find no session and are refused.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connections
from django.db.models import Model
from django.db.models.signals import pre_delete

from session_mgmt.actions import notify
from session_mgmt.actions.sessions import ending
from session_mgmt.conf import settings
from session_mgmt.models import AuditEntry, ClientSession, Login, tables
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Row, Statements
from session_mgmt.models.together import take_together
from session_mgmt.protocol.codes import Close

# In the order of deletion: whatever refers to a row goes before it. Rows without a session hang on another row.
_PARTS = (
    (tables.RECEIPT, "client_id", tables.CLIENT),
    (tables.ATTENDANCE, "client_id", tables.CLIENT),
    (tables.CONFLICT, "document_id", tables.DOCUMENT),
    (tables.SNAPSHOT, "document_id", tables.DOCUMENT),
    (tables.REVISION, "document_id", tables.DOCUMENT),
    (tables.DOCUMENT, "", ""),
    (tables.CONNECTION, "", ""),
    (tables.CLIENT, "", ""),
    (tables.EVENT, "", ""),
    (tables.HANDLER_RUN, "", ""),
    (tables.WEBHOOK_DELIVERY, "", ""),
    (tables.WEBHOOK_CURSOR, "", ""),
    (tables.SUBSCRIPTION, "", ""),
    (tables.TOKEN, "", ""),
    (tables.ACTIVITY, "", ""),
)


def delete_sessions(using: str, sessions: Iterable[uuid.UUID]) -> None:
    """Delete sessions with all that hangs on them, in one transaction, and close their connections.

    Raises ``IntegrityError`` if rows of the project protect one of them; none is deleted then.
    """
    statements = Statements(connections[using])
    with open_transaction(using):
        for group in ending.split_groups(sessions):
            _delete_parts(using, group)
            if _has_foreign_rows():
                # Tables of the project refer to sessions: Django does with their rows as they ask for.
                ClientSession.objects.using(using).filter(pk__in=group).delete()
            else:
                among, params = statements.among("id", [statements.uuid(session) for session in group])
                statements.run(f"DELETE FROM {tables.SESSION} WHERE {among}", params)


def _has_foreign_rows() -> bool:
    own = ClientSession._meta.app_label
    return any(relation.related_model._meta.app_label != own for relation in ClientSession._meta.related_objects)


def _delete_parts(using: str, sessions: list[uuid.UUID]) -> None:
    """Lock a group of sessions against every writer, in the order of all locks, and delete all that hangs on them."""
    statements = Statements(connections[using])
    stored = [statements.uuid(session) for session in sessions]
    mine, keys = statements.among("session_id", stored)
    if not _lock_rows(statements, tables.ACTIVITY, "session_id", mine, keys):
        # Deleted already, in this transaction or in another one.
        return
    _lock_rows(statements, tables.CLIENT, "id", mine, keys)
    _lock_rows(statements, tables.DOCUMENT, "id", mine, keys)
    for table, column, parent in _PARTS:
        hangs = f"{column} IN (SELECT id FROM {parent} WHERE {mine})" if parent else mine
        # SQL and not the ORM, which takes longer to write these statements than the database to carry them out.
        statements.run(f"DELETE FROM {table} WHERE {hangs}", keys)
    among, params = statements.among("recovered_from_id", stored)
    # By the index alone: an update by a list reads the whole table, where ANALYZE has told SQLite that hardly any
    # session is the successor of another.
    if statements.fetch(f"SELECT 1 FROM {tables.SESSION} WHERE {among} LIMIT 1", params):
        statements.run(f"UPDATE {tables.SESSION} SET recovered_from_id = NULL WHERE {among}", params)
    # Only after the commit: a deletion that is rolled back must close nothing.
    notify.after_commit(using, orders=notify.order_close(sessions, Close.SESSION_TERMINATED))


def _lock_rows(statements: Statements, table: str, key: str, condition: str, params: list[Any]) -> list[Row]:
    """Lock rows also against those who want to refer to them."""
    locked = " FOR UPDATE" if statements.postgres else ""
    return statements.fetch(f"SELECT {key} FROM {table} WHERE {condition} ORDER BY {key}{locked}", params)


def watch_deletions() -> None:
    """Take part in every deletion of users and of sessions, by whatever code."""
    for model in (ClientSession, get_user_model()):
        pre_delete.connect(_before_deletion, sender=model, dispatch_uid="session_mgmt")


def _before_deletion(instance: Model, using: str, **_: Any) -> None:
    # Users of another database cannot have sessions: both tables are in one.
    if using != settings().database:
        return
    going = take_together(instance)
    sessions = {row.pk for row in going if isinstance(row, ClientSession)}
    for group in ending.split_groups(sessions):
        _delete_parts(using, group)
    users = sorted({row.pk for row in going if isinstance(row, get_user_model())})
    for start in range(0, len(users), ending.TOGETHER):
        _delete_of_users(using, users[start : start + ending.TOGETHER], sessions)


def _delete_of_users(using: str, users: list[Any], known: set[uuid.UUID]) -> None:
    """Delete what users have besides the sessions that Django deletes itself."""
    mine = ClientSession.objects.using(using).filter(user__in=users).values_list("pk", flat=True)
    delete_sessions(using, set(mine) - known)
    # From here on no session can be made for them. One that was, since they were counted, goes as well.
    rows = get_user_model()._default_manager.using(using).filter(pk__in=users).order_by("pk")
    list(rows.select_for_update().values_list("pk"))
    delete_sessions(using, set(mine.all()) - known)
    Login.objects.using(using).filter(user__in=users).delete()
    AuditEntry.objects.using(using).filter(actor__in=users).update(actor=None)
