"""Delete sessions in such a way that writes at the same time cannot prevent the deletion.

Django collects the dependent rows before it deletes anything. A write that commits in between would leave a row whose
session is gone, and the database would refuse the deletion at its COMMIT. Therefore the deletion first takes the locks
that writes need, and then deletes. Later writes find no session and are refused.
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

# In the order of deletion: rows that refer to another row are deleted before it. Rows without `session_id` are found by
# their parent.
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
    """Delete sessions with all their rows, in one transaction, and close their connections.

    Raises ``IntegrityError`` if rows of the project protect one of them; then none is deleted.
    """
    statements = Statements(connections[using])
    with open_transaction(using):
        for group in ending.split_groups(sessions):
            _delete_parts(using, group)
            if _has_foreign_rows():
                # Tables of the project refer to sessions, so Django must apply the `on_delete` of their foreign keys.
                ClientSession.objects.using(using).filter(pk__in=group).delete()
            else:
                among, params = statements.among("id", [statements.uuid(session) for session in group])
                statements.run(f"DELETE FROM {tables.SESSION} WHERE {among}", params)


def _has_foreign_rows() -> bool:
    own = ClientSession._meta.app_label
    return any(relation.related_model._meta.app_label != own for relation in ClientSession._meta.related_objects)


def _delete_parts(using: str, sessions: list[uuid.UUID]) -> None:
    """Lock a group of sessions against all writers, in the usual order of locks, and delete all rows that depend on
    them.
    """
    statements = Statements(connections[using])
    stored = [statements.uuid(session) for session in sessions]
    mine, keys = statements.among("session_id", stored)
    if not _lock_rows(statements, tables.ACTIVITY, "session_id", mine, keys):
        # They were already deleted, in this transaction or in another one.
        return
    _lock_rows(statements, tables.CLIENT, "id", mine, keys)
    _lock_rows(statements, tables.DOCUMENT, "id", mine, keys)
    for table, column, parent in _PARTS:
        hangs = f"{column} IN (SELECT id FROM {parent} WHERE {mine})" if parent else mine
        # SQL instead of the ORM, which takes longer to build these statements than the database to run them.
        statements.run(f"DELETE FROM {table} WHERE {hangs}", keys)
    among, params = statements.among("recovered_from_id", stored)
    # Search by the index first: after ANALYZE has recorded that few sessions have a predecessor, an UPDATE with a list
    # reads the whole table on SQLite.
    if statements.fetch(f"SELECT 1 FROM {tables.SESSION} WHERE {among} LIMIT 1", params):
        statements.run(f"UPDATE {tables.SESSION} SET recovered_from_id = NULL WHERE {among}", params)
    # Only after the commit, because a deletion that is rolled back must not close connections.
    notify.after_commit(using, orders=notify.order_close(sessions, Close.SESSION_TERMINATED))


def _lock_rows(statements: Statements, table: str, key: str, condition: str, params: list[Any]) -> list[Row]:
    """Lock rows, also against new references to them."""
    locked = " FOR UPDATE" if statements.postgres else ""
    return statements.fetch(f"SELECT {key} FROM {table} WHERE {condition} ORDER BY {key}{locked}", params)


def watch_deletions() -> None:
    """Connect receivers to all deletions of users and sessions, by any code."""
    for model in (ClientSession, get_user_model()):
        pre_delete.connect(_before_deletion, sender=model, dispatch_uid="session_mgmt")


def _before_deletion(instance: Model, using: str, **_: Any) -> None:
    # Users of another database cannot have sessions, because both tables are in the same database.
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
    """Delete the rows of users, except the sessions that Django deletes itself."""
    mine = ClientSession.objects.using(using).filter(user__in=users).values_list("pk", flat=True)
    delete_sessions(using, set(mine) - known)
    # From here on no session can be created for these users. Sessions that were created since the first query are
    # deleted too.
    rows = get_user_model()._default_manager.using(using).filter(pk__in=users).order_by("pk")
    list(rows.select_for_update().values_list("pk"))
    delete_sessions(using, set(mine.all()) - known)
    Login.objects.using(using).filter(user__in=users).delete()
    AuditEntry.objects.using(using).filter(actor__in=users).update(actor=None)
