"""Patterns of topics: ``orders:{pk:int}`` matches ``orders:42``, but no other spelling of that number."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from session_mgmt.protocol.addresses import fits_address


@dataclass(frozen=True, slots=True)
class Converter:
    """Type of a part: a regular expression that allows one spelling per value, and the function that converts it."""

    regex: str
    convert: Callable[[str], Any]


# Each regular expression allows one spelling of a value, so that one object has one topic.
CONVERTERS = {
    # At most 19 digits, as in a BIGINT: a longer number is the key of no row, and expensive to convert.
    "int": Converter("0|[1-9][0-9]{0,18}", int),
    "uuid": Converter("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", UUID),
    "slug": Converter("[-a-zA-Z0-9_]+", str),
    "str": Converter("[^:]+", str),
}
# Printable characters, without spaces at the ends, because people read topics in lists and logs. A lone surrogate,
# which only Python code can pass, has no bytes that a database could store.
_TOPIC = re.compile(
    r"[^\s\x00-\x1f\x7f\ud800-\udfff](?:[^\x00-\x1f\x7f\ud800-\udfff]{0,253}[^\s\x00-\x1f\x7f\ud800-\udfff])?"
)
_PIECES = re.compile(r"\{([^{}]*)\}")
_PART = re.compile(r"([A-Za-z_]\w*)(?::(\w+))?")


def is_topic(text: Any) -> bool:
    """Return True if this can be the name of a topic."""
    return isinstance(text, str) and _TOPIC.fullmatch(text) is not None and fits_address(text)


@dataclass(frozen=True, slots=True)
class TopicPattern:
    """Compiled pattern. ``types`` maps each part's name to its type, which is "" if the pattern declares none."""

    text: str
    regex: re.Pattern[str]
    types: dict[str, str]

    def match_topic(self, topic: str) -> dict[str, Any] | None:
        """Return the parts of a topic as the pattern's functions receive them; None if the topic does not match."""
        found = self.regex.fullmatch(topic)
        if found is None:
            return None
        parts: dict[str, Any] = {}
        for name, text in found.groupdict().items():
            if self.types[name]:
                parts[name] = CONVERTERS[self.types[name]].convert(text)
            elif is_canonical(text):
                parts[name] = text
            else:
                return None
        return parts

    def make_topic(self, parts: Mapping[str, str]) -> str:
        """Return the topic with these parts. Raises ``ValueError`` if the pattern would read other parts from it."""
        topic = _PIECES.sub(lambda piece: parts[piece[1].partition(":")[0]], self.text)
        found = self.regex.fullmatch(topic) if is_topic(topic) else None
        if found is None or found.groupdict() != parts or self.match_topic(topic) is None:
            raise ValueError(f"{self.text!r} has no topic with the parts {dict(parts)!r}.")
        return topic


def is_canonical(text: str) -> bool:
    """Return True if a part without a type is the only spelling of its value.

    An application finds the same row by ``42``, ``042`` and ``+42``. If all of them were allowed, a user who may follow
    one order could make any number of topics for it.
    """
    try:
        return str(int(text)) == text
    except ValueError:
        return True


def compile_pattern(pattern: str) -> TopicPattern:
    """Compile the pattern of a topic. Raises ``ValueError``, which names the mistake."""
    if "<" in pattern or ">" in pattern:
        raise ValueError(f"{pattern!r}: parts are written in braces, as in 'orders:{{pk:int}}'.")
    types: dict[str, str] = {}
    regex, end = "", 0
    for piece in _PIECES.finditer(pattern):
        name, type_ = _parse_part(pattern, piece[1])
        if name in types:
            raise ValueError(f"{pattern!r} has two parts named {name!r}.")
        types[name] = type_
        regex += re.escape(pattern[end : piece.start()]) + f"(?P<{name}>{CONVERTERS[type_ or 'str'].regex})"
        end = piece.end()
    # Put the shortest text in the place of each part: if even that cannot name a topic, nothing can. The rest without
    # the parts must contain no brace, because a part that is not closed matches nothing.
    if not is_topic(_PIECES.sub("0", pattern)) or re.search(r"[{}]", _PIECES.sub("", pattern)):
        raise ValueError(f"{pattern!r} is no pattern of a topic: text with parts in braces, as in 'orders:{{pk}}'.")
    return TopicPattern(pattern, re.compile(regex + re.escape(pattern[end:])), types)


def _parse_part(pattern: str, text: str) -> tuple[str, str]:
    part = _PART.fullmatch(text)
    if part is None or (part[2] or "str") not in CONVERTERS:
        types = ", ".join(CONVERTERS)
        raise ValueError(f"{pattern!r}: {{{text}}} is no part; write {{name}} or {{name:type}} with a type of {types}.")
    return part[1], part[2] or ""
