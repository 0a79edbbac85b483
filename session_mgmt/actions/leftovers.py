"""Delete rows that are no longer needed. They are found along an index from its beginning, so that no row is read
twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings as django_settings
from django.db.models import Model, OuterRef, Q, QuerySet, Subquery

from session_mgmt.conf import settings
from session_mgmt.models import AuditEntry, Client, Connection, Login, Outbox, Receipt, Token, WebhookDelivery


@dataclass(slots=True)
class Leftover:
    """Rows to delete, in the order of the column ``by``; ``after`` is where the last page ended."""

    rows: QuerySet[Any]
    by: str = "pk"
    after: Any = None

    def delete_some(self, limit: int) -> int:
        """Delete up to ``limit`` rows, and return their number."""
        rows = self.rows.order_by(self.by)
        if self.after is not None:
            # Not past it: of two with one value, the second may have been left for this page.
            rows = rows.filter(**{f"{self.by}__gte": self.after})
        # Read first and deleted by key: DELETE has no LIMIT in PostgreSQL.
        found = list(rows.values_list("pk", self.by)[:limit])
        if found:
            self.after = found[-1][1]
            # By ascending key, so that two sweeps meet in one order.
            keys = sorted(key for key, _ in found)
            self.rows.model._default_manager.using(self.rows.db).filter(pk__in=keys).delete()
        return len(found)


def find_tokens(now: datetime) -> Leftover:
    """Find tokens that have expired. A cookie tells which browser comes back for as long as its session is kept."""
    rows = Token.objects.using(settings().database).filter(expires_at__lt=now)
    return Leftover(rows.exclude(kind=Token.Kind.COOKIE, used_at=None), by="expires_at")


def find_logins(now: datetime) -> Leftover:
    """Find logins on which no session hangs, and whose cookie nobody can replay any more."""
    old = now - max(settings().retention, timedelta(seconds=django_settings.SESSION_COOKIE_AGE))
    rows = Login.objects.using(settings().database).filter(seen_at__lt=old, sessions=None)
    return Leftover(rows.filter(Q(ended_at=None) | Q(ended_at__lt=old)), by="seen_at")


def find_receipts(now: datetime) -> Leftover:
    """Find receipts that the client has confirmed, whose process died before it could delete them; and those that it
    never came back for.
    """
    # Not joined: with few receipts at hand SQLite would read all clients for each page of them.
    confirmed = Client.objects.filter(pk=OuterRef("client")).values("confirmed_seq")
    done = Q(seq__lte=Subquery(confirmed)) | Q(at__lt=now - settings().retention)
    return Leftover(Receipt.objects.using(settings().database).filter(done))


def find_closed(now: datetime) -> Leftover:
    """Find connections that were closed long ago."""
    retired = now - settings().event_retention
    rows = Connection.objects.using(settings().database).filter(closed_at__lt=retired)
    return Leftover(rows.filter(pk__lt=_find_younger(Connection, "opened_at", retired)))


def find_refused(now: datetime) -> Leftover:
    """Find entries of the outbox that were refused long ago."""
    old = now - settings().retention
    rows = Outbox.objects.using(settings().database).exclude(refused="").filter(created_at__lt=old)
    return Leftover(rows.filter(pk__lt=_find_younger(Outbox, "created_at", old)))


def find_audit(now: datetime) -> Leftover:
    """Find entries of the audit trail past their retention."""
    old = now - settings().audit_retention
    return Leftover(AuditEntry.objects.using(settings().database).filter(at__lt=old), by="at")


def find_webhooks(now: datetime) -> Leftover:
    """Find deliveries that were sent or given up long ago."""
    old = now - settings().webhook_retention
    return Leftover(WebhookDelivery.objects.using(settings().database).filter(settled_at__lt=old), by="settled_at")


# By the step of the cleanup that deletes it.
LEFTOVERS: dict[str, Callable[[datetime], Leftover]] = {
    "tokens": find_tokens,
    "logins": find_logins,
    "receipts": find_receipts,
    "closed": find_closed,
    "outbox": find_refused,
    "audit": find_audit,
    "webhooks": find_webhooks,
}


def _find_younger(model: type[Model], column: str, moment: datetime) -> int:
    """Return the first key whose row is not older than ``moment``: keys grow with time, and rows behind it stay."""
    rows = model._default_manager.using(settings().database).order_by("pk")
    first = rows.filter(**{f"{column}__gte": moment}).values_list("pk", flat=True).first()
    return _BEYOND_ALL if first is None else int(first)


_BEYOND_ALL = 2**63 - 1
