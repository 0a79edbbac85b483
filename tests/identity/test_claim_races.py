"""Claims beside whatever else may happen to a session at that moment; both orders, with real threads and held rows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client

from session_mgmt.actions.sessions import ending, entering, expiry
from session_mgmt.actions.sessions.entries import Entered, Wish
from session_mgmt.actions.sessions.lifecycle import Created
from session_mgmt.actions.sessions.stamps import Evidence
from session_mgmt.models import AuditEntry, ClientSession, SessionActivity, StateDocument
from session_mgmt.shortcuts import state
from tests.actions.test_lock_order import wait_for_a_lock
from tests.api.calls import Caller
from tests.identity.conftest import later, make_pair, new_nonce, refresh_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("visitors")]

State = ClientSession.State


@pytest.fixture
def visitors(settings: Any) -> None:
    settings.SESSION_MGMT = {"ANONYMOUS_SESSIONS": True}


@pytest.fixture
def visitor() -> Created:
    created = make_pair()
    state.update(created.session, {"items": [1]}, name="cart")
    return created


def claim(visitor: Created, user: Any) -> Entered:
    wish = Wish(nonce=new_nonce(), kept=visitor.session.pk, token=refresh_of(visitor))
    return entering.enter(wish, Evidence(user=user, stamp=b"s" * 32))


def end(visitor: Created) -> bool:
    at = later()
    with entering.open_transaction("default"):
        return ending.end_session("default", visitor.session.pk, State.TERMINATED, "by hand", at)


def is_claim(sql: str) -> bool:
    return sql.startswith("UPDATE") and '"claimed_at"' in sql


def is_end(sql: str) -> bool:
    return "UPDATE" in sql and "live" in sql.partition("SET")[2].partition("WHERE")[0]


def run_in_order(
    first: Callable[[], Any], is_held: Callable[[str], bool], second: Callable[[], Any], *, second_waits: bool = True
) -> tuple[Any, Any]:
    """Run both, and begin the second once the first has made the statement ``is_held`` and has not committed."""
    has_locked, may_commit = threading.Event(), threading.Event()

    def hold(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        found = execute(sql, params, many, context)
        if is_held(sql) and not has_locked.is_set():
            has_locked.set()
            assert may_commit.wait(30)
        return found

    def run_first() -> Any:
        try:
            with connection.execute_wrapper(hold):
                return first()
        finally:
            connection.close()

    def run_second() -> Any:
        try:
            return second()
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        try:
            one = pool.submit(run_first)
            assert has_locked.wait(30)
            two = pool.submit(run_second)
            # Elsewhere the second waits for the whole database.
            if connection.vendor == "postgresql":
                wait_for_a_lock() if second_waits else two.result(30)
        finally:
            may_commit.set()
        return one.result(30), two.result(30)


def read_state(visitor: Created) -> tuple[str, str, Any]:
    row = ClientSession.objects.get(pk=visitor.session.pk)
    return row.state, row.end_reason, row.user_id


def test_s31_a_claim_that_comes_before_an_end_is_ended(visitor: Created, alice: Any) -> None:
    entered, has_ended = run_in_order(lambda: claim(visitor, alice), is_claim, lambda: end(visitor))
    assert (entered.verdict, has_ended) == ("claimed", True)
    assert read_state(visitor) == (State.TERMINATED, "by hand", alice.pk)


def test_s31_a_claim_that_comes_after_an_end_gets_nothing_of_it(visitor: Created, alice: Any) -> None:
    has_ended, entered = run_in_order(lambda: end(visitor), is_end, lambda: claim(visitor, alice))
    assert (entered.verdict, has_ended) == ("created", True)
    assert read_state(visitor) == (State.TERMINATED, "by hand", None)
    assert not StateDocument.objects.filter(session=entered.session).exists()
    assert not AuditEntry.objects.filter(action="session_claimed").exists()


def sweep(at: datetime) -> list[Any]:
    return expiry.expire_due(limit=10, now=at)


def find_due(visitor: Created) -> datetime:
    """Return a moment when the session is due as it is now, and not once its user has come."""
    activity = SessionActivity.objects.get(pk=visitor.session.pk)
    SessionActivity.objects.filter(pk=activity.pk).update(expires_at=later(minutes=1))
    return later(minutes=5)


def test_s31_a_sweep_leaves_a_session_that_is_being_claimed(visitor: Created, alice: Any) -> None:
    at = find_due(visitor)
    # The sweep skips a row that somebody uses.
    entered, swept = run_in_order(lambda: claim(visitor, alice), is_claim, lambda: sweep(at), second_waits=False)
    assert (entered.verdict, entered.session.pk, swept) == ("claimed", visitor.session.pk, [])
    assert sweep(at) == []
    assert read_state(visitor) == (State.ACTIVE, "", alice.pk)


def test_s31_a_claim_beside_the_sweep_goes_on_with_all_that_the_visitor_had(visitor: Created, alice: Any) -> None:
    at = find_due(visitor)
    swept, entered = run_in_order(lambda: sweep(at), is_end, lambda: claim(visitor, alice))
    assert (entered.verdict, swept) == ("claimed", [visitor.session.pk])
    assert entered.session.pk != visitor.session.pk and entered.session.user_id == alice.pk
    assert state.get(entered.session, name="cart") == {"items": [1]}
    assert read_state(visitor) == (State.EXPIRED, "timeout", None)
    assert AuditEntry.objects.filter(action="session_claimed").count() == 1


def write_as(visitor: Created, method: str = "PATCH", path: str = "state/cart/", body: Any = None) -> Any:
    """Write over HTTP by the visitor's token."""
    caller = Caller(Client(), visitor.token.secret, str(visitor.session.pk))
    return caller.call(method, f"sessions/{{id}}/{path}", {"merge": {"late": True}} if body is None else body)


def test_s05_a_write_over_http_that_waits_for_a_claim_is_refused(visitor: Created, alice: Any) -> None:
    """Its token was good when it was looked at: it has no generation that the claim could raise."""
    entered, answer = run_in_order(lambda: claim(visitor, alice), is_claim, lambda: write_as(visitor))
    assert entered.verdict == "claimed"
    assert (answer.status_code, answer.json()["name"]) == (401, "invalid_token")
    assert state.get(visitor.session, name="cart") == {"items": [1]}


def test_s05_whoever_may_write_to_any_session_is_not_held_to_its_token(visitor: Created, alice: Any) -> None:
    claim(visitor, alice)
    staff = Client()
    staff.force_login(get_user_model().objects.create_superuser("root"))
    answer = Caller(staff, None, str(visitor.session.pk)).call(
        "PATCH", "sessions/{id}/state/cart/", {"merge": {"by": "staff"}}, X_CSRFToken="none"
    )
    assert answer.status_code == 200, answer.content
