"""Proofs of calls go to the database in groups: while one is read the next gathers, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, cast

import pytest

from session_mgmt.actions.sessions.calls import Call, Proved
from session_mgmt.consumers import proofs as proofs_module
from session_mgmt.consumers.proofs import Proofs
from session_mgmt.exceptions import Busy, InvalidToken, Unavailable
from session_mgmt.protocol.calls import Claim

pytestmark = pytest.mark.sqlite


class Database:
    """Bridge whose answers wait until they are let go; each call is proved by its own number."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.groups: list[list[str]] = []
        self.reads: asyncio.Queue[asyncio.Future[Any]] = asyncio.Queue()
        monkeypatch.setattr(proofs_module, "bridge", lambda: self)

    async def read(self, verb: Any, calls: Sequence[Call]) -> Any:
        self.groups.append([call.token for call in calls])
        gate: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.reads.put_nowait(gate)
        await gate
        return [InvalidToken() if call.token == "forged" else cast(Proved, call.token) for call in calls]

    async def let_go(self, error: Exception | None = None) -> None:
        gate = await self.reads.get()
        if error is None:
            gate.set_result(None)
        else:
            gate.set_exception(error)


class Watched(deque[Any]):
    """Calls that wait for a read; ``come`` returns when so many more have come to wait."""

    def __init__(self) -> None:
        super().__init__()
        self._came: asyncio.Queue[None] = asyncio.Queue()

    def append(self, call: Any) -> None:
        super().append(call)
        self._came.put_nowait(None)

    async def come(self, count: int) -> None:
        for _ in range(count):
            await self._came.get()


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    return Database(monkeypatch)


def prove(proofs: Proofs, *tokens: str) -> list[asyncio.Task[Any]]:
    calls = [Call(token, Claim("c_one", 1)) for token in tokens]
    return [asyncio.create_task(proofs.prove(call)) for call in calls]


async def test_calls_that_come_while_a_group_is_read_are_proved_by_one_later_read(database: Database) -> None:
    proofs = Proofs()
    waiting = proofs._waiting = Watched()
    first = prove(proofs, "a", "b")
    await waiting.come(2)
    gate = await database.reads.get()
    # Never by the read that has begun: what it saw may be older than they are.
    later = prove(proofs, "c", "forged", "d")
    await waiting.come(3)
    later += prove(proofs, "e")
    await waiting.come(1)
    assert database.groups == [["a", "b"]]
    gate.set_result(None)
    assert await asyncio.gather(*first) == ["a", "b"]
    await database.let_go()
    told = await asyncio.gather(*later, return_exceptions=True)
    assert database.groups[1:] == [["c", "forged", "d", "e"]]
    assert isinstance(told[1], InvalidToken) and [told[0], *told[2:]] == ["c", "d", "e"]
    # And whoever comes when all is done begins a group again.
    (again,) = prove(proofs, "f")
    await database.let_go()
    assert await again == "f"


async def test_behind_a_group_of_several_the_next_one_gathers_longer(database: Database) -> None:
    rests: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()

    async def sleep(seconds: float) -> None:
        rests.put_nowait(rest := asyncio.get_running_loop().create_future())
        await rest

    proofs = Proofs(sleep=sleep)
    waiting = proofs._waiting = Watched()
    (alone,) = prove(proofs, "a")
    await database.let_go()
    assert await alone == "a" and rests.empty()
    first = prove(proofs, "b", "c")
    await database.let_go()
    rest = await rests.get()
    assert await asyncio.gather(*first) == ["b", "c"]
    await waiting.come(3)
    later = prove(proofs, "d", "e")
    await waiting.come(2)
    assert database.groups == [["a"], ["b", "c"]]
    rest.set_result(None)
    await database.let_go()
    assert await asyncio.gather(*later) == ["d", "e"]
    (await rests.get()).set_result(None)


async def test_a_failed_read_is_told_to_its_own_group_and_the_next_one_goes_on(database: Database) -> None:
    proofs = Proofs()
    first = prove(proofs, "a", "b")
    gate = await database.reads.get()
    later = prove(proofs, "c")
    gate.set_exception(Unavailable())
    told = await asyncio.gather(*first, return_exceptions=True)
    assert [type(one) for one in told] == [Unavailable, Unavailable]
    await database.let_go()
    assert await later[0] == "c"


async def test_whoever_has_left_is_not_proved(database: Database) -> None:
    proofs = Proofs()
    first = prove(proofs, "a")
    gate = await database.reads.get()
    waiting = proofs._waiting = Watched()
    left, stays = prove(proofs, "b", "c")
    await waiting.come(2)
    left.cancel()
    gate.set_result(None)
    await database.let_go()
    assert (await stays, await first[0]) == ("c", "a")
    assert database.groups == [["a"], ["c"]]


async def test_too_many_at_once_are_sent_away(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proofs_module, "MOST_WAITING", 2)
    proofs = Proofs()
    first = prove(proofs, "a")
    gate = await database.reads.get()
    waiting = prove(proofs, "b", "c", "d")
    with pytest.raises(Busy):
        await waiting[2]
    gate.set_result(None)
    await database.let_go()
    assert await asyncio.gather(*first, *waiting[:2]) == ["a", "b", "c"]
