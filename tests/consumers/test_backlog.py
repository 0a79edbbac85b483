"""The look for what nobody has told of: the outbox is drained, and waiting events get their handlers, each alone."""

from __future__ import annotations

from typing import Any

import pytest

from session_mgmt.actions.timeline import handlers
from session_mgmt.consumers import rounds
from session_mgmt.consumers.rounds import Rounds

pytestmark = pytest.mark.sqlite


class Database:
    """Bridge that notes what it is asked to do."""

    gate = None

    def __init__(self, found: tuple[bool, bool]) -> None:
        self.found, self.done = found, list[Any]()

    async def control(self, verb: Any) -> tuple[bool, bool]:
        self.done.append(verb)
        return self.found

    def nudge(self) -> None:
        self.done.append("drain")

    async def run_user_code(self, key: None, verb: Any, *, gate: None) -> None:
        self.done.append(verb)


@pytest.mark.parametrize(
    ("found", "done"),
    [((False, False), []), ((True, False), ["drain"]), ((False, True), [handlers.run_pending])],
)
async def test_only_what_waits_is_worked_off(
    found: tuple[bool, bool], done: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(found)
    monkeypatch.setattr(rounds, "bridge", lambda: database)
    await Rounds._work_off_backlog(object.__new__(Rounds))
    # One journey to the thread tells both.
    assert database.done == [handlers.find_waiting, *done]
