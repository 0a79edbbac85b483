"""A database that refuses from some statement on: each call answers ``unavailable``, and says when to come again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest
from django.db import connection
from django.test import RequestFactory
from django.utils.log import log_response

from session_mgmt.admin import readonly
from session_mgmt.api import operations
from session_mgmt.exceptions import Busy, InternalError, SessionMgmtError, Unavailable
from session_mgmt.models import ClientSession
from session_mgmt.pagination import LivePages
from session_mgmt.shortcuts import create_session, state
from session_mgmt.writes import verbs
from tests.api.calls import Caller, refused
from tests.api.test_rights import CALLS, MAIN
from tests.away import raise_away
from tests.live_pages.reading import ExactOrderList, OrderList, Visitor
from tests.shop import models as shop

# Errors are told apart by their kinds, which both databases raise.
pytestmark = [pytest.mark.django_db, pytest.mark.sqlite, pytest.mark.usefixtures("rooms", "on_this_thread")]
MOST = 200
TOPICS: dict[str, Callable[[Caller], Any]] = {
    "past": lambda one: one.get("topics/room:1/publications/"),
    "value": lambda one: one.get("topics/room:1/value/"),
    "members": lambda one: one.get("topics/room:1/members/"),
    "publish": lambda one: one.post("topics/room:1/publications/", {"data": 1}),
    "list": lambda one: one.get("sessions/"),
    "devices": lambda one: one.get("devices/"),
    "narrow": lambda one: one.post("tokens/narrow/", {"scopes": ["state:read"]}),
}
# People's calls, which are refused to the session itself.
NOT_ITS_OWN = {"message", "disconnect", "reconnect"}
# Written by the lane, which gives up its connection; and a label that was given up before the answer failed.
ELSEWHERE = {"change", "replace", "clear", "sync with changes", "restore", "resolve", "publish", "forget"}


@contextmanager
def refusing(after: int) -> Iterator[None]:
    """Let the database take so many statements, and then no more."""
    taken = 0

    def take(execute: Any, sql: str, *rest: Any) -> Any:
        nonlocal taken
        # Of the test's own transaction.
        if not sql.startswith(("SAVEPOINT", "RELEASE", "ROLLBACK")):
            taken += 1
            if taken > after:
                raise_away()
        return execute(sql, *rest)

    with connection.execute_wrapper(take):
        yield


def count_refusals(ask: Callable[[], Any], is_refused: Callable[[Any], bool]) -> int:
    """Ask with a database that takes one statement more each time, until it takes all; return how often it did not."""
    for after in range(MOST):
        with refusing(after):
            answer = ask()
        if answer.status_code < 300:
            return after
        assert is_refused(answer) and answer["Retry-After"] == "1", (after, answer.content)
    raise AssertionError("The call needs too many statements.")


@pytest.fixture
def session(mine: Caller, settings: Any) -> Caller:
    settings.SESSION_MGMT = {"max_requests_per_second": 1_000_000}
    for change, base in (([["set", "/a", 1]], 0), ([["set", "/a", 2]], 1), ([["set", "/a", 3]], 1)):
        assert mine.patch(MAIN, {"ops": change, "base": base, "strategy": "manual"}).status_code == 200
    mine.post(MAIN + "persist/", {"label": "kept"})
    return mine


@pytest.mark.parametrize("name", [name for name in (*CALLS, *TOPICS) if name not in NOT_ITS_OWN | ELSEWHERE])
def test_every_call_of_a_session_says_when_to_come_again(session: Caller, name: str) -> None:
    def ask() -> Any:
        if name in TOPICS:
            return TOPICS[name](session)
        method, path, body, *_ = CALLS[name]
        return session.call(method, path.replace("{conflict}", conflict), body)

    conflict = state.conflicts(ClientSession.objects.get(pk=session.session))[0]["id"]
    assert count_refusals(ask, lambda answer: refused(answer, "unavailable", 503)) > 0


def test_a_write_whose_lane_is_without_a_database_says_when_to_come_again(
    session: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise Unavailable()

    monkeypatch.setattr(verbs, "publish", fail)
    answer = TOPICS["publish"](session)
    assert refused(answer, "unavailable", 503) and answer["Retry-After"] == "1"


def list_logged_errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name == "django.request" and one.levelname == "ERROR"]


@pytest.mark.parametrize(("error", "is_logged"), [(Unavailable(), False), (Busy(), False), (InternalError(), True)])
def test_django_logs_faults_as_errors_but_no_planned_refusal(
    session: Caller,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: SessionMgmtError,
    is_logged: bool,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(verbs, "publish", fail)
    assert TOPICS["publish"](session).status_code == error.status
    assert bool(list_logged_errors(caplog)) is is_logged


def test_django_logs_no_error_while_the_service_is_unavailable_or_the_admin_has_no_database(
    session: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(operations.health, "read", lambda: {"status": "unavailable", "problems": ["database"]})
    assert session.get("health/").status_code == 503
    request = RequestFactory().get("/admin/")
    answer = readonly._answer_outages(lambda _: raise_away())(request)
    assert answer.status_code == 503
    log_response("Service Unavailable", response=answer, request=request)
    assert not list_logged_errors(caplog)


class RememberedOrders(LivePages, OrderList):
    remember = "orders"


@pytest.mark.parametrize("view", [OrderList, ExactOrderList, RememberedOrders])
def test_a_list_of_the_project_says_when_to_come_again(view: Any) -> None:
    customer = shop.Customer.objects.create(name="Ann")
    shop.Order.objects.create(customer=customer)
    visitor = Visitor(create_session().token.secret, view, customer=customer.pk)

    def is_refused(answer: Any) -> bool:
        told = orjson.loads(answer.content)
        return (answer.status_code, told["name"], told["temporary"]) == (503, "unavailable", True)

    assert count_refusals(visitor.ask, is_refused) > 0
