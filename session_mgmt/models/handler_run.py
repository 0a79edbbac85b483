"""Durable handlers that still have to run for an event."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from session_mgmt.models.moments import MomentField
from session_mgmt.models.session import ClientSession


class HandlerRun(models.Model):
    """One durable handler of one event that has failed or still has to run. The row is deleted when it has run.

    The row holds a copy of the event, so that the log can be trimmed in the meantime. ``handler`` is the module and
    name of a function; ``next_at`` is the earliest moment of the next attempt.
    """

    id = models.BigAutoField(primary_key=True)
    # No index of its own: the unique constraint below begins with the session.
    session = models.ForeignKey(ClientSession, on_delete=models.CASCADE, related_name="+", db_index=False)
    seq = models.BigIntegerField()
    event = models.BigIntegerField()
    type = models.CharField(_("event"), max_length=40)
    data = models.BinaryField()
    at = MomentField()
    handler = models.CharField(_("handler"), max_length=300)
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    error = models.CharField(_("last error"), max_length=500, blank=True, default="")
    next_at = MomentField(_("next attempt"))

    class Meta:
        verbose_name = _("run of a handler")
        verbose_name_plural = _("runs of handlers")
        constraints = [models.UniqueConstraint(fields=["session", "seq", "handler"], name="sm_handler_run")]
        indexes = [models.Index(fields=["next_at"], name="sm_handler_run_due")]

    def __str__(self) -> str:
        return f"{self.handler} {self.type}#{self.seq}"
