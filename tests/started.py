"""Servers of tests that say by a line of their output that they run."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

READY = "Uvicorn running"
# Only what is never going to come takes so long, on any machine.
START_SECONDS = 180.0


def start_server(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path
) -> subprocess.Popen[str]:
    """Start a server, keep its output in a file, and return when it says that it runs."""
    process = subprocess.Popen(
        command, cwd=folder, env=dict(environment), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    heard = threading.Event()
    # Read to the end: a pipe that nobody reads stops a server that tells much.
    threading.Thread(target=_keep_output, args=(process, log, heard), daemon=True).start()
    heard.wait(START_SECONDS)
    said = log.read_text()
    if READY not in said:
        process.kill()
        raise AssertionError(f"the server did not start: {said[-2000:]}")
    return process


def _keep_output(process: subprocess.Popen[str], log: Path, heard: threading.Event) -> None:
    assert process.stdout is not None
    with process.stdout, log.open("w") as kept:
        for line in process.stdout:
            kept.write(line)
            kept.flush()
            if READY in line:
                heard.set()
    # It has ended, and whoever waits is told at once.
    heard.set()
