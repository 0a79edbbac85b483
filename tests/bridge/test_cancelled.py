"""Waits with a limit of time can be cancelled, also in the moment in which their answer comes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any

import pytest

from session_mgmt.backends.channel_layer import _wait_patiently
from session_mgmt.bridge import Bridge

PATIENCE = 60.0
Wait = Callable[["asyncio.Future[Any]"], Awaitable[Any]]


async def ask_lane(answer: asyncio.Future[Any]) -> Any:
    """Wait for the answer of a lane that takes it from the future."""

    def submit(_: Any, token: Future[Any], __: Any) -> bool:
        answer.add_done_callback(lambda done: token.set_result(done.result()))
        return True

    mine: Any = Bridge()
    mine.submit = submit
    return await mine.awrite(None)


async def ask_layer(answer: asyncio.Future[Any]) -> Any:
    return await _wait_patiently(answer)


@pytest.mark.parametrize("steps", range(4))
@pytest.mark.parametrize("wait", [ask_lane, ask_layer], ids=["lane", "layer"])
async def test_a_wait_that_is_cancelled_as_its_answer_comes_does_not_go_on(wait: Wait, steps: int) -> None:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Any] = loop.create_future()

    async def go_on() -> None:
        await wait(answer)
        await asyncio.Event().wait()

    def cancel_after(passes: int) -> None:
        if passes:
            loop.call_soon(cancel_after, passes - 1)
        else:
            waiting.cancel()

    waiting = asyncio.create_task(go_on())
    await asyncio.wait([waiting], timeout=0)
    answer.set_result(None)
    cancel_after(steps)
    await asyncio.wait([waiting], timeout=PATIENCE)
    assert waiting.cancelled()
    # Once more for one that has swallowed it: no task outlives its test.
    waiting.cancel()
