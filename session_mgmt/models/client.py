"""Clients (tabs or processes) of a session, and their live connections."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from session_mgmt.models.identifiers import new_client_id
from session_mgmt.models.moments import MomentField
from session_mgmt.models.session import ClientSession


class Client(models.Model):
    """Fence and write counter in one row: only the newest ``generation`` may write, and only the number ``last_seq`` +
    1.

    A newer connection raises ``generation``, and so does the end of the session. So a write has to check only this row.
    """

    id = models.BigAutoField(primary_key=True)
    # No separate index: the unique constraint below begins with the session, and each index slows down every insert.
    session = models.ForeignKey(ClientSession, on_delete=models.CASCADE, related_name="clients", db_index=False)
    client_id = models.CharField(max_length=40, default=new_client_id)
    generation = models.BigIntegerField(default=0)
    last_seq = models.BigIntegerField(default=0)
    confirmed_seq = models.BigIntegerField(default=0)
    agent = models.CharField(max_length=100, blank=True)
    created_at = MomentField()

    class Meta:
        verbose_name = _("client")
        verbose_name_plural = _("clients")
        constraints = [
            models.UniqueConstraint(fields=["session", "client_id"], name="sm_client"),
            models.CheckConstraint(name="sm_client_seq", condition=models.Q(last_seq__gte=0)),
        ]

    def __str__(self) -> str:
        return self.client_id


class Connection(models.Model):
    """Transport of a client. ``disconnect`` may never run, so only ``lease_expires_at`` proves that a connection is
    alive.
    """

    class Transport(models.TextChoices):
        WEBSOCKET = "websocket", _("WebSocket")
        SSE = "sse", _("server-sent events")
        LONGPOLL = "longpoll", _("long poll")

    id = models.BigAutoField(primary_key=True)
    # No separate indexes: each of these is the first column of an index below.
    session = models.ForeignKey(ClientSession, on_delete=models.CASCADE, related_name="connections", db_index=False)
    client = models.ForeignKey(Client, on_delete=models.CASCADE, related_name="connections", db_index=False)
    generation = models.BigIntegerField()
    transport = models.CharField(max_length=10, choices=Transport.choices, default=Transport.WEBSOCKET)
    server = models.CharField(max_length=80)
    opened_at = MomentField()
    closed_at = MomentField(null=True, blank=True)
    close_code = models.PositiveIntegerField(null=True, blank=True)
    closed_by = models.CharField(max_length=10, blank=True)
    lease_expires_at = MomentField()
    rtt_ms = models.FloatField(null=True, blank=True)
    rtt_average_ms = models.FloatField(null=True, blank=True)
    rtt_p95_ms = models.FloatField(null=True, blank=True)
    rtt_jitter_ms = models.FloatField(null=True, blank=True)
    beats_sent = models.PositiveIntegerField(default=0)
    beats_missed = models.PositiveIntegerField(default=0)
    messages_in = models.PositiveBigIntegerField(default=0)
    messages_out = models.PositiveBigIntegerField(default=0)
    bytes_in = models.PositiveBigIntegerField(default=0)
    bytes_out = models.PositiveBigIntegerField(default=0)
    verdict = models.CharField(max_length=12, blank=True)
    receipt = models.TextField(blank=True)

    class Meta:
        verbose_name = _("connection")
        verbose_name_plural = _("connections")
        constraints = [
            # Promise L4 in the database: one generation of a client has one connection.
            models.UniqueConstraint(fields=["client", "generation"], name="sm_attachment"),
        ]
        indexes = [
            models.Index(fields=["session", "opened_at"], name="sm_conn_session"),
            # Only open connections: closed ones are kept for a week, and would fill most of the index.
            models.Index(fields=["lease_expires_at"], name="sm_conn_open", condition=models.Q(closed_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return f"{self.client_id}/{self.generation}"
