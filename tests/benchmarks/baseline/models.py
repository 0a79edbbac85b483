"""What a project without session_mgmt would write for each change: a row to update and a row of history."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models

from session_mgmt.shortcuts import publishes


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


def serialize_article(row: Any) -> dict[str, Any]:
    """Return what is told of an article."""
    return {"id": row.pk, "title": row.title}


@publishes("articles:{shelf}", serializer=serialize_article, keys=("created",))
class Article(models.Model):
    """Row of a list that is read page by page."""

    shelf = models.IntegerField()
    title = models.CharField(max_length=80)
    created = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["shelf", "-created", "-id"], name="baseline_article_order")]
