"""Rows that publish their changes. They are in the table of Django's groups, so that none is added."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models

from session_mgmt.shortcuts import publishes


def name_topic(row: Row) -> str:
    """Return the topic of a row: one has them all."""
    return "rows:all"


def serialize_row(row: Row) -> dict[str, Any]:
    """Return what is told of a row."""
    return {"id": row.pk, "name": row.name}


@publishes(name_topic, serializer=serialize_row, keys=("name",))
class Row(models.Model):
    id = models.AutoField(primary_key=True)
    name = models.CharField(max_length=150, unique=True)
    objects: ClassVar[models.Manager[Row]]

    class Meta:
        managed = False
        db_table = "auth_group"
