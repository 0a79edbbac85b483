"""System checks of all declarations together: because of another declaration, a function may never be called."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

from django.core.checks import CheckMessage, Error, Warning, register

from session_mgmt.protocol.patterns import TopicPattern
from session_mgmt.registry import Topic, registry

# Texts of each type such that a pattern which matches all of them matches every text of the type: the shortest and the
# longest, other spellings of numbers, and what no pattern holds by accident.
_SAMPLES = {
    "int": ("0", "7041", "9" * 19),
    "uuid": ("00000000-0000-0000-0000-000000000000", "3f9c1e7a-52b4-4d08-a6ce-9b71d2f0e358"),
    "slug": ("j", "-", "0071", "Qz_9-jX"),
    "str": ("j", "0071", "§", "~Qz 9/§.%"),
    "": ("j", "7041", "§", "~Qz 9/§.%"),
}
# More parts than anybody gives a topic; beyond them nothing is said.
_MOST_PARTS = 5


@register()
def check_topics(**_: Any) -> list[CheckMessage]:
    """Check that each declared topic can be reached (E035): the first pattern that matches decides."""
    found: list[CheckMessage] = []
    declared = [topic for topic in registry.topics if not topic.is_presence_log]
    for at, topic in enumerate(declared):
        earlier = next((one for one in declared[:at] if _is_hidden(topic.pattern, one.pattern)), None)
        if earlier is not None:
            message = (
                f"{_name(topic)} is never called for the topic {topic.pattern.text!r}: {earlier.pattern.text!r} of"
                f" {_name(earlier)} was declared earlier and matches the same names."
            )
            hint = "Declare the exact pattern first, or remove one of them. Apps load in the order of INSTALLED_APPS."
            found.append(Error(message, hint=hint, id="session_mgmt.E035"))
    return found


@register()
def check_message_handler(**_: Any) -> list[CheckMessage]:
    """Check that at most one function handles messages (W023), because a message is passed to only one."""
    names = [f"{handler.__module__}.{handler.__qualname__}" for handler in map(_unwrap, registry.message_handlers)]
    if len(names) < 2:
        return []
    hint = "Keep one, and let it call the others."
    message = f"@on_message decorates {', '.join(names)}, but only the last one is called."
    return [Warning(message, hint=hint, id="session_mgmt.W023")]


def _name(topic: Topic) -> str:
    function = _unwrap(topic.may_follow)
    return f"{function.__module__}.{function.__qualname__}"


def _unwrap(function: Any) -> Any:
    """Return the wrapped function that has a name: of a partial or a callable object, only the class has one."""
    return function if hasattr(function, "__qualname__") else type(function)


def _is_hidden(later: TopicPattern, earlier: TopicPattern) -> bool:
    names = list(_make_names(later))
    return bool(names) and all(earlier.match_topic(name) is not None for name in names)


def _make_names(pattern: TopicPattern) -> Iterator[str]:
    """Make sample topics that represent all topics of a pattern."""
    if len(pattern.types) > _MOST_PARTS:
        return
    for values in product(*(_SAMPLES[type_] for type_ in pattern.types.values())):
        try:
            yield pattern.make_topic(dict(zip(pattern.types, values, strict=True)))
        except ValueError:
            # Too long, or read as other parts.
            continue
