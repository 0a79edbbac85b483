"""The process for heavy work may be killed at any time; that costs one call at most."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from session_mgmt.bridge import bridge
from session_mgmt.exceptions import TooHeavy, Unavailable

SERVER = """
import os, signal, django
django.setup()
from session_mgmt.bridge import bridge
if __name__ == "__main__":
    print(bridge().run_in_worker(os.getpid), flush=True)
    signal.pause()
"""


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_is_replaced() -> None:
    first = bridge().run_in_worker(os.getpid)
    with pytest.raises(Unavailable):
        bridge().run_in_worker(die)
    second = bridge().run_in_worker(os.getpid)
    assert len({first, second, os.getpid()}) == 3


async def test_the_same_holds_for_async_callers() -> None:
    with pytest.raises(Unavailable):
        await bridge().run_heavy(die)
    assert await bridge().run_heavy(os.getpid) != os.getpid()


def test_the_process_ends_with_a_server_that_was_killed() -> None:
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    assert int(server.stdout.readline()) != server.pid
    server.kill()
    # The other process holds the same pipe: its end is the end of both.
    rest, _ = server.communicate(timeout=60)
    assert rest == ""


def test_work_that_takes_too_long_is_killed_and_not_asked_for_again(settings: Any) -> None:
    first = bridge().run_in_worker(os.getpid)
    settings.SESSION_MGMT = {"heavy_seconds": 0.2}
    with pytest.raises(TooHeavy) as refused:
        bridge().run_in_worker(time.sleep, 600)
    assert not refused.value.temporary
    settings.SESSION_MGMT = {}
    assert bridge().run_in_worker(os.getpid) != first
