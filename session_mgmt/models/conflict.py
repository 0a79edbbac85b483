"""Conflicts that are kept until somebody resolves them."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from session_mgmt.models.client import Client
from session_mgmt.models.identifiers import uuid7
from session_mgmt.models.moments import MomentField
from session_mgmt.models.state import StateDocument


class StateConflict(models.Model):
    """Path on which a client and the server disagreed; ``version`` is the version of the server's value.

    The values are JSON, sealed if the document is encrypted; ``None`` means that the value is absent. ``size`` is
    their size in bytes.
    """

    class Resolution(models.TextChoices):
        OPEN = "", _("open")
        SERVER = "server", _("server")
        CLIENT = "client", _("client")
        VALUE = "value", _("value")

    id = models.UUIDField(primary_key=True, default=uuid7)
    # No index of its own: the one below begins with the document.
    document = models.ForeignKey(StateDocument, on_delete=models.CASCADE, related_name="conflicts", db_index=False)
    version = models.BigIntegerField()
    # Bytes, because all of these may be sealed.
    path = models.BinaryField()
    base = models.BinaryField(null=True)
    server = models.BinaryField(null=True)
    client_value = models.BinaryField(null=True)
    size = models.BigIntegerField()
    client = models.ForeignKey(Client, null=True, on_delete=models.SET_NULL, related_name="+", db_index=False)
    at = MomentField()
    resolved_at = MomentField(null=True, blank=True)
    resolution = models.CharField(max_length=10, choices=Resolution.choices, default=Resolution.OPEN, blank=True)

    class Meta:
        verbose_name = _("state conflict")
        verbose_name_plural = _("state conflicts")
        permissions = [("resolve_stateconflict", "Can resolve state conflicts")]
        indexes = [
            models.Index(fields=["document", "resolved_at"], name="sm_conflict_open"),
            models.Index(fields=["client"], name="sm_conflict_client", condition=models.Q(client__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.document_id}@{self.version}"
