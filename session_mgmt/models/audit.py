"""Who did what."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from session_mgmt.models.facts import FactsField
from session_mgmt.models.moments import MomentField


class AuditEntry(models.Model):
    """One decision of a person or of the guard; never a secret. ``session`` outlives the session's row, so it is no
    foreign key.
    """

    id = models.BigAutoField(primary_key=True)
    action = models.CharField(max_length=60)
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    session = models.UUIDField(null=True, db_index=True)
    ip = models.GenericIPAddressField(null=True)
    data = FactsField(default=dict)
    at = MomentField(db_index=True)

    class Meta:
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit entries")

    def __str__(self) -> str:
        return self.action
