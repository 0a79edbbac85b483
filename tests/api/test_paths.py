"""Paths that programs are given are JSON pointers (RFC 6901), whatever marks conflicts are found from."""

from __future__ import annotations

import uuid
from queue import SimpleQueue
from typing import Any

import pytest

from session_mgmt.shortcuts import create_session, state
from session_mgmt.signals import state_changed
from tests.api.calls import Caller, caller

pytestmark = pytest.mark.django_db
MAIN = "sessions/{id}/state/main/"
CHANGES: dict[str, tuple[Any, list[str]]] = {
    "added to": ([["inc", "/visits", 1]], ["/visits"]),
    "appended to": ([["ins", "/list/-", 1]], ["/list"]),
    "both": ([["inc", "/visits", 1], ["set", "/visits", 3]], ["/visits"]),
    "keys with marks": ([["set", "/+x", 1], ["set", "/>y", 1]], ["/+x", "/>y"]),
    "root": ([["set", "", {"list": []}]], [""]),
}


@pytest.fixture(params=[False, True], ids=["plain", "encrypted"])
def counting(request: pytest.FixtureRequest, settings: Any) -> Caller:
    if request.param:
        key = "a2V5" * 10 + "a2U="
        settings.SESSION_MGMT = {"state_keys": [("k", key[:43] + "=")], "encrypt_state": True}
    made = caller(create_session())
    made.put(MAIN, {"list": [], "visits": 0})
    return made


@pytest.mark.parametrize("change", CHANGES)
def test_history_tells_pointers(counting: Caller, change: str) -> None:
    ops, paths = CHANGES[change]
    assert counting.patch(MAIN, {"ops": ops}).status_code == 200
    assert counting.get(MAIN + "history/").json()["results"][0]["paths"] == paths
    assert state.history(uuid.UUID(counting.session))["results"][0]["paths"] == paths


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("change", CHANGES)
def test_the_signal_tells_pointers(counting: Caller, change: str) -> None:
    heard: SimpleQueue[list[str]] = SimpleQueue()
    made = 1

    def hear(**event: Any) -> None:
        # Receivers run on threads of their own, and may be told of the first version only now.
        if event["version"] > made:
            heard.put(list(event["paths"]))

    state_changed.connect(hear)
    try:
        ops, paths = CHANGES[change]
        assert counting.patch(MAIN, {"ops": ops}).status_code == 200
        assert heard.get(timeout=60) == paths
    finally:
        state_changed.disconnect(hear)
