"""Readers of a topic of which each wants a part, and who count what they want and what they do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.benchmarks.peers import Listener

# The part of publications that every filter matches.
ALL = "all"


class Picker(Listener):
    """Reader at a place. The plan's ``filter`` is ``none``, ``equal`` or ``different``, which matches its place too."""

    def __init__(self, plan: dict[str, Any], token: str | None, on_count: Callable[[int], None], place: int) -> None:
        super().__init__(plan, token, on_count)
        self._marks = b'"place":"%s",' % ALL.encode(), b'"place":%d,' % place
        self._filter = {"equal": {"place": ALL}, "different": {"place": {"in": [ALL, place]}}}.get(plan["filter"])
        self.got = self.unwanted = 0

    def list_wishes(self) -> dict[str, Any]:
        return {"filter": dict.fromkeys(self.plan["logs"], self._filter)} if self._filter else {}

    def _count(self, data: bytes) -> None:
        for frame in self._reader.feed(data):
            told = frame.count(b'"place":')
            if told:
                wanted = sum(map(frame.count, self._marks))
                self.got += wanted
                self.unwanted += told - wanted
                self._on_count(told)
