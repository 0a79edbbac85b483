"""Declarations of the project's apps: topics, message handlers, event handlers.

Filled at import, from ``session_topics.py`` of every app.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from session_mgmt.protocol.events import EVENT_TYPES, MESSAGE

MessageHandler = Callable[[Any, Any], Any]
EventHandler = Callable[[Any], None]


@dataclass(frozen=True, slots=True)
class Topic:
    """Declared pattern. ``may_follow`` and ``may_publish`` take the session and the pattern's parts."""

    pattern: str
    regex: re.Pattern[str]
    may_follow: Callable[..., bool]
    may_publish: Callable[..., bool] | bool
    retain: timedelta | None
    entries: int | None

    def allows_follow(self, session: Any, parts: dict[str, str]) -> bool:
        """Return whether the session may follow the topic with these parts."""
        return bool(self.may_follow(session, **parts))

    def allows_publish(self, session: Any, parts: dict[str, str]) -> bool:
        """Return whether a client of the session may publish to the topic with these parts."""
        if callable(self.may_publish):
            return bool(self.may_publish(session, **parts))
        return self.may_publish


@dataclass(slots=True)
class Registry:
    """Declarations of one process."""

    topics: list[Topic] = field(default_factory=list)
    message_handlers: list[MessageHandler] = field(default_factory=list)
    durable: dict[str, list[EventHandler]] = field(default_factory=dict)
    transient: dict[str, list[EventHandler]] = field(default_factory=dict)

    def find_topic(self, topic: str) -> tuple[Topic, dict[str, str]] | None:
        """Return the first declared topic that matches, with its parts, or ``None``: nobody may follow it."""
        for declared in self.topics:
            match = declared.regex.fullmatch(topic)
            if match:
                return declared, match.groupdict()
        return None

    def is_durable(self, type_: str) -> bool:
        """Return whether events of this type have a durable handler."""
        return bool(self.durable.get(type_) or self.durable.get("*"))

    def list_handlers(self, type_: str, *, durable: bool) -> list[EventHandler]:
        """Return the handlers of this type, those of ``"*"`` last."""
        table = self.durable if durable else self.transient
        return [*table.get(type_, ()), *table.get("*", ())]


registry = Registry()


def topic(
    pattern: str,
    *,
    publish: Callable[..., bool] | bool = False,
    retain: timedelta | None = None,
    entries: int | None = None,
) -> Callable[[Callable[..., bool]], Callable[..., bool]]:
    """Declare a topic; the decorated function decides who may follow it.

    ``pattern`` is text with parts in braces: ``orders:{pk}`` passes ``pk`` to the functions. A part matches any text
    without ``:``.
    """

    def declare(may_follow: Callable[..., bool]) -> Callable[..., bool]:
        registry.topics.append(Topic(pattern, _compile_pattern(pattern), may_follow, publish, retain, entries))
        return may_follow

    return declare


def _compile_pattern(pattern: str) -> re.Pattern[str]:
    pieces = re.split(r"\{([A-Za-z_]\w*)\}", pattern)
    literal = [re.escape(piece) for piece in pieces[::2]]
    named = [f"(?P<{name}>[^:]+)" for name in pieces[1::2]]
    return re.compile("".join(part for pair in zip(literal, [*named, ""], strict=True) for part in pair))


def on_message(handler: MessageHandler) -> MessageHandler:
    """Register ``handler(session, data)`` to answer the messages that clients ``send``.

    Its return value is the answer. Its database effects are committed with the answer, exactly once.
    """
    registry.message_handlers.append(handler)
    return handler


def on(type_: str, *, durable: bool = False) -> Callable[[EventHandler], EventHandler]:
    """Handle events of one type (``"*"``: all).

    A ``durable`` handler runs at least once, even if processes die. Others run after the commit, at most once.
    ``off(handler)`` removes the handler.
    """
    if type_ not in (*EVENT_TYPES, MESSAGE, "*"):
        raise ValueError(f"There is no event type {type_!r}; see docs/reference/events.md.")

    def declare(handler: EventHandler) -> EventHandler:
        table = registry.durable if durable else registry.transient
        table.setdefault(type_, []).append(handler)
        return handler

    return declare


def off(handler: EventHandler) -> None:
    """Remove a handler that ``on`` registered; do nothing if it is unknown."""
    for table in (registry.durable, registry.transient):
        for handlers in table.values():
            if handler in handlers:
                handlers.remove(handler)
