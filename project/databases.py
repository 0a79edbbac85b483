"""Entries of Django's DATABASES, built from a path or a URL."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured


def build_sqlite(path: Path) -> dict[str, Any]:
    """Return the entry of the embedded database at `path`, and make its folder if missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _make_private(path)
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "OPTIONS": {
            "timeout": 20,
            # A transaction that upgrades from read to write fails at once under WAL, whatever the timeout.
            "transaction_mode": "IMMEDIATE",
            # With NORMAL a power loss takes back commits that were already acknowledged to clients.
            # With its own 2 MB of page cache SQLite reads the pages of busy tables again for every group of writes.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-65536;",
        },
    }


def _make_private(path: Path) -> None:
    """Let only the owner read the database: it holds everybody's state. SQLite gives its other files the same mode."""
    path.touch(0o600)
    for file in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        if file.exists() and file.stat().st_mode & 0o077:
            file.chmod(0o600)


def build_postgres(url: str) -> dict[str, Any]:
    """Return the entry for `postgres://user:password@host:port/name?option=value`."""
    parts = urlsplit(url)
    if parts.scheme not in {"postgres", "postgresql"}:
        raise ImproperlyConfigured(f"DATABASE_URL must begin with postgres://, not {parts.scheme}://")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")) or "postgres",
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(parts.hostname or ""),
        "PORT": str(parts.port or ""),
        "OPTIONS": dict(parse_qsl(parts.query)),
        # Under ASGI each request has a thread of its own, whose connection would stay open until it is too old: some
        # hundred requests reach the server's max_connections.
        "CONN_MAX_AGE": 0,
    }
