"""System checks of the database of the sessions."""

from __future__ import annotations

import re
from typing import Any

from django.apps import apps
from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.core.checks import CheckMessage, Error, Warning
from django.db import connections, router

from session_mgmt import conf
from session_mgmt.checks.values import register_check

_CACHE_SIZE = re.compile(r"\bcache_size\s*[=(]\s*(-?\d+)", re.IGNORECASE)
_INITIAL_CACHE = -2000
_PAGE_BYTES = 4096
_LEAST_CACHE = 16 * 2**20
# Of a pool for which nothing else is said.
_POOL_SIZE = 4
# Two lanes that write, control rounds, and the process's own.
_SINGLE_THREADS = 4


@register_check()
def check_database(**_: Any) -> list[CheckMessage]:
    """Check the database routers.

    E020: sessions are read with their users, in one query. E021: the tables must be created where they are read.
    """
    using = conf.settings().database
    if using not in django_settings.DATABASES:
        return []
    if router.db_for_read(get_user_model()) != using:
        hint = "Route both to one database, and name it in SESSION_MGMT['database']."
        return [Error("The user model is not in the database of the sessions.", hint=hint, id="session_mgmt.E020")]
    models = apps.get_app_config("session_mgmt").get_models()
    if not all(router.allow_migrate_model(using, model) and router.db_for_write(model) == using for model in models):
        hint = f"Route reads, writes and migrations of the app session_mgmt to {using!r}."
        return [Error("A router routes session tables to another database.", hint=hint, id="session_mgmt.E021")]
    return []


@register_check()
def check_engine(**_: Any) -> list[CheckMessage]:
    """Check that the database is PostgreSQL or SQLite (E031): other databases lack constraints on which the promises
    depend.
    """
    using = conf.settings().database
    if using not in django_settings.DATABASES or connections[using].vendor in ("postgresql", "sqlite"):
        return []
    name = connections[using].display_name
    hint = "Name an alias of PostgreSQL or SQLite in SESSION_MGMT['database']. Your own tables need not move."
    return [Error(f"Sessions cannot be stored in {name}.", hint=hint, id="session_mgmt.E031")]


@register_check()
def check_autocommit(**_: Any) -> list[CheckMessage]:
    """Check that the database's AUTOCOMMIT is on (E037): without it Django commits nothing, not even writes of this
    app.
    """
    if django_settings.DATABASES.get(conf.settings().database, {}).get("AUTOCOMMIT", True):
        return []
    message = "AUTOCOMMIT of the sessions' database is False, so writes of the app would never be committed."
    hint = "Set it to True, and use transaction.atomic(). Single functions may call transaction.set_autocommit()."
    return [Error(message, hint=hint, id="session_mgmt.E037")]


@register_check()
def check_sqlite(**_: Any) -> list[CheckMessage]:
    """Check that SQLite transactions are IMMEDIATE (W001): a deferred one that reads and then writes fails with
    "database is locked".
    """
    alias = django_settings.DATABASES.get(conf.settings().database, {})
    if "sqlite" not in alias.get("ENGINE", ""):
        return []
    if alias.get("OPTIONS", {}).get("transaction_mode", "").upper() == "IMMEDIATE":
        return []
    hint = (
        'Add "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20, "init_command": "PRAGMA journal_mode=WAL;"}.'
    )
    return [Warning("SQLite transactions are not IMMEDIATE.", hint=hint, id="session_mgmt.W001")]


@register_check(deploy=True)
def check_page_cache(**_: Any) -> list[CheckMessage]:
    """Check that SQLite's page cache is larger than its default of 2 MB (W007), into which a group of writes does not
    fit.
    """
    alias = django_settings.DATABASES.get(conf.settings().database, {})
    command = str(alias.get("OPTIONS", {}).get("init_command", ""))
    if "sqlite" not in alias.get("ENGINE", "") or _read_cache_bytes(command) >= _LEAST_CACHE:
        return []
    hint = (
        'Add "PRAGMA cache_size=-65536;" (64 MB) to OPTIONS["init_command"]. Each connection fills it only as it reads.'
    )
    return [Warning("SQLite's page cache is small.", hint=hint, id="session_mgmt.W007")]


def _read_cache_bytes(command: str) -> int:
    """Return the size of the page cache that a command sets: SQLite takes kibibytes, negative, or pages."""
    found = _CACHE_SIZE.findall(command)
    # The last PRAGMA counts, as in SQLite.
    given = int(found[-1]) if found else _INITIAL_CACHE
    return -given * 1024 if given < 0 else given * _PAGE_BYTES


@register_check()
def check_postgres(**_: Any) -> list[CheckMessage]:
    """Check that connections do not leak under ASGI (W005), where each request has a thread of its own."""
    alias = django_settings.DATABASES.get(conf.settings().database, {})
    if "postgresql" not in alias.get("ENGINE", "") or alias.get("CONN_MAX_AGE", 0) == 0:
        return []
    message = "Under ASGI, CONN_MAX_AGE keeps a database connection open for each request's thread."
    hint = 'Set CONN_MAX_AGE to 0, and use "OPTIONS": {"pool": {"max_size": 40}} if connecting is slow.'
    return [Warning(message, hint=hint, id="session_mgmt.W005")]


@register_check()
def check_pool(**_: Any) -> list[CheckMessage]:
    """Check that a pool has more connections than the app's own threads keep (W025): requests would get none."""
    alias, limits = django_settings.DATABASES.get(conf.settings().database, {}), conf.settings()
    pool = alias.get("OPTIONS", {}).get("pool")
    if not pool or "postgresql" not in alias.get("ENGINE", ""):
        return []
    given = pool if isinstance(pool, dict) else {}
    # Without a max_size a pool of psycopg does not grow.
    most = given.get("max_size") or given.get("min_size", _POOL_SIZE)
    kept = count_kept(limits)
    if most > kept:
        return []
    message = f"The database pool has {most} connections, but the app's own threads may hold {kept}."
    hint = f'Set "max_size" in OPTIONS["pool"] to {kept} plus the number of simultaneous requests of a process.'
    return [Warning(message, hint=hint, id="session_mgmt.W025")]


def count_kept(limits: conf.Settings) -> int:
    """Return how many connections the threads of one process keep at most."""
    # Of the pools of threads in bridge/crossing.py there are two of each kind.
    return 2 * (limits.read_threads + limits.handler_threads) + _SINGLE_THREADS
