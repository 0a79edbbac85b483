"""The process for heavy work may be killed at any time; that costs one call at most."""

from __future__ import annotations

import os
import signal

import pytest

from session_mgmt.bridge import bridge
from session_mgmt.exceptions import Unavailable


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_is_replaced() -> None:
    first = bridge().heavy_now(os.getpid)
    with pytest.raises(Unavailable):
        bridge().heavy_now(die)
    second = bridge().heavy_now(os.getpid)
    assert len({first, second, os.getpid()}) == 3


async def test_the_same_holds_for_async_callers() -> None:
    with pytest.raises(Unavailable):
        await bridge().heavy(die)
    assert await bridge().heavy(os.getpid) != os.getpid()
