"""Three clients, any order of events: at the end all have what the server has, and each write counted once."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.walks.model.machine import Clients
from tests.walks.model.server import give_connections_back

# A long run: SESSION_MGMT_MODEL=500 (CONTRIBUTING.md). Without it the same examples are drawn every time.
EXAMPLES = int(os.environ.get("SESSION_MGMT_MODEL", "0"))
FEW, STEPS = 20, 30
EVENTS = ["too old", "judged by digests", "conflicts", "dropped", "overwrote", "conflict", "repeated", "restarts"]


# A task that is cancelled before its first step leaves its coroutine unawaited.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.slow
@pytest.mark.timeout(max(600, EXAMPLES * 10))
def test_three_clients_agree_with_the_server_in_the_end(transactional_db: None, settings: Any) -> None:
    Clients.settings = settings
    Clients.seen.clear()
    try:
        run_state_machine_as_test(Clients, settings=RUN)
    finally:
        give_connections_back()
    print(dict(sorted(Clients.seen.items())))
    missing = [event for event in EVENTS if not Clients.seen[event]]
    assert not missing, f"the run says nothing about {missing}"


RUN = settings(
    max_examples=EXAMPLES or FEW,
    stateful_step_count=STEPS,
    derandomize=not EXAMPLES,
    deadline=None,
    # No shrinking: threads take turns as they like, and each try at a lost answer waits for it in vain.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
