"""How often one token may connect: a refusal says when to come back, and a guess costs more than a call."""

from __future__ import annotations

from typing import Any

import pytest

from session_mgmt.actions import limits


@pytest.fixture
def slow(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One connect a second, and a clock that stands still."""
    settings.SESSION_MGMT = {"max_requests_per_second": 1.0}
    monkeypatch.setattr(limits, "monotonic", lambda: 1000.0)


@pytest.mark.requirement("OWASP WebSocket: connections")
async def test_a_token_that_connects_too_often_is_told_when_to_come_back(slow: None, peers: Any, created: Any) -> None:
    token = created.token.secret
    client = None
    for _ in range(int(limits.BURST_SECONDS)):
        client = (await peers().open(token, client_id=client))["client_id"]
    refused = peers()
    told = await refused.open(token, client_id=client)
    assert (told["type"], told["name"]) == ("error", "too_many_requests")
    bye = await refused.until_type("bye")
    assert (bye["code"], bye["reconnect"], bye["retry_after"]) == (4029, True, 1.0)


async def test_a_refused_token_costs_more_than_a_call(slow: None, peers: Any, created: Any) -> None:
    guess = "sma_" + "A" * 43
    assert (await peers().open(guess))["name"] == "invalid_token"
    assert (await peers().open(guess))["name"] == "too_many_requests"
