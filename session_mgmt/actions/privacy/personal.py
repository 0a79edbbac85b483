"""Topics that are about one person: those whose declaration names the part that holds the user's key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from session_mgmt.models import Stream
from session_mgmt.registry import registry

PAGE = 1000


def find_streams(using: str, user: Any) -> Iterator[Stream]:
    """Yield the streams of a user's personal topics, by ascending key."""
    if not any(declared.personal for declared in registry.topics):
        return
    after = 0
    while page := list(Stream.objects.using(using).filter(pk__gt=after).order_by("pk")[:PAGE]):
        yield from (stream for stream in page if _is_about(stream.topic, user))
        after = page[-1].pk


def _is_about(topic: str, user: Any) -> bool:
    found = registry.find_topic(topic)
    if found is None or found[0].personal is None:
        return False
    return str(found[1][found[0].personal]) == str(user.pk)
