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
from django.db.models import Model, QuerySet
from django.db.models.signals import pre_delete

from session_mgmt.actions import notify
from session_mgmt.conf import settings
from session_mgmt.models import (
    AuditEntry,
    Client,
    ClientSession,
    Connection,
    Receipt,
    SessionActivity,
    SessionEvent,
    StateConflict,
    StateDocument,
    StateRevision,
    StateSnapshot,
    Subscription,
    Token,
)
from session_mgmt.models.isolation import open_transaction
from session_mgmt.protocol.codes import Close

# In the order of deletion: whatever refers to a row goes before it.
_PARTS: tuple[tuple[type[Model], str], ...] = (
    (Receipt, "client__session__in"),
    (StateConflict, "document__session__in"),
    (StateSnapshot, "document__session__in"),
    (StateRevision, "document__session__in"),
    (StateDocument, "session__in"),
    (Connection, "session__in"),
    (Client, "session__in"),
    (SessionEvent, "session__in"),
    (Subscription, "session__in"),
    (Token, "session__in"),
    (SessionActivity, "session__in"),
)


def delete_sessions(using: str, sessions: Iterable[uuid.UUID]) -> None:
    """Delete sessions with all that hangs on them, in one transaction, and close their connections."""
    wanted = list(sessions)
    with open_transaction(using):
        _delete_parts(using, wanted)
        ClientSession.objects.using(using).filter(recovered_from__in=wanted).update(recovered_from=None)
        _delete_raw(ClientSession.objects.using(using).filter(pk__in=wanted))


def _delete_parts(using: str, sessions: list[uuid.UUID]) -> None:
    """Lock the sessions against every writer, in the order of all locks, and delete all that hangs on them."""
    if not _lock_rows(SessionActivity.objects.using(using).filter(pk__in=sessions)):
        # Deleted already, in this transaction or in another one.
        return
    _lock_rows(Client.objects.using(using).filter(session__in=sessions))
    _lock_rows(StateDocument.objects.using(using).filter(session__in=sessions))
    for model, condition in _PARTS:
        _delete_raw(model._default_manager.using(using).filter(**{condition: sessions}))
    notify.after_commit(using, orders=notify.order_close(sessions, Close.SESSION_TERMINATED))


def _lock_rows(rows: QuerySet[Any]) -> list[Any]:
    return list(rows.order_by("pk").select_for_update().values_list("pk", flat=True))


def _delete_raw(rows: QuerySet[Any]) -> None:
    # Not delete(): it would collect the dependent rows, which are gone already.
    rows._raw_delete(rows.db)


def watch_deletions() -> None:
    """Take part in every deletion of users and of sessions, by whatever code."""
    pre_delete.connect(_before_session, sender=ClientSession, dispatch_uid="session_mgmt")
    pre_delete.connect(_before_user, sender=get_user_model(), dispatch_uid="session_mgmt")


def _before_session(instance: ClientSession, using: str, **_: Any) -> None:
    _delete_parts(using, [instance.pk])


def _before_user(instance: Any, using: str, **_: Any) -> None:
    if using != settings().database:
        return
    mine = ClientSession.objects.using(using).filter(user=instance.pk)
    delete_sessions(using, mine.values_list("pk", flat=True))
    # From here on no session can be made for the user. One that was, since they were counted, goes as well.
    _lock_rows(get_user_model()._default_manager.using(using).filter(pk=instance.pk))
    delete_sessions(using, mine.values_list("pk", flat=True))
    AuditEntry.objects.using(using).filter(actor=instance.pk).update(actor=None)
