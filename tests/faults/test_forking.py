"""Processes that somebody else has forked: whoever waits for one is told of its end, however early that comes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import pytest

from tests import forking
from tests.forking import Forked

pytestmark = pytest.mark.sqlite


def test_a_process_that_has_been_collected_counts_as_ended() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    forked = Forked(["gone"], gone.pid)
    forked.send_signal(signal.SIGTERM)
    assert (forked.poll(), forked.wait(), forked.returncode) == (0, 0, 0)


def test_one_thread_orders_at_a_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Order:
        def __init__(self, environment: object) -> None:
            pass

        def fork(self, *args: object, **order: object) -> int:
            held.append(forking._ordering.locked())
            return os.getpid()

    held: list[bool] = []
    monkeypatch.setattr(forking, "Nursery", Order)
    monkeypatch.setattr(forking, "_kept", OrderedDict())
    forking.fork_server("application", {}, ["manage"], tmp_path / "log")
    assert held == [True] and not forking._ordering.locked()
