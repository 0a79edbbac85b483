"""Webhooks: endpoints that receive events, and the deliveries to each of them."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.db import models
from django.utils.translation import gettext_lazy as _

from session_mgmt.models.moments import MomentField
from session_mgmt.models.portable_json import PortableJSONField
from session_mgmt.models.session import ClientSession


class WebhookEndpoint(models.Model):
    """Address that receives the events of its tenant's sessions; ``events`` lists their types, and an empty list means
    all.

    ``secrets`` is JSON, encrypted if the project has keys: the current secret and, for a while, the previous one.
    ``stopped`` says why it was switched off without anybody's doing; nobody calls it before ``rests_until``.
    """

    id = models.BigAutoField(primary_key=True)
    address = models.CharField(_("address"), max_length=500)
    events = PortableJSONField(_("events"), default=list, blank=True)
    secrets = models.BinaryField()
    active = models.BooleanField(_("active"), default=True)
    stopped = models.CharField(max_length=200, blank=True, default="", db_default="", editable=False)
    rests_until = MomentField(null=True, editable=False)
    tenant = models.CharField(max_length=100, blank=True, default="", editable=False)
    created_at = MomentField()

    class Meta:
        verbose_name = _("webhook endpoint")
        verbose_name_plural = _("webhook endpoints")

    def __str__(self) -> str:
        # Without the path and the query, in which services put secrets: this text is kept in Django's log of the admin.
        return f"{urlsplit(self.address).netloc} ({self.pk})"


class WebhookCursor(models.Model):
    """Place of an endpoint in the events of one session: deliveries up to ``done`` of ``head`` are settled.

    Code that records events changes only ``head``, under the session's lock; code that sends changes the rest. The
    endpoint is no foreign key in the database, so that deleting an endpoint cannot make a write fail.
    """

    id = models.BigAutoField(primary_key=True)
    session = models.ForeignKey(ClientSession, on_delete=models.CASCADE, related_name="+", db_index=False)
    endpoint = models.ForeignKey(
        WebhookEndpoint, on_delete=models.DO_NOTHING, related_name="cursors", db_constraint=False
    )
    head = models.BigIntegerField()
    done = models.BigIntegerField(default=0, db_default=0)
    next_at = MomentField()
    # No other process sends for this cursor until then. If the process dies, another one takes over afterwards.
    leased_until = MomentField()
    lease = models.CharField(max_length=16, blank=True, default="", db_default="")

    class Meta:
        verbose_name = _("webhook cursor")
        verbose_name_plural = _("webhook cursors")
        constraints = [models.UniqueConstraint(fields=["session", "endpoint"], name="sm_webhook_cursor")]
        indexes = [
            # Only cursors with something to send, so that the query of each run reads nothing if nothing waits.
            models.Index(fields=["next_at"], name="sm_webhook_due", condition=models.Q(done__lt=models.F("head")))
        ]

    def __str__(self) -> str:
        return f"{self.endpoint_id} {self.session_id} {self.done}/{self.head}"


class WebhookDelivery(models.Model):
    """One event for one endpoint, written with the event. ``sequence`` counts within the endpoint and the session.

    ``due_since`` is when it was recorded or replayed: from then on it is tried for so long.
    """

    class State(models.TextChoices):
        WAITING = "waiting", _("waiting")
        SENT = "sent", _("sent")
        DEAD = "dead", _("given up")

    id = models.BigAutoField(primary_key=True)
    session = models.ForeignKey(ClientSession, on_delete=models.CASCADE, related_name="+", db_index=False)
    endpoint = models.ForeignKey(
        WebhookEndpoint, on_delete=models.DO_NOTHING, related_name="deliveries", db_constraint=False
    )
    sequence = models.BigIntegerField()
    event = models.CharField(_("event"), max_length=40)
    payload = models.BinaryField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    attempts = models.PositiveIntegerField(_("attempts"), default=0, db_default=0)
    last_status = models.PositiveIntegerField(null=True)
    last_error = models.CharField(_("last error"), max_length=200, blank=True, default="", db_default="")
    recorded_at = MomentField()
    due_since = MomentField()
    settled_at = MomentField(null=True)

    class Meta:
        verbose_name = _("webhook delivery")
        verbose_name_plural = _("webhook deliveries")
        constraints = [models.UniqueConstraint(fields=["session", "endpoint", "sequence"], name="sm_webhook_delivery")]
        indexes = [
            models.Index(
                fields=["settled_at"], name="sm_webhook_settled", condition=models.Q(settled_at__isnull=False)
            ),
            # Only deliveries that were given up, which the pages for operators count.
            models.Index(fields=["settled_at"], name="sm_webhook_dead", condition=models.Q(state="dead")),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.endpoint_id}-{self.sequence}"
