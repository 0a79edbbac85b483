"""Functions of the project may be slow: nobody else waits for them, and their effects are kept once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from session_mgmt.actions.sessions import expiry, incidents
from session_mgmt.actions.timeline import handlers
from session_mgmt.bridge import bridge
from session_mgmt.conf import settings as ours
from session_mgmt.exceptions import AuthError, Busy
from session_mgmt.models import Outbox, Publication, SessionEvent, clock
from session_mgmt.registry import off, on, on_message, registry
from session_mgmt.shortcuts import create_session, publish, state, terminate_session
from session_mgmt.signals import state_changed
from session_mgmt.writes import verbs

PATIENCE = 60.0


class Slow:
    """Function that begins, and ends when it is told to."""

    def __init__(self) -> None:
        self.calls = 0
        self._begun, self._end = threading.Semaphore(0), threading.Event()

    def __call__(self, *_: Any) -> Any:
        self.calls += 1
        self._begun.release()
        assert self._end.wait(PATIENCE * 3)
        return {"calls": self.calls}

    async def begun(self) -> None:
        assert await asyncio.to_thread(self._begun.acquire, timeout=PATIENCE)

    def end(self) -> None:
        self._end.set()


@pytest.fixture
def slow() -> Iterator[Slow]:
    """Slow function, which ends with its test at the latest."""
    function = Slow()
    yield function
    function.end()


@pytest.fixture
def slow_handler(slow: Slow) -> Iterator[Slow]:
    """Slow ``on_message``."""
    on_message(slow)
    yield slow
    registry.message_handlers.remove(slow)


async def test_a_slow_message_handler_holds_up_nobody_else(peers: Any, created: Any, slow_handler: Slow) -> None:
    """More of them than there are threads for reading."""
    slowest = [peers() for _ in range(ours().read_threads + 1)]
    for peer in slowest:
        await peer.open(created.token.secret)
        await peer.say(type="send", seq=1, data=1)
    await slow_handler.begun()
    other = (await bridge().read(create_session)).token.secret
    one = peers()
    await one.open(other)
    await one.say(type="update", seq=1, doc="main", merge={"a": 1})
    assert (await one.receipt(1))["ok"]
    await one.until_following("topic:room:1")
    slow_handler.end()
    for peer in slowest:
        assert (await peer.receipt(1))["ok"]


async def test_a_slow_handler_of_one_session_leaves_threads_to_the_others(peers: Any, created: Any, slow: Slow) -> None:
    def handle(session: Any, data: Any) -> Any:
        return slow() if data == "slow" else data

    on_message(handle)
    try:
        for _ in range(ours().handler_threads + 1):
            peer = peers()
            await peer.open(created.token.secret)
            await peer.say(type="send", seq=1, data="slow")
        await slow.begun()
        quick = peers()
        await quick.open((await bridge().read(create_session)).token.secret)
        await quick.say(type="send", seq=1, data="quick")
        assert (await quick.receipt(1))["data"] == "quick"
    finally:
        registry.message_handlers.remove(handle)


async def test_a_client_may_come_back_while_its_message_is_handled(
    peers: Any, created: Any, slow_handler: Slow
) -> None:
    """Attaching does not wait for the handler, and the message is handled once."""
    one, again = peers(), peers()
    client = (await one.open(created.token.secret))["client_id"]
    await one.say(type="send", seq=1, data=1)
    await slow_handler.begun()
    await again.open(created.token.secret, client_id=client)
    await again.say(type="send", seq=1, data=1)
    slow_handler.end()
    assert (await again.receipt(1))["data"] == {"calls": 1}
    assert slow_handler.calls == 1


async def test_a_session_that_ends_while_its_message_is_handled_keeps_no_effect(
    peers: Any, created: Any, slow: Slow
) -> None:
    def handle(session: Any, data: Any) -> None:
        slow()
        publish("room:1", "effect")

    on_message(handle)
    try:
        one = peers()
        await one.open(created.token.secret)
        await one.say(type="send", seq=1, data=1)
        await slow.begun()
        await bridge().read(terminate_session, created.session)
        slow.end()
        # Jobs of one session run in turn, so this one after the handler.
        await bridge().run_user_code(created.session.pk, lambda: None)
        assert await bridge().read(Outbox.objects.count) + await bridge().read(Publication.objects.count) == 0
    finally:
        slow.end()
        registry.message_handlers.remove(handle)


async def test_slow_event_handlers_and_receivers_hold_up_no_write(created: Any, slow: Slow) -> None:
    handler = on("message")(slow)
    state_changed.connect(slow_receiver := lambda **_: slow(), weak=False)
    try:
        await bridge().read(state.update, created.session, {"a": 1})
        await slow.begun()
        position = await asyncio.wait_for(bridge().read(state.update, created.session, {"a": 2}), PATIENCE)
        assert position.offset == 2
    finally:
        slow.end()
        state_changed.disconnect(slow_receiver)
        off(handler)


@pytest.mark.parametrize(
    ("type_", "verb"),
    [
        ("auth_failed", lambda created: incidents.record_refusal("nobody's", AuthError())),
        ("session_terminated", lambda created: terminate_session(created.session)),
        (
            "session_expired",
            lambda created: expiry.expire_due(limit=10, now=clock.read("default") + timedelta(days=99)),
        ),
    ],
)
async def test_a_slow_handler_of_what_a_server_does_by_itself_holds_no_thread_and_no_lock(
    created: Any, slow: Slow, type_: str, verb: Any
) -> None:
    other = await bridge().read(create_session)
    handler = on(type_)(slow)
    try:
        await asyncio.wait_for(bridge().call(verb, created), PATIENCE)
        await slow.begun()
        assert await asyncio.wait_for(bridge().control(Outbox.objects.count), PATIENCE) == 0
        if type_ != "session_expired":
            position = await asyncio.wait_for(bridge().read(state.update, other.session, {"a": 1}), PATIENCE)
            assert position.offset == 1
    finally:
        slow.end()
        off(handler)


async def test_a_slow_durable_handler_holds_up_no_write(created: Any, slow: Slow) -> None:
    handler = on("session_terminated", durable=True)(slow)
    try:
        await bridge().read(terminate_session, created.session)
        running = asyncio.create_task(bridge().run_user_code(None, handlers.run_pending))
        await slow.begun()
        other = await bridge().read(create_session)
        position = await asyncio.wait_for(bridge().read(state.update, other.session, {"a": 1}), PATIENCE)
        assert position.offset == 1
        slow.end()
        assert await running == 1
        assert not await bridge().read(SessionEvent.objects.filter(pending=True).exists)
    finally:
        slow.end()
        off(handler)


async def test_who_waits_for_heavy_work_holds_no_thread_that_connects_need(
    peers: Any, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(*_: Any, **__: Any) -> Any:
        slow()
        raise Busy(retry_after=1.0)

    monkeypatch.setattr(verbs, "prepare_update", prepare)
    made = [await bridge().read(create_session) for _ in range(ours().read_threads + 2)]
    several = [peers() for _ in made[1:]]
    for peer, one in zip(several, made[1:], strict=True):
        await peer.open(one.token.secret)
    for peer in several:
        await peer.say(type="update", seq=1, doc="main", patch=[{"op": "add", "path": "/a", "value": 1}])
    for _ in range(ours().read_threads):
        await slow.begun()
    async with asyncio.timeout(PATIENCE):
        assert await peers().open(made[0].token.secret)
    slow.end()
