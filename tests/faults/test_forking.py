"""Processes that somebody else has forked: whoever waits for one is told of its end, however early that comes."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.forking import Forked

pytestmark = pytest.mark.sqlite


def test_a_process_that_has_been_collected_counts_as_ended() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    forked = Forked(["gone"], gone.pid)
    forked.send_signal(signal.SIGTERM)
    assert (forked.poll(), forked.wait(), forked.returncode) == (0, 0, 0)
