"""Audit trail."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from session_mgmt.models.moments import MomentField
from session_mgmt.models.portable_json import PortableJSONField


class AuditEntry(models.Model):
    """Decision of a person, or a refusal by the app; never contains a secret.

    ``session`` is no foreign key, because the entry outlives the session's row.
    """

    id = models.BigAutoField(primary_key=True)
    action = models.CharField(max_length=60)
    # The entry also outlives the account of the person who acted.
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+", db_index=False
    )
    session = models.UUIDField(null=True)
    ip = models.GenericIPAddressField(null=True)
    data = PortableJSONField(default=dict)
    at = MomentField(db_index=True)

    class Meta:
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit entries")
        indexes = [
            models.Index(fields=["actor"], name="sm_audit_actor", condition=models.Q(actor__isnull=False)),
            models.Index(fields=["session"], name="sm_audit_session", condition=models.Q(session__isnull=False)),
        ]

    def __str__(self) -> str:
        return self.action
