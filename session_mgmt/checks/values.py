"""System checks of SESSION_MGMT: unknown names, wrong types, values that contradict each other."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from datetime import timedelta
from difflib import get_close_matches
from functools import wraps
from typing import Any, TypeAlias

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Warning, register

from session_mgmt import conf

Check: TypeAlias = Callable[..., Iterable[CheckMessage]]

_INITIAL = conf.Settings()
# Seconds between two rounds of a process or two attempts of a client. With less, it would do nothing else.
_ROUNDS = (
    *("heartbeat_interval", "lease_flush_interval", "position_check_interval", "control_interval", "drain_interval"),
    *("reconnect_initial", "reconnect_maximum"),
)
# Every number is above 0, except these; times in seconds.
_LEAST = {
    **dict.fromkeys(_ROUNDS, 0.01),
    # Below it not even one frame is allowed at once.
    "max_frames_per_second": 1,
    **dict.fromkeys(("retention", "drain_spread", "reconnect_attempts", "max_sockets_per_address"), 0),
    **dict.fromkeys(("trusted_proxies", "max_anonymous_per_address"), 0),
    **dict.fromkeys(("max_requests_per_second", "max_conflicts", "max_conflict_bytes", "max_checkpoints"), 0),
    **dict.fromkeys(("compression_threshold", "head_cache_bytes", "wsgi_hold"), 0),
    # Below it clients would come back faster and faster.
    "reconnect_factor": 1,
    # Below it no client's `connect` fits, with its token and its positions.
    "max_frame_bytes": 1024,
    # Of `{}`, with which each document and each session begins.
    **dict.fromkeys(("max_document_bytes", "max_metadata_bytes"), 2),
    # Below it a token ends on its way, and workers would do nothing but clean up.
    **dict.fromkeys(("access_lifetime", "cleanup_interval"), 10),
}
# Beyond a century times, and beyond these numbers rows of a database, can no longer be calculated with.
_MOST_SECONDS = timedelta(days=36_500).total_seconds()
_MOST_NUMBER = 10**12
_MOST = {
    # orjson writes 254 levels, and a document is told inside of frames.
    "max_depth": 200,
    **dict.fromkeys(("read_threads", "handler_threads", "heartbeat_missed_limit", "reconnect_factor"), 1000),
}
# Those that may be off (0), and else need this much: below it ten seconds of it are not one call.
_LEAST_IF_ON = {"max_requests_per_second": 0.1}
# Of both ends of the ranges that clients may choose from: a day, or as many beats.
_MOST_OF_RANGE = 86_400
# What a list holds, where no other check looks at it.
_ITEMS: dict[str, tuple[type, ...]] = {"token_keys": (str, bytes), "encrypt_state": (str,)}
_CHOICES = {
    "token_mode": conf.TOKEN_MODES,
    "assurance": tuple(conf.ASSURANCE),
    "stored_addresses": conf.ADDRESS_FORMS,
    "device_change": conf.CHANGE_POLICIES,
    "address_change": conf.CHANGE_POLICIES,
}
_ORIGIN = re.compile(r"https?://[^/?#@*\s]+")
_LONGEST_CALL = 60


@register()
def check_settings(**_: Any) -> list[CheckMessage]:
    """Check the settings. E001: no dict. E002: unknown name. E003: wrong type. E004 to E007: contradictory limits."""
    # The later checks calculate with the values, so they wait until all types are right.
    found = find_wrong_types()
    if found:
        return found
    now = conf.settings()
    return [*_check_ranges(now), *_check_values(now), *_check_identity(now)]


def register_check(*tags: Any, **options: Any) -> Callable[[Check], Check]:
    """Register a check that reads settings: it is silent while one of them has a wrong type, which E003 tells."""

    def declare(check: Check) -> Check:
        @wraps(check)
        def check_if_readable(**given: Any) -> Iterable[CheckMessage]:
            return [] if find_wrong_types() else check(**given)

        register(check_if_readable, *tags, **options)
        return check_if_readable

    return declare


def find_wrong_types() -> list[CheckMessage]:
    """Return what makes settings unreadable (E001 to E003)."""
    given = getattr(django_settings, conf.NAME, {})
    if not isinstance(given, dict):
        return [
            Error(
                "SESSION_MGMT is not a dict.",
                hint="Write SESSION_MGMT = {'idle_timeout': timedelta(hours=8)}, for example.",
                id="session_mgmt.E001",
            )
        ]
    known = {f.name: getattr(_INITIAL, f.name) for f in fields(conf.Settings)}
    found: list[CheckMessage] = []
    for name, value in given.items():
        if isinstance(name, str) and name != name.lower() and name.lower() in given:
            message, hint = f"SESSION_MGMT has {name.lower()!r} twice.", "Names in upper and lower case are the same."
            found.append(Error(message, hint=hint, id="session_mgmt.E002"))
            continue
        if not isinstance(name, str) or name.lower() not in known:
            hint = _suggest_name(str(name), known)
            found.append(Error(f"SESSION_MGMT has an unknown name {name!r}.", hint=hint, id="session_mgmt.E002"))
            continue
        default, items = known[name.lower()], _ITEMS.get(name.lower())
        if items is not None and isinstance(value, list | tuple):
            # A list of names, where the initial value is a bool and the general rule would refuse it.
            is_right, hint = all(isinstance(item, items) for item in value), "It must contain only texts."
        else:
            is_right, hint = _fits_type(value, default), _describe_type(default)
        if not is_right:
            found.append(Error(f"SESSION_MGMT[{name!r}] has the wrong type.", hint=hint, id="session_mgmt.E003"))
    return found


def _check_ranges(now: conf.Settings) -> list[CheckMessage]:
    """Check numbers and times (E014)."""
    found: list[CheckMessage] = []
    for name in (f.name for f in fields(conf.Settings)):
        value = getattr(now, name)
        if isinstance(value, bool) or not isinstance(value, int | float | timedelta):
            continue
        number = value.total_seconds() if isinstance(value, timedelta) else value
        least, initial = _LEAST.get(name), getattr(_INITIAL, name)
        most = _MOST.get(name, _MOST_NUMBER if isinstance(initial, int) else _MOST_SECONDS)
        on = _LEAST_IF_ON.get(name, 0)
        # NaN compares with nothing, and would pass every bound.
        if not (least or 0) <= number <= most or (least is None and number == 0) or 0 < number < on:
            kind, unit = ("timedelta", " seconds") if isinstance(initial, timedelta) else ("number", "")
            bound = "above 0" if least is None else f"that is 0 or from {on}" if on else f"from {least}{unit}"
            hint = f"Set a {kind} {bound}, and at most {most:g}{unit}."
            found.append(Error(f"SESSION_MGMT[{name!r}] is out of range.", hint=hint, id="session_mgmt.E014"))
    for name in ("interval_range", "missed_limit_range", "batch_range"):
        if not _is_range(getattr(now, name), 0 if name == "batch_range" else 0.1):
            hint = f"Set the smallest and the largest value, such as (2.0, 60.0), up to {_MOST_OF_RANGE}."
            found.append(Error(f"SESSION_MGMT[{name!r}] is out of range.", hint=hint, id="session_mgmt.E014"))
    return found


def _is_range(value: Sequence[Any], least: float) -> bool:
    if len(value) != 2 or not all(_fits_type(part, 1.0) for part in value):
        return False
    low, high = value
    return bool(least <= low <= high <= _MOST_OF_RANGE)


def _suggest_name(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name.lower(), known, 1)
    return f"Did you mean {near[0]!r}?" if near else f"The names are: {', '.join(known)}."


def _describe_type(default: Any) -> str:
    if default is None:
        return "It must be a function, its dotted path, or None."
    return f"It must be of type {type(default).__name__}."


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
        hint = "Shorter timeouts would end active sessions, because activity is not stored at once."
        found.append(Error("idle_timeout or absolute_timeout is below 60 seconds.", hint=hint, id="session_mgmt.E004"))
    if now.lease_duration.total_seconds() <= now.heartbeat_interval + now.lease_flush_interval:
        hint = "Set at least heartbeat_interval + lease_flush_interval, better three beats and a flush."
        found.append(Error("lease_duration is shorter than a beat and a flush.", hint=hint, id="session_mgmt.E005"))
    if now.reconnect_initial > now.reconnect_maximum:
        hint = "Set reconnect_maximum to at least reconnect_initial."
        found.append(Error("reconnect_maximum is below reconnect_initial.", hint=hint, id="session_mgmt.E038"))
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
            hint = "Write the scheme, the host and a port if needed, such as 'https://shop.example'."
            found.append(
                Error(f"allowed_origins has {origin!r}, which is not an origin.", hint=hint, id="session_mgmt.E016")
            )
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
def check_name_of_settings(**_: Any) -> list[CheckMessage]:
    """Check for a setting whose name looks like a misspelt SESSION_MGMT (W006): it would be ignored silently."""
    near = get_close_matches(conf.NAME, [name for name in dir(django_settings) if name.isupper()], 5, cutoff=0.85)
    return [
        Warning(f"There is a setting {name}, which is ignored.", hint=f"Name it {conf.NAME}.", id="session_mgmt.W006")
        for name in near
        if name != conf.NAME
    ]


@register_check()
def check_webhooks(**_: Any) -> list[CheckMessage]:
    """Check the networks of webhooks (E032), and that a call ends long before its lease (E033)."""
    now = conf.settings()
    found: list[CheckMessage] = []
    for network in now.webhook_networks:
        try:
            ipaddress.ip_network(str(network))
        except ValueError:
            hint = "Write it like 10.1.0.0/16 or fd12::/48, without host bits."
            message = f"SESSION_MGMT['webhook_networks']: {network!r} is not a network."
            found.append(Error(message, hint=hint, id="session_mgmt.E032"))
    if now.webhook_timeout > _LONGEST_CALL:
        hint = f"Set at most {_LONGEST_CALL} seconds. A slow receiver can answer first and work later."
        message = "SESSION_MGMT['webhook_timeout'] is too long."
        found.append(Error(message, hint=hint, id="session_mgmt.E033"))
    return found
