"""Moments in columns: aware and in UTC, also in a project that keeps ``USE_TZ = False`` for its own times.

Naive local times would go back an hour every autumn, and sessions with them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper


def stored(moment: datetime, connection: BaseDatabaseWrapper) -> Any:
    """A moment as this database stores it."""
    if not settings.USE_TZ and connection.vendor != "postgresql":
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return connection.ops.adapt_datetimefield_value(moment)


class MomentField(models.DateTimeField):
    """A ``DateTimeField`` for migrations, and a column in UTC whatever the project does."""

    def deconstruct(self) -> Any:
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.DateTimeField", args, kwargs

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        if settings.USE_TZ or not isinstance(value, datetime):
            return super().get_db_prep_value(value, connection, prepared)
        return stored(value, connection)

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        if settings.USE_TZ or value is None:
            return value
        # PostgreSQL gives the time of the connection's zone, others what was stored.
        zone = ZoneInfo(connection.timezone_name) if connection.vendor == "postgresql" else UTC
        return value.replace(tzinfo=zone).astimezone(UTC)
