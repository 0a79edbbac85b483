"""Topics: their retained entries, and the sessions that follow them."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from session_mgmt.models.identifiers import new_epoch
from session_mgmt.models.moments import MomentField
from session_mgmt.models.portable_json import PortableJSONField
from session_mgmt.models.session import ClientSession


class Stream(models.Model):
    """Retained log of one topic, created by its first publication.

    ``oldest`` is the first offset still held, ``oldest_tag`` the tag before it.
    """

    id = models.BigAutoField(primary_key=True)
    topic = models.CharField(max_length=255, unique=True)
    epoch = models.CharField(max_length=32, default=new_epoch)
    head = models.BigIntegerField(default=0)
    head_tag = models.CharField(max_length=16, blank=True, default="")
    oldest = models.BigIntegerField(default=1)
    # Kept when that entry is deleted, because a client that stands right before the oldest entry has lost nothing.
    oldest_tag = models.CharField(max_length=16, blank=True, default="")
    created_at = MomentField()

    class Meta:
        verbose_name = _("stream")
        verbose_name_plural = _("streams")
        constraints = [
            models.CheckConstraint(
                name="sm_stream_window",
                condition=models.Q(oldest__gte=1) & models.Q(oldest__lte=models.F("head") + 1),
            ),
        ]

    def __str__(self) -> str:
        return self.topic


class Publication(models.Model):
    """Entry of a stream; ``data`` is compact JSON."""

    id = models.BigAutoField(primary_key=True)
    stream = models.ForeignKey(Stream, on_delete=models.CASCADE, related_name="publications", db_index=False)
    offset = models.BigIntegerField()
    tag = models.CharField(max_length=16)
    data = models.BinaryField()
    key = models.CharField(max_length=100, null=True)
    at = MomentField()

    class Meta:
        verbose_name = _("publication")
        verbose_name_plural = _("publications")
        constraints = [
            # Promise T1 in the database: one value for each offset.
            models.UniqueConstraint(fields=["stream", "offset"], name="sm_publication"),
            models.UniqueConstraint(
                fields=["stream", "key"], name="sm_publication_key", condition=models.Q(key__isnull=False)
            ),
            # 0 is the place before the first entry, so no entry may have this offset.
            models.CheckConstraint(name="sm_publication_offset", condition=models.Q(offset__gte=1)),
        ]

    def __str__(self) -> str:
        return f"{self.stream_id}#{self.offset}"


class Subscription(models.Model):
    """Topic that a session follows; it survives with the session. The permission is checked again on every resume."""

    id = models.BigAutoField(primary_key=True)
    session = models.ForeignKey(ClientSession, on_delete=models.CASCADE, related_name="subscriptions", db_index=False)
    topic = models.CharField(max_length=255)
    options = PortableJSONField(default=dict, blank=True)
    created_at = MomentField()

    class Meta:
        verbose_name = _("subscription")
        verbose_name_plural = _("subscriptions")
        constraints = [models.UniqueConstraint(fields=["session", "topic"], name="sm_subscription")]
        # Whenever a session leaves a topic, a query asks whether anybody still follows it.
        indexes = [models.Index(fields=["topic"], name="sm_subscription_topic")]

    def __str__(self) -> str:
        return self.topic
