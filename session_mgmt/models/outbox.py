"""Outbox: effects that wait for the project's own transaction to commit."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from session_mgmt.models.moments import MomentField


class Outbox(models.Model):
    """Publication, update or event from a transaction of the project, in the order of that transaction.

    The table has no foreign key, no unique key and no lock: with any of them, a long or crossing transaction of the
    project could block the app's, or deadlock with it. ``refused`` holds the reason of a row that cannot be applied;
    such a row no longer blocks the others.
    """

    class Kind(models.TextChoices):
        PUBLISH = "publish", _("publish")
        UPDATE = "update", _("update")
        RECORD = "record", _("record")

    id = models.BigAutoField(primary_key=True)
    kind = models.CharField(max_length=10, choices=Kind.choices)
    target = models.CharField(max_length=255)
    payload = models.BinaryField()
    key = models.CharField(max_length=100, null=True)
    refused = models.CharField(max_length=60, blank=True, default="")
    created_at = MomentField()

    class Meta:
        verbose_name = _("outbox entry")
        verbose_name_plural = _("outbox entries")
        # Only waiting rows: refused ones are kept for people, and must not slow down the query of every group.
        indexes = [models.Index(fields=["id"], name="sm_outbox", condition=models.Q(refused=""))]

    def __str__(self) -> str:
        return f"{self.kind} {self.target}"
