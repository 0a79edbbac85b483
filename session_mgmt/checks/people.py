"""System checks of settings about people: functions of the project, users, logins and cookies."""

from __future__ import annotations

from typing import Any

from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import FieldError, ValidationError
from django.utils.http import is_same_domain

from session_mgmt import conf
from session_mgmt.checks.values import register_check
from session_mgmt.user_code import check_function, find_hook

# The project's functions, with the arguments that each is called with.
HOOKS = {
    "scopes_for": ("request", "user"),
    "place_of": ("session",),
    **dict.fromkeys(("tenant_of", "auth_time_of", "impersonator_of"), ("request",)),
}


@register_check()
def check_cookie_mode(**_: Any) -> list[CheckMessage]:
    """Check that pages can keep and use a cookie. E023: visitors get no CSRF token. W019: no sign of https. W030: an
    origin may open sockets, and Django refuses its calls.

    W008 asks, at a deploy, whether clients are made to use it.
    """
    now, found = conf.settings(), list[CheckMessage]()
    if now.token_mode != "cookie":
        return found
    if now.anonymous_sessions and django_settings.CSRF_USE_SESSIONS:
        hint = "Set CSRF_USE_SESSIONS to False. A visitor has no Django session for a CSRF token."
        found.append(Error("Visitors cannot enter, because they get no CSRF token.", hint=hint, id="session_mgmt.E023"))
    has_tls = django_settings.SECURE_SSL_REDIRECT or django_settings.SECURE_PROXY_SSL_HEADER
    if not (django_settings.DEBUG or has_tls or django_settings.SESSION_COOKIE_SECURE):
        hint = "Set SECURE_SSL_REDIRECT, or SECURE_PROXY_SSL_HEADER behind a proxy that terminates TLS."
        found.append(Warning("Browsers accept the cookie over https only.", hint=hint, id="session_mgmt.W019"))
    refused = [origin for origin in now.allowed_origins if isinstance(origin, str) and not _is_trusted(origin)]
    if refused:
        hint = "Add them to CSRF_TRUSTED_ORIGINS, and let your CORS package allow their calls with credentials."
        message = f"Django refuses calls by cookie from these origins of allowed_origins: {', '.join(refused)}."
        found.append(Warning(message, hint=hint, id="session_mgmt.W030"))
    return found


def _is_trusted(origin: str) -> bool:
    """Return whether Django takes unsafe calls from this origin; an entry may be for all subdomains (``*.``)."""
    scheme, _, host = origin.lower().partition("://")
    listed = (entry.partition("://") for entry in django_settings.CSRF_TRUSTED_ORIGINS)
    return any(scheme == theirs and is_same_domain(host, pattern.lstrip("*")) for theirs, _, pattern in listed)


@register_check()
def check_hooks(**_: Any) -> list[CheckMessage]:
    """Check that the project's functions can be imported and called (E022): otherwise nobody gets a session."""
    found: list[CheckMessage] = []
    for name, arguments in HOOKS.items():
        try:
            function = find_hook(name)
            if function is not None:
                check_function(function, name, *arguments)
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            hint = f"Write a function with the arguments ({', '.join(arguments)}), or its dotted path."
            found.append(Error(f"SESSION_MGMT[{name!r}]: {error}", hint=hint, id="session_mgmt.E022"))
    return found


@register_check()
def check_user_standing(**_: Any) -> list[CheckMessage]:
    """Check that the filter of users can be asked (E024)."""
    standing = conf.settings().user_standing
    # A user model may compute this field in Python.
    if not isinstance(standing, dict) or standing == conf.Settings().user_standing:
        return []
    try:
        get_user_model()._base_manager.filter(**standing)
    except (FieldError, TypeError, ValueError, ValidationError) as error:
        hint = f"Write a filter of your user model, as for filter(). {error}"
        return [Error("SESSION_MGMT['user_standing'] is not a valid filter.", hint=hint, id="session_mgmt.E024")]
    return []


@register_check()
def check_claims(**_: Any) -> list[CheckMessage]:
    """Check the settings for a visitor at login and a page at logout (E027, E028), and ``may_claim`` (E029)."""
    now = conf.settings()
    found: list[CheckMessage] = []
    for name, given, known in (("on_login", now.on_login, conf.ON_LOGIN), ("on_logout", now.on_logout, conf.ON_LOGOUT)):
        if given not in known:
            found.append(Error(f"{name} is unknown.", hint=f"Use one of {', '.join(known)}.", id="session_mgmt.E027"))
    if now.on_logout == "anonymous" and not now.anonymous_sessions:
        hint = "Set anonymous_sessions to True as well."
        found.append(Error("on_logout is anonymous, but anonymous_sessions is off.", hint=hint, id="session_mgmt.E028"))
    try:
        function = find_hook("may_claim")
        if function is not None:
            check_function(function, "may_claim", "session", "user", "request")
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        hint = "Write def may_claim(session, user, request), or the dotted path of such a function."
        found.append(Error(f"may_claim cannot be used: {error}", hint=hint, id="session_mgmt.E029"))
    return found
