"""How often one token, user and address may call: refused with the time to wait, and failures cost more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client
from rest_framework.throttling import BaseThrottle

from session_mgmt.actions import limits, monitoring
from session_mgmt.api import description, keeping, operations
from session_mgmt.backends.budgets import Budgets, Charge
from session_mgmt.shortcuts import create_session
from tests.api.calls import Caller, caller, refused
from tests.clocks import Clock

pytestmark = pytest.mark.django_db
ROOM = {"max_requests_per_second": 1.0}
SECOND = int(limits.BURST_SECONDS)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    made = Clock(1000.0)
    monkeypatch.setattr(limits, "monotonic", made)
    monkeypatch.setattr(keeping, "monotonic", made)
    yield made


@pytest.fixture
def slow(settings: Any, clock: Clock) -> Clock:
    settings.SESSION_MGMT = ROOM
    return clock


def answers(call: Callable[[], Any], times: int) -> list[int]:
    return [call().status_code for _ in range(times)]


def test_a_token_has_a_burst_and_then_a_rate(slow: Clock) -> None:
    one, other = caller(create_session()), caller(create_session())
    assert answers(lambda: one.get("sessions/{id}/"), SECOND) == [200] * SECOND
    answer = one.get("sessions/{id}/")
    assert refused(answer, "too_many_requests", 429)
    assert (answer["Retry-After"], answer.json()["temporary"]) == ("1", True)
    assert other.get("sessions/{id}/").status_code == 200
    slow.now += 2
    assert answers(lambda: one.get("sessions/{id}/"), 3) == [200, 200, 429]


def test_a_user_has_one_allowance_for_all_sessions(slow: Clock, alice: Any) -> None:
    mine = [caller(create_session(user=alice)) for _ in range(3)]
    told = [one.get("sessions/{id}/").status_code for one in mine for _ in range(SECOND)]
    assert told.count(200) == SECOND


def test_a_login_of_the_project_is_limited_as_well(slow: Clock, page: Caller) -> None:
    assert answers(lambda: page.get("sessions/"), SECOND + 1) == [200] * SECOND + [429]


@pytest.mark.requirement("ASVS 2.4.1")
def test_an_address_has_more_and_pays_for_failures(slow: Clock, mine: Caller) -> None:
    guesses = iter(range(10_000))

    def guess() -> Any:
        return Caller(Client(), f"sma_{next(guesses):043d}", mine.session).get("sessions/{id}/")

    told = answers(guess, 50)
    allowed = told.count(401)
    assert allowed <= limits.ADDRESS_FACTOR * limits.BURST_SECONDS / limits.ADDRESS_FAILURE_COST + 1
    assert told == [401] * allowed + [429] * (50 - allowed)
    # Whoever comes from elsewhere does not suffer for it.
    elsewhere = Client(REMOTE_ADDR="10.0.0.9")
    assert Caller(elsewhere, mine.token, mine.session).get("sessions/{id}/").status_code == 200


def test_guessing_ids_with_a_good_token_is_a_failure_too(slow: Clock, mine: Caller, theirs: Caller) -> None:
    stranger = Caller(mine.http, mine.token, theirs.session)
    assert refused(stranger.get("sessions/{id}/"), "session_not_found", 404)
    assert refused(mine.get("sessions/{id}/"), "too_many_requests", 429)


def test_a_refused_caller_costs_no_query(slow: Clock, django_assert_num_queries: Any) -> None:
    one = caller(create_session())
    answers(lambda: one.get("sessions/{id}/"), SECOND)
    # The first refusal in a while is written down; the ones after it are as cheap as can be.
    assert one.get("sessions/{id}/").status_code == 429
    with django_assert_num_queries(0):
        assert one.get("sessions/{id}/").status_code == 429


def test_an_ipv6_network_is_one_address(slow: Clock) -> None:
    charges = [next(limits._list_charges(limits.Caller(f"2001:db8::{n}"), 1.0, 1.0)).key for n in (1, 2)]
    assert charges[0] == charges[1] == "address:2001:db8::/64"


def test_zero_is_without_limit(settings: Any, clock: Clock) -> None:
    settings.SESSION_MGMT = {"max_requests_per_second": 0}
    one = caller(create_session())
    assert answers(lambda: one.get("sessions/{id}/"), 3 * SECOND) == [200] * 3 * SECOND


def test_buckets_are_bounded_in_number_and_in_debt() -> None:
    found = Budgets(most=2)
    charge = [Charge(key, 1.0, 1.0, 1.0) for key in "abc"]
    assert [found.spend([one], 0.0) for one in charge] == [0.0, 0.0, 0.0]
    assert found.spend([charge[2]], 0.0) == 1.0
    assert found.spend([charge[0]], 0.0) == 0.0
    dear = Charge("b", 5.0, 1.0, 1.0)
    for _ in range(100):
        found.fine([dear], 0.0)
    assert found.spend([Charge("b", 1.0, 1.0, 1.0)], 0.0) == 6.0


def test_charges_are_taken_together_or_not_at_all() -> None:
    found = Budgets()
    poor, rich = Charge("poor", 2.0, 1.0, 1.0), Charge("rich", 1.0, 1.0, 1.0)
    assert found.spend([rich, poor], 0.0) == 1.0
    assert found.spend([rich], 0.0) == 0.0


class Closed(BaseThrottle):
    """A throttle of the project that is closed for 7 seconds."""

    def allow_request(self, request: Any, view: Any) -> bool:
        return False

    def wait(self) -> float:
        return 7.0


def test_throttles_of_the_setting_are_honoured(settings: Any) -> None:
    one = caller(create_session())
    settings.SESSION_MGMT = {"throttle_classes": ["tests.api.test_limits.Closed"]}
    answer = one.get("sessions/{id}/")
    assert refused(answer, "too_many_requests", 429)
    assert answer["Retry-After"] == "7"


# -- what anybody may ask for


def test_health_is_computed_once_for_many(clock: Clock, nobody: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    real = monitoring.read_health

    def counted() -> Any:
        calls.append(1)
        return real()

    monkeypatch.setattr(monitoring, "read_health", counted)
    assert answers(lambda: nobody.get("health/"), 5) == [200] * 5
    assert len(calls) == 1
    clock.now += operations.HEALTH_SECONDS
    assert nobody.get("health/").status_code == 200
    assert len(calls) == 2


def test_the_schema_is_generated_once(nobody: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    first = nobody.get("schema/").json()
    monkeypatch.setattr(description, "_list_calls", lambda: pytest.fail("generated again"))
    assert nobody.get("schema/").json() == first
