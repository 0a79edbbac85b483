"""A search for clients that are gone rests by its own cost, and one slow search delays the next ones by little."""

from __future__ import annotations

from typing import Any

import pytest

from session_mgmt.actions.sessions import leaving
from session_mgmt.actions.topics import telling
from session_mgmt.consumers import presence
from session_mgmt.consumers.presence import LONGEST_REST, LOOK_REST, Presences

pytestmark = pytest.mark.sqlite


class Database:
    """Bridge and clock in one: each search takes as long as it is told, and finds nobody."""

    def __init__(self) -> None:
        self.now, self.took, self.searches = 100.0, 0.0, 0

    def time(self) -> float:
        return self.now

    async def read(self, verb: Any) -> Any:
        if verb is telling.is_waiting:
            return False
        if verb is leaving.find_gone:
            self.now += self.took
            self.searches += 1
        return []


@pytest.mark.parametrize(("took", "rest"), [(0.01, 0.01 * LOOK_REST), (3.0, LONGEST_REST)])
async def test_the_rest_after_a_search(took: float, rest: float, monkeypatch: pytest.MonkeyPatch) -> None:
    presences, database = Presences(), Database()
    monkeypatch.setattr(presence, "bridge", lambda: database)
    monkeypatch.setattr(presence, "registry", type("Declared", (), {"presences": True}))
    monkeypatch.setattr(presences, "_loop", database)
    database.took = took
    await presences.tell()
    database.now += rest - 0.001
    await presences.tell()
    assert database.searches == 1
    database.now += 0.002
    await presences.tell()
    assert database.searches == 2
