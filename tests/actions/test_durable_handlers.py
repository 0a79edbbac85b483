"""Durable handlers of one event are independent: each runs, fails and is tried again alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext

from session_mgmt.actions import cleanup, monitoring
from session_mgmt.actions.access import SERVER
from session_mgmt.actions.sessions import deletion, lifecycle
from session_mgmt.actions.timeline import handlers
from session_mgmt.models import HandlerRun, SessionEvent, clock
from session_mgmt.registry import on, registry
from tests.admin.conftest import staff

pytestmark = pytest.mark.django_db
TYPE = "session_created"


class Killed(BaseException):
    """The process dies here."""


@pytest.fixture(autouse=True)
def declare() -> Iterator[Callable[[Any], Any]]:
    """Declare durable handlers for this test."""
    before = {type_: list(found) for type_, found in registry.durable.items()}
    yield on(TYPE, durable=True)
    registry.durable.clear()
    registry.durable.update(before)


class Handler:
    """A handler that writes a row and counts its calls; ``fail`` says with what it fails."""

    def __init__(self, name: str) -> None:
        self.__qualname__, self.calls = name, list[Any]()
        self.fail: Callable[[], Any] = lambda: None

    def __call__(self, event: Any) -> None:
        self.calls.append(event.session_id)
        Group.objects.create(name=f"{self.__qualname__} {event.session_id}")
        self.fail()

    def break_down(self) -> None:
        def fail() -> None:
            raise RuntimeError("not today")

        self.fail = fail

    def mend(self) -> None:
        self.fail = lambda: None


@pytest.fixture
def three(declare: Any) -> list[Handler]:
    made = [Handler(name) for name in ("first", "second", "third")]
    for one in made:
        declare(one)
    return made


def run_later(minutes: int = 10) -> int:
    return handlers.run_pending(now=clock.read("default") + timedelta(minutes=minutes))


def count_effects(handler: Handler) -> int:
    return Group.objects.filter(name__startswith=handler.__qualname__).count()


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_one_that_fails_is_tried_again_alone_and_leaves_nothing_behind(three: list[Handler], broken: int) -> None:
    wrong, *good = [three[broken], *(one for one in three if one is not three[broken])]
    wrong.break_down()
    sessions = [lifecycle.create_session().session.pk for _ in range(2)]
    assert handlers.run_pending() == 4
    for minutes in (10, 20):
        assert run_later(minutes) == 0
    assert [one.calls for one in good] == [sessions, sessions], "once each, in their order"
    assert (len(wrong.calls), count_effects(wrong)) == (6, 0)
    wrong.mend()
    assert run_later(40) == 2
    assert wrong.calls[6:] == sessions
    assert [count_effects(one) for one in three] == [2, 2, 2]
    assert not HandlerRun.objects.exists() and handlers.run_pending() == 0


@pytest.mark.django_db(transaction=True)
def test_one_that_fails_only_at_its_commit_undoes_no_other(three: list[Handler]) -> None:
    # Checked by the database when the transaction ends.
    three[1].fail = lambda: Permission.objects.create(name="x", codename="x", content_type_id=2**30)
    lifecycle.create_session()
    assert handlers.run_pending() == 2
    assert [count_effects(one) for one in three] == [1, 0, 1]
    assert HandlerRun.objects.get().handler.endswith(".second")
    three[1].mend()
    assert run_later() == 1
    assert [len(one.calls) for one in three] == [1, 2, 1]


def test_a_process_that_dies_in_one_leaves_the_others_to_the_next(three: list[Handler]) -> None:
    def die() -> None:
        raise Killed

    three[1].fail = die
    lifecycle.create_session()
    with pytest.raises(Killed):
        handlers.run_pending()
    three[1].mend()
    assert handlers.run_pending() == 2
    assert [len(one.calls) for one in three] == [1, 2, 1]
    assert [count_effects(one) for one in three] == [1, 1, 1]


def test_one_that_is_declared_between_gets_no_old_event_and_one_that_is_removed_stays_listed(
    three: list[Handler], declare: Any, caplog: pytest.LogCaptureFixture
) -> None:
    three[0].break_down()
    lifecycle.create_session()
    assert handlers.run_pending() == 2
    new = Handler("new")
    registry.durable[TYPE].remove(three[0])
    declare(new)
    assert run_later() == 0
    (left,) = HandlerRun.objects.all()
    assert (left.attempts, new.calls, len(three[0].calls)) == (2, [], 1)
    assert "no durable handler of this name" in left.error
    three[0].mend()
    declare(three[0])
    assert run_later(20) == 1
    assert (len(three[0].calls), new.calls, count_effects(three[0])) == (2, [], 1)


def test_an_event_with_one_handler_costs_one_look_more_however_many_there_were(declare: Any) -> None:
    declare(Handler("only"))

    def count() -> int:
        lifecycle.create_session()
        with CaptureQueriesContext(connection) as caught:
            assert handlers.run_pending() == 1
        runs = [query["sql"] for query in caught if "handlerrun" in query["sql"]]
        assert [sql.split()[0] for sql in runs] == ["SELECT"]
        return len(caught)

    first = count()
    assert [count() for _ in range(3)] == [first] * 3


def test_an_event_that_the_log_has_lost_meanwhile_is_handled_with_its_facts(
    three: list[Handler], settings: Any
) -> None:
    settings.SESSION_MGMT = {"event_entries": 1}
    three[2].break_down()
    session = lifecycle.create_session().session
    handlers.run_pending()
    for number in range(3):
        lifecycle.update_session(SERVER, session.pk, metadata={"a": number})
    cleanup.run_cleanup()
    assert not SessionEvent.objects.filter(type=TYPE).exists()
    told: list[Any] = []
    three[2].mend()
    three[2].calls = told
    assert run_later() == 1
    assert told == [session.pk]


def test_events_that_fail_do_not_stand_before_the_others(three: list[Handler]) -> None:
    registry.durable[TYPE][1:] = []
    three[0].break_down()
    for _ in range(handlers.MOST_PAGES):
        lifecycle.create_session()
    assert handlers.run_pending(limit=1) == 0
    lifecycle.create_session()
    three[0].mend()
    moment = clock.read("default") - timedelta(minutes=10)
    assert handlers.run_pending(limit=1, now=moment) == 1, "none of those that failed is due yet"


def test_who_looks_after_the_site_sees_what_fails_and_can_give_it_up(three: list[Handler]) -> None:
    three[0].break_down()
    lifecycle.create_session()
    handlers.run_pending()
    found = monitoring.read_health(now=clock.read("default") + timedelta(minutes=6))
    assert (found["handlers"]["waiting"], found["handlers"]["failing"], found["problems"]) == (
        1,
        1,
        ["handlers_late"],
    )
    http = staff("view_handlerrun")
    page = http.get("/admin/session_mgmt/handlerrun/").content.decode()
    assert "RuntimeError in " in page and "test_durable_handlers.first" in page
    assert "not today" not in page, "the text of an error may hold people's data"
    run = HandlerRun.objects.get()
    assert http.post(f"/admin/session_mgmt/handlerrun/{run.pk}/delete/", {"post": "yes"}).status_code == 403
    chief = staff("view_handlerrun", "delete_handlerrun")
    chief.post(f"/admin/session_mgmt/handlerrun/{run.pk}/delete/", {"post": "yes"})
    assert run_later() == 0
    assert monitoring.read_overview()["handlers"] == {"waiting": 0, "lag": 0.0, "failing": 0}


def test_a_session_that_is_deleted_takes_what_waits_with_it(three: list[Handler]) -> None:
    three[0].break_down()
    session = lifecycle.create_session().session
    handlers.run_pending()
    deletion.delete_sessions("default", [session.pk])
    assert not HandlerRun.objects.exists()
