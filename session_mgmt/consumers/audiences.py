"""Live followers of a topic with filters. Each different filter is evaluated once for all followers that share it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import orjson

from session_mgmt.conf import settings
from session_mgmt.consumers.outlet import Shared
from session_mgmt.protocol.filters import Filter
from session_mgmt.protocol.logs import Entry, begin_entries_frame, build_range_end
from session_mgmt.protocol.position import Position

F = TypeVar("F")


@dataclass(slots=True)
class _Audience(Generic[F]):
    """Followers with one filter. ``told`` is the offset up to which they know the log; later entries
    were not for them.
    """

    told: int
    followers: dict[F, None] = field(default_factory=dict)


class Audiences(Generic[F]):
    """Audiences of one feed, by their filters."""

    def __init__(self) -> None:
        self._audiences: dict[Filter, _Audience[F]] = {}

    def __bool__(self) -> bool:
        return bool(self._audiences)

    def has(self, follower: F, only: Filter) -> bool:
        """Return True if a follower is served."""
        audience = self._audiences.get(only)
        return audience is not None and follower in audience.followers

    def add(self, follower: F, only: Filter, head: int) -> None:
        """Add a follower that is at the head of the feed."""
        # No follower of an audience has been told of anything beyond its head, so its next frame begins there.
        self._audiences.setdefault(only, _Audience(head)).followers[follower] = None

    def discard(self, follower: F, only: Filter) -> None:
        """Remove a follower, if it has not left before."""
        audience = self._audiences.get(only)
        if audience is not None:
            audience.followers.pop(follower, None)
            if not audience.followers:
                del self._audiences[only]

    def list_followers(self) -> list[F]:
        """Return the followers of all audiences."""
        return [follower for audience in self._audiences.values() for follower in audience.followers]

    def select(self, name: str, entries: Sequence[Entry], at: Position) -> Iterator[tuple[Shared, list[F]]]:
        """Return the frames of the entries up to the feed's position, each with its audience."""
        bodies = [orjson.loads(entry.body) for entry in entries]
        # Iterate over a copy, because a follower that is behind leaves while it is served.
        for only, audience in tuple(self._audiences.items()):
            wanted = [entry.as_json() for entry, body in zip(entries, bodies, strict=True) if only.matches(body)]
            # A client that comes back must read at most one page again.
            if wanted or at.offset - audience.told >= settings().replay_page:
                end = build_range_end(audience.told, at)
                audience.told = at.offset
                frame = Shared(begin_entries_frame(name, at.epoch) + b",".join(wanted) + end)
                yield frame, list(audience.followers)

    def select_ephemeral(self, messages: Iterable[tuple[bytes, Any]]) -> Iterator[tuple[Shared, list[F]]]:
        """Return ephemeral messages with their audiences, like ``select``."""
        listed = list(messages)
        for only, audience in tuple(self._audiences.items()):
            wanted = [message for message, data in listed if only.matches(data)]
            if wanted:
                yield Shared(*wanted), list(audience.followers)
