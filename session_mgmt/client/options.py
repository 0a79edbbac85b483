"""Options of a start, checked before anything is sent: a wrong one would look like a server that is down."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlsplit

from session_mgmt.client.batch import Sync
from session_mgmt.client.listeners import check_callback
from session_mgmt.client.storage import FileStorage, MemoryStorage, Storage
from session_mgmt.protocol.events import EVENT_TYPES

# What a client tells about itself, beside the events of its session's log.
OWN_EVENTS = (
    *("status", "connected", "disconnected", "transport", "recovery", "gap", "conflated", "denied", "refused"),
    *("conflict", "unsent", "error", "latency", "heartbeat_missed", "identity", "ended", "stopped"),
)
STRATEGIES = ("merge", "server_wins", "client_wins", "reject", "manual")


def check_url(url: Any) -> str:
    """Return the URL of the API with one slash at its end. Raises ValueError."""
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
    # For example for a bracket that is not closed.
    except ValueError:
        parts = None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"url is the address of the API, such as https://example.org/api/, not {url!r}")
    return str(url).rstrip("/") + "/"


def check_documents(names: Any) -> tuple[str, ...]:
    """Return the names of the documents to follow. Raises ValueError, also for a single string."""
    listed = None if isinstance(names, str) or not isinstance(names, Iterable) else tuple(names)
    if listed is None or not all(isinstance(name, str) for name in listed):
        raise ValueError(f'documents has names, such as ("main", "prefs"), not {names!r}')
    return listed


def check_choices(token: Any, strategy: Any, sync: Any) -> None:
    """Check options that allow only a few values. Raises ValueError."""
    if token is not None and not (isinstance(token, str) and token):
        raise ValueError("token is the text of a session's token, or None")
    if strategy is not None and strategy not in STRATEGIES:
        raise ValueError(f"strategy is one of {', '.join(STRATEGIES)}, not {strategy!r}")
    if sync is not None and not isinstance(sync, Sync):
        raise ValueError(f'sync is a Sync, such as Sync("delayed"), not {sync!r}')


def check_headers(headers: Any) -> dict[str, str]:
    """Return the headers of the login. Raises ValueError for what no request can carry."""
    fine = {} if headers is None else dict(headers) if isinstance(headers, Mapping) else None
    if fine is None or not all(_is_header(part) for pair in fine.items() for part in pair):
        # Without the values, which are secrets.
        raise ValueError('headers has texts of one line by name, such as {"Authorization": "Token ..."}')
    return fine


def _is_header(part: Any) -> bool:
    return isinstance(part, str) and not set(part) & set("\r\n\0")


def check_wishes(metadata: Any, config: Any, label: Any) -> dict[str, Any]:
    """Return what a session that is created is to have. Raises ValueError, also for what JSON cannot hold."""
    for name, value in (("metadata", metadata), ("config", config)):
        if value is not None and not _is_object(value):
            raise ValueError(f"{name} is a dict of JSON values, not {value!r}")
    if label is not None and not isinstance(label, str):
        raise ValueError(f"label is text, not {label!r}")
    given = {"metadata": metadata, "config": config, "label": label}
    return {name: value for name, value in given.items() if value is not None}


def _is_object(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return isinstance(value, dict)


def check_event(event: Any) -> str:
    """Return the name of an event. Raises ValueError: a callback for any other name would never be called."""
    names = (*OWN_EVENTS, *EVENT_TYPES)
    if event in names:
        return str(event)
    near = get_close_matches(event, names, 1) if isinstance(event, str) else []
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"
    raise ValueError(f"event is none of a client: {event!r}; {hint}")


def check_callbacks(on_message: Any, listeners: Any, on_ask: Any) -> None:
    """Check all callbacks. Raises TypeError or ValueError; only `on_ask` may be a coroutine function."""
    if listeners is not None and not isinstance(listeners, Mapping):
        raise TypeError(f'listeners has callbacks by event, such as {{"status": print}}, not {listeners!r}')
    for callback in (*(() if on_message is None else (on_message,)), *(listeners or {}).values()):
        check_callback(callback)
    for event in listeners or {}:
        check_event(event)
    if on_ask is not None and not callable(on_ask):
        raise TypeError(f"on_ask is a function, not {on_ask!r}")


def open_storage(storage: Any) -> Storage:
    """Return the storage of a client. Raises ValueError."""
    if storage is None:
        return MemoryStorage()
    if isinstance(storage, str | os.PathLike) and os.fspath(storage):
        return FileStorage(storage)
    has_calls = all(callable(getattr(storage, name, None)) for name in ("load", "save"))
    if not has_calls or not isinstance(getattr(storage, "durable", None), bool):
        needs = "a Storage with load(), save() and a bool durable"
        raise ValueError(f"storage is the path of a file, {needs}, or None, not {storage!r}")
    kept: Storage = storage
    return kept
