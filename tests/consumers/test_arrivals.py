"""Connects that come together go into the database together; whoever comes alone waits for nobody."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from session_mgmt.actions.sessions import lifecycle
from session_mgmt.bridge import bridge
from session_mgmt.bridge.connecting import Answers, QueuedAsk
from session_mgmt.consumers import arrivals as arrivals_module
from session_mgmt.consumers import pacing
from session_mgmt.consumers.arrivals import Arrivals
from session_mgmt.consumers.hub import hub
from session_mgmt.consumers.pacing import CrowdSize
from session_mgmt.exceptions import InvalidToken, Unavailable
from session_mgmt.protocol.frames import Connect

PATIENCE = 60.0
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the groups that reach the lane."""
    seen: list[int] = []
    connect = bridge().connect

    def count(asks: list[QueuedAsk]) -> None:
        seen.append(len(asks))
        connect(asks)

    monkeypatch.setattr(bridge(), "connect", count)
    return seen


async def make_connects(count: int, logs: dict[str, Any] | None = None) -> list[Connect]:
    created = await bridge().read(lambda: [lifecycle.create_session() for _ in range(count)])
    return [Connect(one.token.secret, None, 0, logs or {"session": None}, "") for one in created]


async def test_those_who_come_while_a_group_is_on_its_way_are_the_next_one(groups: list[int], declared: None) -> None:
    gathered = asyncio.Event()

    async def gather(seconds: float) -> None:
        await gathered.wait()

    arrivals = Arrivals("here", CrowdSize(), sleep=gather)
    connects = await make_connects(21, {"topic:room:1": None, "session": None})
    first = [asyncio.create_task(arrivals.attach(connect)) for connect in connects[:11]]
    await asyncio.gather(*first)
    # The lane has answered, and the next group still gathers.
    second = [asyncio.create_task(arrivals.attach(connect)) for connect in connects[11:]]
    gathered.set()
    attached = await asyncio.gather(*second)
    assert groups == [11, 10]
    assert all("topic:room:1" in one.logs for one in attached)


async def test_a_client_that_comes_alone_waits_for_nobody(groups: list[int]) -> None:
    async def gather(seconds: float) -> None:
        pytest.fail("it waited")

    arrivals = Arrivals("here", CrowdSize(), sleep=gather)
    for connect in await make_connects(3):
        await arrivals.attach(connect)
    assert groups == [1, 1, 1]


async def test_a_refused_member_leaves_the_others_alone(groups: list[int], declared: None) -> None:
    connects = await make_connects(3, {"topic:room:1": None})
    forged = Connect("sma_" + "x" * 43, None, 0, {"topic:room:1": None}, "")
    tasks = [asyncio.create_task(hub().arrivals.attach(one)) for one in [*connects, forged]]
    results: Sequence[Any] = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[3], InvalidToken)
    assert [one.generation for one in results[:3]] == [1, 1, 1]
    # On a busy machine the application's answers may come one after the other.
    assert sum(groups) == 3


async def test_a_database_that_does_not_answer_is_told_to_all_and_the_next_group_goes_on(
    groups: list[int], declared: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(tokens: Sequence[str]) -> Any:
        raise Unavailable()

    connects = await make_connects(4, {"topic:room:1": None})
    with monkeypatch.context() as patch:
        patch.setattr(arrivals_module, "_prove_sessions", fail)
        tasks = [asyncio.create_task(hub().arrivals.attach(one)) for one in connects[:2]]
        refused = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(error) for error in refused] == [Unavailable, Unavailable]
    assert (await hub().arrivals.attach(connects[2])).generation == 1


async def test_a_client_that_leaves_meanwhile_is_not_attached(
    groups: list[int], declared: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, goes_on = threading.Event(), threading.Event()
    prove = arrivals_module._prove_sessions

    def prove_later(tokens: Sequence[str]) -> Any:
        begun.set()
        assert goes_on.wait(PATIENCE)
        return prove(tokens)

    monkeypatch.setattr(arrivals_module, "_prove_sessions", prove_later)
    connects = await make_connects(2, {"topic:room:1": None})
    one, other = [asyncio.create_task(hub().arrivals.attach(connect)) for connect in connects]
    assert await asyncio.to_thread(begun.wait, PATIENCE)
    one.cancel()
    goes_on.set()
    assert (await other).generation == 1
    assert groups == [1]


@pytest.mark.parametrize(("writes", "turns"), [(False, [8, 16, 20]), (True, [*range(1, 21)])], ids=["quiet", "beside"])
async def test_answers_are_handed_out_a_few_in_a_turn_of_the_loop_and_in_the_order_of_groups(
    writes: bool, turns: list[int]
) -> None:
    size, loop = CrowdSize(), asyncio.get_running_loop()
    arrivals = Arrivals("here", size)
    if writes:
        size.note_write()
    futures: list[asyncio.Future[Any]] = [loop.create_future() for _ in range(20)]
    results = [(future, InvalidToken()) for future in futures]
    arrivals._hand_out(Answers(results[:12], 0.0, 8, False))
    arrivals._hand_out(Answers(results[12:], 0.0, 0, False))
    over, done = loop.create_future(), list[int]()

    def look() -> None:
        done.append(sum(future.done() for future in futures))
        assert all(future.done() for future in futures[: done[-1]])
        if done[-1] == 20:
            over.set_result(None)
        else:
            loop.call_soon(look)

    look()
    await over
    assert done == turns
    assert all(isinstance(future.exception(), InvalidToken) for future in futures)


async def test_only_writes_of_clients_make_the_turns_of_a_crowd_smaller(
    peers: Any, created: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # How long the answer takes says how busy the machine is.
    monkeypatch.setattr(pacing, "WRITES_GO_ON", 3600.0)
    one = peers()
    await one.open(created.token.secret)
    size = hub().serving.crowd.size
    quiet = size.handshakes, size.answers
    await one.say(type="ping", id=1)
    await one.until_type("pong")
    assert (size.handshakes, size.answers) == quiet
    await one.say(type="update", seq=1, ops=[["set", "/a", 1]])
    await one.until_type("receipt")
    assert size.handshakes < quiet[0] and size.answers < quiet[1]
