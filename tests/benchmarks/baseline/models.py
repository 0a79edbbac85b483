"""What a project without session_mgmt would write for each change: a row to update and a row of history."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class Document(models.Model):
    """The current value."""

    value = models.TextField(default="")
    version = models.PositiveBigIntegerField(default=0)


class Whole(models.Model):
    """A JSON document as one column, rewritten for each change."""

    data = models.JSONField(default=dict)


class Change(models.Model):
    """One change of it."""

    document = models.ForeignKey(Document, on_delete=models.CASCADE)
    value = models.TextField()
    at = models.DateTimeField(auto_now_add=True)


class Visit(models.Model):
    """One connection of a user."""

    # Without a constraint: its table is made before those that have migrations.
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, db_constraint=False)
    began_at = models.DateTimeField(auto_now_add=True)
    heard_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    close_code = models.IntegerField(null=True)
