"""Process that changes one field of a session's document through the Python API, so many times.

Run it with a benchmark's environment. It prints its cost as JSON.
The process has no connections, so its snapshots are left to the sweep.
"""

from __future__ import annotations

import json
import os
import sys
import time
import uuid

import django

from tests.benchmarks import machine

django.setup()

from session_mgmt.bridge import bridge  # noqa: E402
from session_mgmt.shortcuts import state  # noqa: E402

WARM = 20


def main(session: uuid.UUID, count: int) -> dict[str, float]:
    """Return the CPU of all threads and the time, in seconds, of so many updates."""
    os.sched_setaffinity(0, machine.cores()[0])
    for number in range(WARM):
        state.update(session, {"field": f"warm {number}"})
    started, cpu = time.perf_counter(), time.process_time()
    for number in range(count):
        state.update(session, {"field": f"value {number}"})
    done = {"cpu": time.process_time() - cpu, "seconds": time.perf_counter() - started}
    bridge().close()
    return done


if __name__ == "__main__":
    print(json.dumps(main(uuid.UUID(sys.argv[1]), int(sys.argv[2]))))
