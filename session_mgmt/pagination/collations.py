"""Collations: find out which texts a database orders by their bytes, as clients do."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from django.db import connections

_BY_BYTES = ("C", "POSIX", "ucs_basic", "BINARY")


def is_by_bytes(field: Any, using: str) -> bool:
    """Return True if the database orders texts of this field by their bytes."""
    collation = getattr(field, "db_collation", None)
    return _is_database_by_bytes(using) if collation is None else collation in _BY_BYTES


@lru_cache(maxsize=8)
def _is_database_by_bytes(using: str) -> bool:
    connection = connections[using]
    if connection.vendor != "postgresql":
        return connection.vendor == "sqlite"
    with connection.cursor() as cursor:
        # Read the row as one JSON value, because its columns depend on the version of the server.
        cursor.execute(
            "SELECT datcollate, to_jsonb(d) ->> 'datlocprovider' FROM pg_database d WHERE datname = current_database()"
        )
        name, provider = cursor.fetchone()
    # The built-in locales (b) are C and C.UTF-8; both order by bytes.
    return provider == "b" or (provider in (None, "c") and name in _BY_BYTES)
