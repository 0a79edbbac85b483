"""Presence: who is there in a topic, and by which clients."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from session_mgmt.models.client import Client
from session_mgmt.models.moments import MomentField
from session_mgmt.models.stream import Stream


class Member(models.Model):
    """Member of a topic; ``stream`` is the log of the topic's presence.

    ``data`` is compact JSON. ``told`` is the data that the log has published last, empty before the log has announced
    the member. ``waiting`` marks a row that the next entry of the log may have to mention.
    """

    id = models.BigAutoField(primary_key=True)
    stream = models.ForeignKey(Stream, on_delete=models.CASCADE, related_name="members", db_index=False)
    member = models.CharField(max_length=100)
    data = models.BinaryField()
    told = models.BinaryField(null=True)
    waiting = models.BooleanField(default=True)
    since = MomentField()

    class Meta:
        verbose_name = _("member")
        verbose_name_plural = _("members")
        constraints = [models.UniqueConstraint(fields=["stream", "member"], name="sm_member")]
        # Only waiting rows, because each process asks for them every second.
        indexes = [models.Index(fields=["stream", "id"], name="sm_member_waiting", condition=models.Q(waiting=True))]

    def __str__(self) -> str:
        return self.member


class Attendance(models.Model):
    """Client that makes a member present, as long as one of its connections holds a lease."""

    id = models.BigAutoField(primary_key=True)
    client = models.ForeignKey(Client, on_delete=models.CASCADE, related_name="attendances", db_index=False)
    stream = models.ForeignKey(Stream, on_delete=models.CASCADE, related_name="attendances")
    member = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="attendances")

    class Meta:
        verbose_name = _("attendance")
        verbose_name_plural = _("attendances")
        constraints = [models.UniqueConstraint(fields=["client", "stream"], name="sm_attendance")]

    def __str__(self) -> str:
        return f"{self.client_id}/{self.member_id}"
