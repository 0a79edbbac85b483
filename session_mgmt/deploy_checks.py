"""System checks for a public service (``check --deploy``): each warning names its remedy."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Warning
from django.utils.encoding import force_str
from django.utils.module_loading import import_string

from session_mgmt import checks, conf
from session_mgmt.checks.values import register_check
from session_mgmt.consumers.websocket import SessionConsumer

_LOCAL = ("http://localhost", "http://127.0.0.1", "http://[::1]")
_LEAST_KEY = 32
# File descriptors of a process besides its polls: sockets of the server, database connections, files.
_OTHER_DESCRIPTORS = 200
_LEAST_SIGNS = 5
# Daphne's own limit for a message. A client that has not proved a session should not get more memory.
_MOST_FRAME = 1024 * 1024
# Older versions measure a compressed message before they expand it, or never.
_SAFE = {"autobahn": (26, 7, 1), "daphne": (4, 2, 3)}


@register_check(deploy=True)
def check_encrypted_transport(**_: Any) -> list[CheckMessage]:
    """Check that clients must use TLS (W008), and that no plain origin is allowed (W009).

    W008 is left out if W019 already reports the missing TLS.
    """
    found: list[CheckMessage] = []
    has_tls = django_settings.SECURE_SSL_REDIRECT or django_settings.SECURE_PROXY_SSL_HEADER
    if not has_tls and not any(told.id == "session_mgmt.W019" for told in checks.check_cookie_mode()):
        hint = "Set SECURE_SSL_REDIRECT, or SECURE_PROXY_SSL_HEADER if a proxy terminates TLS and removes that header."
        message = "Clients need not use TLS, so tokens may be sent over http:// and ws://."
        found.append(Warning(message, hint=hint, id="session_mgmt.W008"))
    plain = [origin for origin in conf.settings().allowed_origins if _is_plain(origin)]
    if plain:
        hint = "Write https://. Anyone on the network can change a page that is not encrypted."
        message = f"allowed_origins has origins without TLS: {', '.join(plain)}."
        found.append(Warning(message, hint=hint, id="session_mgmt.W009"))
    return found


def _is_plain(origin: Any) -> bool:
    return isinstance(origin, str) and origin.startswith("http://") and not origin.startswith(_LOCAL)


@register_check(deploy=True)
def check_hosts(**_: Any) -> list[CheckMessage]:
    """Check that ``ALLOWED_HOSTS`` names hosts (W010): the origin of a socket is compared with the host's name."""
    if "*" not in django_settings.ALLOWED_HOSTS:
        return []
    hint = "List the hosts. A client chooses its Host header, so with '*' any origin can look like the server's own."
    return [Warning("ALLOWED_HOSTS allows every host.", hint=hint, id="session_mgmt.W010")]


@register_check(deploy=True)
def check_origin_guard(**_: Any) -> list[CheckMessage]:
    """Check that the project's own consumers still check the origin (W011)."""
    _load_consumers()
    careless = [consumer.__qualname__ for consumer in _iter_subclasses(SessionConsumer) if _drops_guard(consumer)]
    if not careless:
        return []
    hint = "Call `await super().may_open()` first and return its refusal, or other sites can open WebSockets."
    message = f"may_open of {', '.join(careless)} does not call the method that it overrides."
    return [Warning(message, hint=hint, id="session_mgmt.W011")]


def _load_consumers() -> None:
    """Import the modules that serve the sockets; if that fails, the start of the server shows the error."""
    try:
        import_string(getattr(django_settings, "ASGI_APPLICATION", None) or "")
    except Exception:
        return


def _iter_subclasses(class_: type) -> Iterator[type]:
    below: list[type] = type.__subclasses__(class_)
    for subclass in below:
        yield subclass
        yield from _iter_subclasses(subclass)


def _drops_guard(consumer: type) -> bool:
    code = getattr(vars(consumer).get("may_open"), "__code__", None)
    return code is not None and not {"super", "may_open", "check_origin"} & set(code.co_names)


@register_check(deploy=True)
def check_keys_of_tokens(**_: Any) -> list[CheckMessage]:
    """Check the key that tokens are derived from (W012): anyone who guesses it can make tokens."""
    given = conf.settings().token_keys
    weak = [key for key in given or (django_settings.SECRET_KEY,) if _is_weak(key)]
    if not weak:
        return []
    name = "token_keys" if given else "SECRET_KEY, from which tokens are derived,"
    hint = 'Read it from the environment. `python -c "import secrets; print(secrets.token_urlsafe(50))"` makes one.'
    return [Warning(f"{name} can be guessed.", hint=hint, id="session_mgmt.W012")]


def _is_weak(key: Any) -> bool:
    text = force_str(key, errors="replace")
    return len(text) < _LEAST_KEY or len(set(text)) < _LEAST_SIGNS or text.startswith("django-insecure-")


@register_check(deploy=True)
def check_limits(**_: Any) -> list[CheckMessage]:
    """Check that token guessing (W014) and the creation of anonymous sessions (W013) are limited, and that frames are
    bounded (W015).
    """
    now = conf.settings()
    found: list[CheckMessage] = []
    if now.anonymous_sessions and now.max_anonymous_per_address == 0:
        hint = "Set max_anonymous_per_address. Rows of a session stay for its timeout and its retention."
        message = "Anyone can create any number of anonymous sessions."
        found.append(Warning(message, hint=hint, id="session_mgmt.W013"))
    if now.max_requests_per_second == 0 and not now.throttle_classes:
        hint = "Set max_requests_per_second or throttle_classes."
        found.append(Warning("The calls of one caller are not limited.", hint=hint, id="session_mgmt.W014"))
    if now.max_frame_bytes > _MOST_FRAME:
        hint = "Send whole documents over HTTP, and keep max_frame_bytes at 1 MB or less."
        message = "max_frame_bytes lets one frame use more than 1 MB of memory."
        found.append(Warning(message, hint=hint, id="session_mgmt.W015"))
    return found


@register_check(deploy=True)
def check_descriptors(**_: Any) -> list[CheckMessage]:
    """Check that a process may open as many files as it may hold polls (W020)."""
    wanted, most = conf.settings().max_held + _OTHER_DESCRIPTORS, _read_most_descriptors()
    if most is None or most >= wanted:
        return []
    hint = "Raise the limit for the server (LimitNOFILE of systemd, ulimit -n), or lower max_held."
    message = f"A process like this one may open {most} files, but max_held needs {wanted}."
    return [Warning(message, hint=hint, id="session_mgmt.W020")]


def _read_most_descriptors() -> int | None:
    """Return how many files this process may open, or ``None`` if there is no limit."""
    try:
        resource = import_module("resource")
    # The module does not exist on Windows.
    except ImportError:
        return None
    soft: int = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if soft == resource.RLIM_INFINITY else soft


@register_check(deploy=True)
def check_compression(**_: Any) -> list[CheckMessage]:
    """Check for servers that expand a compressed message before they limit its size (W016)."""
    old = [f"{name} {have}" for name, least in _SAFE.items() if (have := _read_version(name)) and _split(have) < least]
    if not old:
        return []
    hint = 'pip install "session_mgmt[daphne]", or serve with uvicorn and --ws-per-message-deflate false.'
    message = f"A small compressed message can fill the memory of {', '.join(old)}."
    return [Warning(message, hint=hint, id="session_mgmt.W016")]


def _read_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _split(number: str) -> tuple[int, ...]:
    return tuple(int(part) for part in number.split(".") if part.isdigit())


@register_check(deploy=True)
def check_login_cookie(**_: Any) -> list[CheckMessage]:
    """Check the cookie of Django's login (W017): sessions follow it, and it proves them."""
    wrong = [
        name
        for name, is_wrong in {
            "SESSION_COOKIE_SECURE": not django_settings.SESSION_COOKIE_SECURE,
            "SESSION_COOKIE_HTTPONLY": not django_settings.SESSION_COOKIE_HTTPONLY,
            "SESSION_COOKIE_SAMESITE": django_settings.SESSION_COOKIE_SAMESITE not in ("Lax", "Strict"),
            "CSRF_COOKIE_SECURE": not (django_settings.CSRF_COOKIE_SECURE or django_settings.CSRF_USE_SESSIONS),
        }.items()
        if is_wrong
    ]
    if not wrong:
        return []
    hint = "Set Secure and HttpOnly to True, and SameSite to 'Lax' or 'Strict'."
    message = f"The cookies of a login are not protected: {', '.join(wrong)}."
    return [Warning(message, hint=hint, id="session_mgmt.W017")]
