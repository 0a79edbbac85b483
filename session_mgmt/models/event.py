"""Session's own log: events and messages."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from session_mgmt.models.moments import MomentField
from session_mgmt.models.session import ClientSession


class SessionEvent(models.Model):
    """Entry of a session's own log; ``data`` is compact JSON. ``pending`` until its durable handlers begin."""

    id = models.BigAutoField(primary_key=True)
    # No separate index: the unique constraint below begins with the session.
    session = models.ForeignKey(ClientSession, on_delete=models.CASCADE, related_name="events", db_index=False)
    seq = models.BigIntegerField()
    tag = models.CharField(max_length=16)
    type = models.CharField(max_length=40)
    data = models.BinaryField()
    key = models.CharField(max_length=100, null=True)
    pending = models.BooleanField(default=False)
    at = MomentField()

    class Meta:
        verbose_name = _("session event")
        verbose_name_plural = _("session events")
        constraints = [
            models.UniqueConstraint(fields=["session", "seq"], name="sm_event"),
            models.UniqueConstraint(
                fields=["session", "key"], name="sm_event_key", condition=models.Q(key__isnull=False)
            ),
            # The database itself keeps promise L2, even if the code has a fault.
            models.UniqueConstraint(
                fields=["session"], name="sm_expired_once", condition=models.Q(type="session_expired")
            ),
        ]
        indexes = [
            # Only waiting events, so that the query of every second reads nothing if none waits.
            models.Index(fields=["id"], name="sm_event_pending", condition=models.Q(pending=True)),
            models.Index(fields=["type", "at"], name="sm_event_type"),
        ]

    def __str__(self) -> str:
        return f"{self.type}#{self.seq}"
