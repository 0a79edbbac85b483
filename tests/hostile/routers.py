"""People, and all that belongs to them, live in a database of their own."""

from __future__ import annotations

from typing import Any

APART = {"accounts", "admin", "auth", "contenttypes", "session_mgmt"}


class People:
    """Django's own protocol of routers."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "people" if model._meta.app_label in APART else "default"

    db_for_write = db_for_read

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return (db == "people") == (app_label in APART)
