"""System checks: mistakes in settings are found at start, with a hint."""

from __future__ import annotations

import ipaddress
import math
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import timedelta
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any

from django.apps import apps
from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import FieldError, ValidationError
from django.db import connections, router
from django.utils.module_loading import import_string

from session_mgmt import conf
from session_mgmt.actions import monitoring, vaults
from session_mgmt.actions.keys import usage
from session_mgmt.actions.state import policies
from session_mgmt.documents.errors import DocumentError
from session_mgmt.exceptions import StateUnreadable
from session_mgmt.models import StateDocument
from session_mgmt.user_code import check_function, find_hook

# Every number and every time is above 0, except these.
_LEAST = {
    **dict.fromkeys(("retention", "drain_spread", "reconnect_attempts", "max_sockets_per_address"), 0),
    **dict.fromkeys(("trusted_proxies", "max_anonymous_per_address"), 0),
    **dict.fromkeys(("max_requests_per_second", "max_conflicts", "max_conflict_bytes", "max_checkpoints"), 0),
    **dict.fromkeys(("compression_threshold", "head_cache_bytes", "wsgi_hold"), 0),
    # Below it clients would come back faster and faster.
    "reconnect_factor": 1,
}
_CHOICES = {
    "token_mode": conf.TOKEN_MODES,
    "assurance": tuple(conf.ASSURANCE),
    "stored_addresses": conf.ADDRESS_FORMS,
    "device_change": conf.CHANGE_POLICIES,
    "address_change": conf.CHANGE_POLICIES,
}
# The project's functions, with the arguments that each is called with.
HOOKS = {
    "scopes_for": ("request", "user"),
    "place_of": ("session",),
    **dict.fromkeys(("tenant_of", "auth_time_of", "impersonator_of"), ("request",)),
}
_ORIGIN = re.compile(r"https?://[^/?#@*\s]+")
_CACHE_SIZE = re.compile(r"\bcache_size\s*[=(]\s*(-?\d+)", re.IGNORECASE)
_INITIAL_CACHE = -2000
_PAGE_BYTES = 4096
_LONGEST_CALL = 60
_LEAST_CACHE = 16 * 2**20


@register()
def check_settings(**_: Any) -> list[CheckMessage]:
    """Check the settings. E001: no dict. E002: unknown name. E003: wrong type. E004 to E007: contradictory limits."""
    given = getattr(django_settings, conf.NAME, {})
    if not isinstance(given, dict):
        return [
            Error(
                "SESSION_MGMT is not a dict.",
                hint="Write SESSION_MGMT = {'idle_timeout': timedelta(hours=8)}, for example.",
                id="session_mgmt.E001",
            )
        ]
    initial = conf.Settings()
    known = {f.name: getattr(initial, f.name) for f in fields(conf.Settings)}
    found: list[CheckMessage] = []
    for name, value in given.items():
        if not isinstance(name, str) or name.lower() not in known:
            hint = _suggest_name(str(name), known)
            found.append(Error(f"SESSION_MGMT has an unknown name {name!r}.", hint=hint, id="session_mgmt.E002"))
        # A list of names, where the initial value is a bool and the general rule would refuse it.
        elif name.lower() == "encrypt_state" and isinstance(value, list | tuple):
            continue
        elif not _fits_type(value, known[name.lower()]):
            hint = f"It must be of type {type(known[name.lower()]).__name__}."
            found.append(Error(f"SESSION_MGMT[{name!r}] has the wrong type.", hint=hint, id="session_mgmt.E003"))
    # The later checks calculate with the values, so they wait until all types are right.
    now = conf.settings()
    return found or [*_check_ranges(now), *_check_values(now), *_check_identity(now)]


def _check_ranges(now: conf.Settings) -> list[CheckMessage]:
    """Check numbers and times (E014)."""
    found: list[CheckMessage] = []
    for name in (f.name for f in fields(conf.Settings)):
        value = getattr(now, name)
        if isinstance(value, bool) or not isinstance(value, int | float | timedelta):
            continue
        number = value.total_seconds() if isinstance(value, timedelta) else value
        least = _LEAST.get(name)
        # NaN compares with nothing, and would pass every bound.
        if not math.isfinite(number) or number < (least or 0) or (least is None and number == 0):
            hint = "Give a number above 0." if least is None else f"Give a number from {least}."
            found.append(Error(f"SESSION_MGMT[{name!r}] is out of range.", hint=hint, id="session_mgmt.E014"))
    for name in ("interval_range", "missed_limit_range", "batch_range"):
        if not _is_range(getattr(now, name), 0 if name == "batch_range" else 0.1):
            hint = "Give the smallest and the largest value, as (2.0, 60.0)."
            found.append(Error(f"SESSION_MGMT[{name!r}] is out of range.", hint=hint, id="session_mgmt.E014"))
    return found


def _is_range(value: Sequence[Any], least: float) -> bool:
    if len(value) != 2 or not all(_fits_type(part, 1.0) and math.isfinite(part) for part in value):
        return False
    low, high = value
    return bool(least <= low <= high)


def _suggest_name(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name.lower(), known, 1)
    return f"Did you mean {near[0]!r}?" if near else f"The names are: {', '.join(known)}."


def _fits_type(value: Any, default: Any) -> bool:
    if isinstance(default, bool):
        return isinstance(value, bool)
    if default is None:
        return value is None or isinstance(value, str) or callable(value)
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(default, tuple):
        return isinstance(value, list | tuple)
    return isinstance(value, type(default)) and not (isinstance(value, bool) and isinstance(default, int))


def _check_values(now: conf.Settings) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    minute = timedelta(seconds=60)
    if min(now.idle_timeout, now.absolute_timeout) < minute:
        hint = "A shorter one would end sessions between two writes of their activity."
        found.append(Error("A session timeout is below 60 seconds.", hint=hint, id="session_mgmt.E004"))
    if now.lease_duration.total_seconds() <= now.heartbeat_interval + now.lease_flush_interval:
        hint = "Give it at least heartbeat_interval + lease_flush_interval, better three beats."
        found.append(Error("lease_duration is shorter than a beat and a flush.", hint=hint, id="session_mgmt.E005"))
    if now.session_limit_policy not in conf.SESSION_LIMIT_POLICIES:
        hint = f"Use one of {', '.join(conf.SESSION_LIMIT_POLICIES)}."
        found.append(Error("session_limit_policy is unknown.", hint=hint, id="session_mgmt.E006"))
    if now.database not in django_settings.DATABASES:
        hint = "Name an alias of DATABASES."
        found.append(Error(f"There is no database {now.database!r}.", hint=hint, id="session_mgmt.E007"))
    if not now.websocket_path.startswith("/"):
        hint = f"Write '/{now.websocket_path}'."
        found.append(Error("websocket_path does not begin with a slash.", hint=hint, id="session_mgmt.E017"))
    for origin in now.allowed_origins:
        if not isinstance(origin, str) or not _ORIGIN.fullmatch(origin):
            hint = "Write scheme, host and port if it has one, as 'https://shop.example'."
            found.append(Error(f"allowed_origins holds no origin: {origin!r}.", hint=hint, id="session_mgmt.E016"))
    return found


def _check_identity(now: conf.Settings) -> list[CheckMessage]:
    """Check the choices about people (E018), and the timeouts against the level of NIST SP 800-63B (W018)."""
    found: list[CheckMessage] = []
    for name, known in _CHOICES.items():
        if getattr(now, name) not in known:
            hint = f"Use one of {', '.join(known)}."
            found.append(Error(f"{name} is unknown.", hint=hint, id="session_mgmt.E018"))
    idle, absolute = conf.ASSURANCE.get(now.assurance, (timedelta.max, timedelta.max))
    if now.idle_timeout > idle or now.absolute_timeout > absolute:
        hint = f"{now.assurance} allows idle_timeout up to {idle} and absolute_timeout up to {absolute}."
        found.append(Warning(f"A session timeout is too long for {now.assurance}.", hint=hint, id="session_mgmt.W018"))
    return found


@register()
def check_cookie_mode(**_: Any) -> list[CheckMessage]:
    """Check that pages can keep a cookie. E023: visitors get no CSRF token. W019: no sign of https.

    W008 asks, at a deploy, whether clients are made to use it.
    """
    now, found = conf.settings(), list[CheckMessage]()
    if now.token_mode != "cookie":
        return found
    if now.anonymous_sessions and django_settings.CSRF_USE_SESSIONS:
        hint = "Turn CSRF_USE_SESSIONS off: a visitor's CSRF token would need a Django session."
        found.append(Error("Visitors cannot enter: they get no CSRF token.", hint=hint, id="session_mgmt.E023"))
    has_tls = django_settings.SECURE_SSL_REDIRECT or django_settings.SECURE_PROXY_SSL_HEADER
    if not (django_settings.DEBUG or has_tls or django_settings.SESSION_COOKIE_SECURE):
        hint = "Set SECURE_SSL_REDIRECT, or SECURE_PROXY_SSL_HEADER behind a proxy that ends TLS."
        found.append(Warning("Browsers keep the cookie over https only.", hint=hint, id="session_mgmt.W019"))
    return found


@register()
def check_throttle_classes(**_: Any) -> list[CheckMessage]:
    """Check that the throttles can be imported (E015): otherwise every call over HTTP fails."""
    found: list[CheckMessage] = []
    for name in conf.settings().throttle_classes:
        try:
            import_string(name)
        except (ImportError, AttributeError, TypeError) as error:
            hint = "Write the dotted path of a throttle class, as 'rest_framework.throttling.UserRateThrottle'."
            message = f"throttle_classes holds {name!r}, which cannot be imported: {error}"
            found.append(Error(message, hint=hint, id="session_mgmt.E015"))
    return found


@register()
def check_hooks(**_: Any) -> list[CheckMessage]:
    """Check that the project's functions can be imported and called (E022): otherwise nobody gets a session."""
    found: list[CheckMessage] = []
    for name, arguments in HOOKS.items():
        try:
            function = find_hook(name)
            if function is not None:
                check_function(function, name, *arguments)
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            hint = f"Give a function that is called with ({', '.join(arguments)}), or its dotted path."
            found.append(Error(f"SESSION_MGMT[{name!r}]: {error}", hint=hint, id="session_mgmt.E022"))
    return found


@register()
def check_user_standing(**_: Any) -> list[CheckMessage]:
    """Check that the filter of users can be asked (E024)."""
    standing = conf.settings().user_standing
    # A user model may compute it.
    if not isinstance(standing, dict) or standing == conf.Settings().user_standing:
        return []
    try:
        get_user_model()._base_manager.filter(**standing)
    except (FieldError, TypeError, ValueError, ValidationError) as error:
        hint = f"Write a filter of your user model, as for filter(). {error}"
        return [Error("SESSION_MGMT['user_standing'] is no filter.", hint=hint, id="session_mgmt.E024")]
    return []


@register()
def check_name_of_settings(**_: Any) -> list[CheckMessage]:
    """Check for a setting whose name looks like a misspelt SESSION_MGMT (W006): it would be ignored silently."""
    near = get_close_matches(conf.NAME, [name for name in dir(django_settings) if name.isupper()], 5, cutoff=0.85)
    return [
        Warning(f"There is a setting {name}, which nobody reads.", hint=f"Name it {conf.NAME}.", id="session_mgmt.W006")
        for name in near
        if name != conf.NAME
    ]


@register()
def check_schema_page(**_: Any) -> list[CheckMessage]:
    """Check that the page of the REST calls has the files that it shows (E013)."""
    if not conf.settings().schema_page or apps.is_installed("drf_spectacular_sidecar"):
        return []
    hint = "pip install drf-spectacular-sidecar, and add drf_spectacular_sidecar to INSTALLED_APPS."
    return [Error("schema_page is on, and Swagger UI is not installed.", hint=hint, id="session_mgmt.E013")]


@register()
def check_state_keys(**_: Any) -> list[CheckMessage]:
    """Check the encryption. E008: unusable keys. E009: no key. E010: missing package. E012: required but off."""
    now = conf.settings()
    if now.require_encryption and not now.encrypt_state:
        hint = "Give encrypt_state, or nothing is required."
        return [Error("require_encryption is on and encrypt_state is off.", hint=hint, id="session_mgmt.E012")]
    if not now.state_keys and not now.encrypt_state:
        return []
    if not now.state_keys:
        hint = "Give state_keys, or nothing can be written to these documents."
        return [Error("encrypt_state is on and there is no key.", hint=hint, id="session_mgmt.E009")]
    try:
        vaults.load_keyring()
    except ValueError as error:
        hint = "Pairs of a key id of at most 40 characters and base64 of 32 bytes, no id twice."
        return [Error(f"state_keys cannot be used: {error}", hint=hint, id="session_mgmt.E008")]
    except StateUnreadable as error:
        return [Error(str(error), hint='pip install "session_mgmt[crypto]"', id="session_mgmt.E010")]
    return []


@register(Tags.database)
def check_keys_in_use(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Check that no document needs a key that is missing from the settings (W003).

    It runs with ``check --database`` and ``migrate``.
    """
    using = conf.settings().database
    # Django passes databases only where it may ask them: a check at import must need no server.
    if using not in (databases or ()) or check_state_keys():
        return []
    if StateDocument._meta.db_table not in connections[using].introspection.table_names():
        return []
    missing = usage.list_missing_keys(usage.list_document_keys(using))
    if not missing:
        return []
    hint = "Put them back behind the first one, until rotate_state_keys has no row left under them."
    message = f"Documents are under keys that are not in state_keys: {', '.join(missing)}."
    return [Warning(message, hint=hint, id="session_mgmt.W003")]


@register()
def check_development_server(**_: Any) -> list[CheckMessage]:
    """Check ``manage.py runserver`` (W004): without Daphne it serves no WebSockets."""
    if "runserver" not in sys.argv[1:2] or apps.is_installed("daphne"):
        return []
    hint = "Put 'daphne' first into INSTALLED_APPS and set ASGI_APPLICATION, or start another ASGI server."
    message = "Django's own runserver serves no WebSockets, so no client can connect."
    return [Warning(message, hint=hint, id="session_mgmt.W004")]


@register()
def check_documents(**_: Any) -> list[CheckMessage]:
    """Check the policies of documents (E011): each must be valid and its function importable."""
    found: list[CheckMessage] = []
    for name, given in conf.settings().documents.items():
        try:
            policies.parse_policy(given)
        except (ValueError, AttributeError, ImportError, DocumentError) as error:
            hint = "A document takes strategy, arrays, on_conflict and claim; claim is keep or drop."
            message = f"SESSION_MGMT documents[{name!r}] cannot be used: {error}"
            found.append(Error(message, hint=hint, id="session_mgmt.E011"))
    return found


@register()
def check_claims(**_: Any) -> list[CheckMessage]:
    """Check the settings for a visitor at login and a page at logout (E027, E028), and ``may_claim`` (E029)."""
    now = conf.settings()
    found: list[CheckMessage] = []
    for name, given, known in (("on_login", now.on_login, conf.ON_LOGIN), ("on_logout", now.on_logout, conf.ON_LOGOUT)):
        if given not in known:
            found.append(Error(f"{name} is unknown.", hint=f"Use one of {', '.join(known)}.", id="session_mgmt.E027"))
    if now.on_logout == "anonymous" and not now.anonymous_sessions:
        hint = "Set anonymous_sessions too, or there is nothing to enter after a logout."
        found.append(
            Error("on_logout is anonymous, and there are no anonymous sessions.", hint=hint, id="session_mgmt.E028")
        )
    try:
        function = find_hook("may_claim")
        if function is not None:
            check_function(function, "may_claim", "session", "user", "request")
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        hint = "Write def may_claim(session, user, request), or the dotted path of such a function."
        found.append(Error(f"may_claim cannot be used: {error}", hint=hint, id="session_mgmt.E029"))
    return found


@register()
def check_database(**_: Any) -> list[CheckMessage]:
    """Check the database routers.

    E020: sessions are read with their users, in one query. E021: the tables must be created where they are read.
    """
    using = conf.settings().database
    if using not in django_settings.DATABASES:
        return []
    if router.db_for_read(get_user_model()) != using:
        hint = "Let a database router send both to one database, and SESSION_MGMT['database'] name it."
        return [Error("The user model is not in the database of the sessions.", hint=hint, id="session_mgmt.E020")]
    models = apps.get_app_config("session_mgmt").get_models()
    if not all(router.allow_migrate_model(using, model) and router.db_for_write(model) == using for model in models):
        hint = f"Let the router send the app session_mgmt to {using!r}, for reading, writing and migrating."
        return [Error("A router sends session tables to another database.", hint=hint, id="session_mgmt.E021")]
    return []


@register()
def check_engine(**_: Any) -> list[CheckMessage]:
    """Check that the database is PostgreSQL or SQLite (E031): no other has the constraints that promises hang on."""
    using = conf.settings().database
    if using not in django_settings.DATABASES or connections[using].vendor in ("postgresql", "sqlite"):
        return []
    name = connections[using].display_name
    hint = "Name an alias of PostgreSQL or SQLite in SESSION_MGMT['database']; your own tables may stay where they are."
    return [Error(f"Sessions cannot be stored in {name}.", hint=hint, id="session_mgmt.E031")]


@register()
def check_webhooks(**_: Any) -> list[CheckMessage]:
    """Check the networks of webhooks (E032), and that a call ends long before its lease (E033)."""
    now = conf.settings()
    found: list[CheckMessage] = []
    for network in now.webhook_networks:
        try:
            ipaddress.ip_network(str(network))
        except ValueError:
            hint = "Write it as 10.1.0.0/16 or fd12::/48, without bits of a host."
            message = f"SESSION_MGMT['webhook_networks']: {network!r} is no network."
            found.append(Error(message, hint=hint, id="session_mgmt.E032"))
    if now.webhook_timeout > _LONGEST_CALL:
        hint = f"Give at most {_LONGEST_CALL} seconds; a receiver that needs longer answers first and works later."
        message = "SESSION_MGMT['webhook_timeout'] is too long."
        found.append(Error(message, hint=hint, id="session_mgmt.E033"))
    return found


@register()
def check_doorbell(**_: Any) -> list[CheckMessage]:
    """Check that the database of doorbells can carry them (E030)."""
    alias = conf.settings().doorbell_database
    if not alias:
        return []
    if alias not in django_settings.DATABASES:
        message, hint = f"There is no database {alias!r}.", "Name an alias of DATABASES."
    elif "postg" not in django_settings.DATABASES[alias].get("ENGINE", ""):
        message, hint = f"The database {alias!r} is no PostgreSQL.", "Only PostgreSQL has LISTEN and NOTIFY."
    elif find_spec("psycopg") is None:
        message, hint = "Doorbells through PostgreSQL need psycopg 3.", 'pip install "session_mgmt[postgres]"'
    else:
        return []
    return [Error(f"SESSION_MGMT['doorbell_database']: {message}", hint=hint, id="session_mgmt.E030")]


@register(Tags.database)
def check_doorbell_is_heard(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Ring once through PostgreSQL (W021): a pooler in transaction mode takes LISTEN, and nothing arrives.

    It runs with ``check --database``.
    """
    alias = conf.settings().doorbell_database
    if alias not in (databases or ()) or check_doorbell() or monitoring.hear_doorbell(alias):
        return []
    hint = "Give an alias whose HOST and PORT are those of PostgreSQL itself, and not of a pooler."
    message = f"Doorbells through the database {alias!r} are not heard: news waits for position checks."
    return [Warning(message, hint=hint, id="session_mgmt.W021")]


@register()
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


@register(deploy=True)
def check_page_cache(**_: Any) -> list[CheckMessage]:
    """Check that SQLite's page cache is not its own 2 MB (W007), with which a group of writes reads its pages again."""
    alias = django_settings.DATABASES.get(conf.settings().database, {})
    command = str(alias.get("OPTIONS", {}).get("init_command", ""))
    if "sqlite" not in alias.get("ENGINE", "") or _read_cache_bytes(command) >= _LEAST_CACHE:
        return []
    hint = 'Add "PRAGMA cache_size=-65536;" (64 MB) to OPTIONS["init_command"]; each connection takes what it reads.'
    return [Warning("SQLite's page cache is small.", hint=hint, id="session_mgmt.W007")]


def _read_cache_bytes(command: str) -> int:
    """Return the size of the page cache that a command sets: SQLite takes kibibytes, negative, or pages."""
    found = _CACHE_SIZE.findall(command)
    # The last PRAGMA counts, as in SQLite.
    given = int(found[-1]) if found else _INITIAL_CACHE
    return -given * 1024 if given < 0 else given * _PAGE_BYTES


@register()
def check_postgres(**_: Any) -> list[CheckMessage]:
    """Check that connections do not leak under ASGI (W005), where each request has a thread of its own."""
    alias = django_settings.DATABASES.get(conf.settings().database, {})
    if "postgresql" not in alias.get("ENGINE", "") or alias.get("CONN_MAX_AGE", 0) == 0:
        return []
    message = "CONN_MAX_AGE keeps a database connection for every request's thread under ASGI."
    hint = 'Set CONN_MAX_AGE to 0, and use "OPTIONS": {"pool": {"max_size": 20}} where connecting is slow.'
    return [Warning(message, hint=hint, id="session_mgmt.W005")]


@register(deploy=True)
def check_deploy(**_: Any) -> list[CheckMessage]:
    """Check for something that carries doorbells (W002): an in-memory channel layer reaches one process only."""
    if conf.settings().doorbell_database:
        return []
    layers = getattr(django_settings, "CHANNEL_LAYERS", {})
    if "InMemory" not in layers.get("default", {}).get("BACKEND", "InMemory"):
        return []
    hint = (
        "With more than one process use channels_redis.pubsub.RedisPubSubChannelLayer, or on PostgreSQL"
        " SESSION_MGMT['doorbell_database']; one process may ignore this."
    )
    message = "Nothing carries doorbells: other processes hear only by position checks."
    return [Warning(message, hint=hint, id="session_mgmt.W002")]
