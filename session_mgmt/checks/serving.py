"""System checks of how the app is served, and how its processes notify each other."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import timedelta
from importlib.util import find_spec
from typing import Any
from uuid import UUID

from django.apps import apps
from django.conf import settings as django_settings
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.utils.module_loading import import_string
from rest_framework.authentication import SessionAuthentication
from rest_framework.views import APIView

from session_mgmt import CLEANUP_TASK, conf
from session_mgmt.actions import monitoring
from session_mgmt.actions.sessions import controls, info
from session_mgmt.checks.values import register_check


@register()
def check_development_server(**_: Any) -> list[CheckMessage]:
    """Check ``manage.py runserver`` (W004): without Daphne it serves no WebSockets."""
    if "runserver" not in sys.argv[1:2] or apps.is_installed("daphne"):
        return []
    hint = "Put 'daphne' first in INSTALLED_APPS and set ASGI_APPLICATION, or start another ASGI server."
    message = "Django's own runserver does not serve WebSockets, so no client can connect."
    return [Warning(message, hint=hint, id="session_mgmt.W004")]


@register_check()
def check_schema_page(**_: Any) -> list[CheckMessage]:
    """Check that the page of the REST calls has the files that it shows (E013)."""
    if not conf.settings().schema_page or apps.is_installed("drf_spectacular_sidecar"):
        return []
    hint = "pip install drf-spectacular-sidecar, and add drf_spectacular_sidecar to INSTALLED_APPS."
    return [Error("schema_page is on, but Swagger UI is not installed.", hint=hint, id="session_mgmt.E013")]


@register_check()
def check_throttle_classes(**_: Any) -> list[CheckMessage]:
    """Check that the throttles can be imported (E015): otherwise every call over HTTP fails."""
    found: list[CheckMessage] = []
    for name in conf.settings().throttle_classes:
        try:
            import_string(name)
        except (ImportError, AttributeError, TypeError) as error:
            hint = "Write the dotted path of a class, such as 'rest_framework.throttling.UserRateThrottle'."
            message = f"{name!r} in throttle_classes cannot be imported: {error}"
            found.append(Error(message, hint=hint, id="session_mgmt.E015"))
    return found


@register_check()
def check_channel_layer(**_: Any) -> list[CheckMessage]:
    """Check that the channel layer can be imported (E036): otherwise every connection fails when it opens."""
    name = getattr(django_settings, "CHANNEL_LAYERS", {}).get("default", {}).get("BACKEND")
    if name is None:
        return []
    try:
        import_string(name)
    except (ImportError, AttributeError, TypeError) as error:
        hint = 'pip install "session_mgmt[redis]"' if "redis" in str(name) else "Write the dotted path of a class."
        message = f"BACKEND {name!r} in CHANNEL_LAYERS cannot be imported: {error}"
        return [Error(message, hint=hint, id="session_mgmt.E036")]
    return []


@register_check()
def check_control_interval(**_: Any) -> list[CheckMessage]:
    """Check that revocations are noticed in time (W029), and that one failed control query closes no connections."""
    # The interval varies by a fifth.
    longest = controls.UNANSWERED_LIMIT / 1.2
    if conf.settings().control_interval < longest:
        return []
    message = f"control_interval is {longest:.1f} s or longer, so one failed query closes every connection."
    hint = "Use the default of 3 s. It closes revoked sessions within 5 s, as promised."
    return [Warning(message, hint=hint, id="session_mgmt.W029")]


@register_check()
def check_addresses(**_: Any) -> list[CheckMessage]:
    """Check that the URL conf includes ``session_mgmt.urls`` (W027): without it no page can begin a session."""
    try:
        is_included = "session" in info.list_endpoints(UUID(int=0))
    # Django tells what is wrong with the URL conf itself.
    except Exception:
        return []
    if is_included:
        return []
    # Code that begins sessions, and hands out their tokens, leaves no trace in the settings.
    hint = (
        'Add path("api/", include("session_mgmt.urls")). If your own code creates all sessions, and clients use only'
        " WebSockets with tokens, add 'session_mgmt.W027' to SILENCED_SYSTEM_CHECKS."
    )
    message = "The URL conf does not include session_mgmt.urls, so no page can begin a session."
    return [Warning(message, hint=hint, id="session_mgmt.W027")]


@register_check()
def check_login_middleware(**_: Any) -> list[CheckMessage]:
    """Check that logins of browsers are seen (W028), where REST framework is to take them."""
    takes_logins = any(issubclass(one, SessionAuthentication) for one in APIView.authentication_classes)
    if not takes_logins or any(_is_login_middleware(name) for name in django_settings.MIDDLEWARE):
        return []
    hint = "Add SessionMiddleware and AuthenticationMiddleware, or remove SessionAuthentication from REST framework."
    message = "MIDDLEWARE lacks AuthenticationMiddleware, so logged-in users count as visitors."
    return [Warning(message, hint=hint, id="session_mgmt.W028")]


def _is_login_middleware(name: str) -> bool:
    try:
        found = import_string(name)
    except ImportError:
        return False
    return isinstance(found, type) and issubclass(found, AuthenticationMiddleware)


@register_check()
def check_cleanup_schedule(**_: Any) -> list[CheckMessage]:
    """Check that Celery beat starts the cleanup at ``cleanup_interval`` (W026): beat does not read the setting."""
    wanted = conf.settings().cleanup_interval.total_seconds()
    entries = (getattr(django_settings, "CELERY_BEAT_SCHEDULE", None) or {}).values()
    known = [entry for entry in entries if isinstance(entry, dict)]
    given = [entry.get("schedule") for entry in known if entry.get("task") == CLEANUP_TASK]
    seconds = [each.total_seconds() if isinstance(each, timedelta) else each for each in given]
    # A crontab has no interval.
    different = [each for each in seconds if isinstance(each, int | float) and each != wanted]
    if not different:
        return []
    hint = "Set beat_schedule(cleanup_interval=...) and SESSION_MGMT['cleanup_interval'] to the same value."
    message = f"Celery beat starts the cleanup every {different[0]:g} s, but cleanup_interval is {wanted:g} s."
    return [Warning(message, hint=hint, id="session_mgmt.W026")]


@register_check()
def check_doorbell(**_: Any) -> list[CheckMessage]:
    """Check that the database of doorbells can carry them (E030)."""
    alias = conf.settings().doorbell_database
    if not alias:
        return []
    if alias not in django_settings.DATABASES:
        message, hint = f"There is no database {alias!r}.", "Name an alias of DATABASES."
    elif "postg" not in django_settings.DATABASES[alias].get("ENGINE", ""):
        message, hint = f"The database {alias!r} is not PostgreSQL.", "Only PostgreSQL has LISTEN and NOTIFY."
    elif find_spec("psycopg") is None:
        message, hint = "Notifications through PostgreSQL need psycopg 3.", 'pip install "session_mgmt[postgres]"'
    else:
        return []
    return [Error(f"SESSION_MGMT['doorbell_database']: {message}", hint=hint, id="session_mgmt.E030")]


@register_check(Tags.database)
def check_doorbell_is_heard(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Ring once through PostgreSQL (W021): a pooler in transaction mode takes LISTEN, and nothing arrives.

    It runs with ``check --database``.
    """
    alias = conf.settings().doorbell_database
    if alias not in (databases or ()) or check_doorbell() or monitoring.hear_doorbell(alias):
        return []
    hint = "Use an alias whose HOST and PORT are those of PostgreSQL itself, not of a pooler."
    message = f"Notifications through the database {alias!r} do not arrive, so messages wait for position checks."
    return [Warning(message, hint=hint, id="session_mgmt.W021")]


@register_check(deploy=True)
def check_deploy(**_: Any) -> list[CheckMessage]:
    """Check for something that carries doorbells (W002): an in-memory channel layer reaches one process only."""
    if conf.settings().doorbell_database:
        return []
    layers = getattr(django_settings, "CHANNEL_LAYERS", {})
    if "InMemory" not in layers.get("default", {}).get("BACKEND", "InMemory"):
        return []
    hint = (
        "With more than one process use channels_redis.pubsub.RedisPubSubChannelLayer, or on PostgreSQL"
        " SESSION_MGMT['doorbell_database']. With one process silence this warning."
    )
    message = "Processes cannot notify each other, so messages wait for position checks."
    return [Warning(message, hint=hint, id="session_mgmt.W002")]
