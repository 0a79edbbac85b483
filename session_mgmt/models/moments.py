"""Moments in columns: aware and in UTC, even in a project with ``USE_TZ = False``.

Naive local times would go back an hour every autumn, and sessions would live an hour longer.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper


def adapt_moment(moment: datetime, connection: BaseDatabaseWrapper) -> Any:
    """Convert a moment to the value that this database stores."""
    if not settings.USE_TZ and connection.vendor != "postgresql":
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return connection.ops.adapt_datetimefield_value(moment)


class MomentField(models.DateTimeField):
    """``DateTimeField`` whose column holds UTC, independent of the project's ``USE_TZ``."""

    def deconstruct(self) -> Any:
        name, _, args, kwargs = super().deconstruct()
        # Describe it as Django's own field, so that migrations do not depend on this class.
        return name, "django.db.models.DateTimeField", args, kwargs

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        if settings.USE_TZ or not isinstance(value, datetime):
            return super().get_db_prep_value(value, connection, prepared)
        return adapt_moment(value, connection)

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        if settings.USE_TZ or value is None:
            return value
        # PostgreSQL returns the time in the connection's zone; others return the stored UTC.
        zone = ZoneInfo(connection.timezone_name) if connection.vendor == "postgresql" else UTC
        return value.replace(tzinfo=zone).astimezone(UTC)
