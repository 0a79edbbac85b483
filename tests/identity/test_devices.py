"""Ending a device ends its login too: its browser gets no new session until somebody really logs in there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from session_mgmt import shortcuts
from session_mgmt.exceptions import InvalidField
from session_mgmt.models import ClientSession, Login
from tests.api.calls import Caller
from tests.identity.browser import Browser
from tests.identity.conftest import make_pair

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("on_this_thread")]
MIDDLEWARE = "session_mgmt.middleware.EndedLoginMiddleware"


@pytest.fixture
def both() -> tuple[Browser, Browser]:
    """Two browsers of one user, each with a session."""
    pair = Browser(), Browser()
    for browser in pair:
        browser.log_in("ann")
        browser.access = browser.enter()["access"]  # type: ignore[attr-defined]
    return pair


def ann() -> Any:
    return get_user_model().objects.get(username="ann")


def reload(browser: Browser) -> Browser:
    """Return the browser at a server that has read its settings anew."""
    again = browser.other_tab()
    again.http = Client()
    again.http.cookies = browser.http.cookies
    return again


def caller_of(browser: Any) -> Caller:
    return Caller(browser.http, token=browser.access)


def test_s18_another_device_that_was_ended_gets_no_session_until_it_logs_in(both: tuple[Browser, Browser]) -> None:
    here, there = both
    assert caller_of(here).delete(f"sessions/{there.row().pk}/").status_code == 204
    assert there.enter()["name"] == "login_ended"
    assert (there.row().state, there.row().end_reason) == ("terminated", "requested")
    # Without the middleware the site itself goes on.
    assert there.http.get("/admin/").status_code == 200
    assert here.enter()["verdict"] == "continued"
    there.log_in("ann")
    assert there.enter()["verdict"] == "created"


def test_s18_with_the_middleware_the_site_logs_it_out_too(
    both: tuple[Browser, Browser], settings: Any, django_assert_num_queries: Any
) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, MIDDLEWARE]
    access = both[0].access  # type: ignore[attr-defined]
    here, there = map(reload, both)
    assert there.http.get("/admin/").status_code == 200
    Caller(here.http, token=access).delete(f"sessions/{there.row().pk}/")
    assert there.http.get("/admin/").status_code == 302
    assert django_settings.SESSION_COOKIE_NAME not in there.http.cookies or not (
        there.http.cookies[django_settings.SESSION_COOKIE_NAME].value
    )
    assert here.http.get("/admin/").status_code == 200
    with django_assert_num_queries(0):
        assert Browser().http.get("/admin/login/").status_code == 200


def test_the_middleware_asks_once_by_an_index(both: tuple[Browser, Browser], settings: Any) -> None:
    here, _ = both
    with CaptureQueriesContext(connection) as without:
        here.http.get("/admin/password_change/")
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, MIDDLEWARE]
    here = reload(here)
    with CaptureQueriesContext(connection) as watched:
        here.http.get("/admin/password_change/")
    more = [query["sql"] for query in watched.captured_queries if Login._meta.db_table in query["sql"]]
    assert len(more) == 1 == len(watched.captured_queries) - len(without.captured_queries)


def test_a_session_that_ends_itself_or_is_ended_by_the_application_leaves_the_login(
    both: tuple[Browser, Browser],
) -> None:
    here, there = both
    assert caller_of(here).delete(f"sessions/{here.row().pk}/").status_code == 204
    assert here.enter()["verdict"] == "created"
    shortcuts.terminate_session(there.row())
    assert there.enter()["verdict"] == "created"


def test_a_sister_session_of_the_same_browser_is_no_other_device(both: tuple[Browser, Browser]) -> None:
    here, _ = both
    sister = here.other_tab()
    sister.kept = None
    assert sister.enter()["verdict"] == "created"
    assert caller_of(here).delete(f"sessions/{sister.row().pk}/").status_code == 204
    assert (here.row().state, here.enter()["verdict"]) == ("active", "continued")


@pytest.mark.requirement("ASVS 7.4.3")
def test_all_others_end_with_their_logins_and_this_browser_stays(both: tuple[Browser, Browser]) -> None:
    here, there = both
    sister = here.other_tab()
    sister.kept = None
    sister.enter()
    make_pair(ann())
    assert shortcuts.end_user_sessions(ann(), keep=here.row()) == 2
    assert there.enter()["name"] == "login_ended"
    assert {here.row().state, sister.row().state} == {"active"}


def test_logout_everywhere_ends_every_session_and_login_of_one_user_only(both: tuple[Browser, Browser]) -> None:
    other = Browser()
    other.log_in("bob")
    other.enter()
    assert shortcuts.end_user_sessions(ann(), reason="logout_everywhere") == 2
    assert [browser.enter()["name"] for browser in both] == ["login_ended"] * 2
    assert shortcuts.end_user_sessions(ann()) == 0
    assert other.enter()["verdict"] == "continued"


@pytest.mark.parametrize("by", ["request", "key", "key of a deleted session"])
def test_a_login_is_ended_by_its_request_or_its_key(both: tuple[Browser, Browser], by: str, rf: Any) -> None:
    here, there = both
    django_session = there.http.session
    assert django_session.session_key is not None
    if by == "request":
        request = rf.get("/")
        request.session, request.user = django_session, ann()
        assert shortcuts.end_login(request)
    else:
        key = django_session.session_key
        if by != "key":
            django_session.delete()
        assert shortcuts.end_login(key)
    assert there.row().state == "terminated"
    assert here.row().state == "active"


def test_an_unknown_key_ends_nothing(both: tuple[Browser, Browser]) -> None:
    assert not shortcuts.end_login("a key of nobody")
    with pytest.raises(InvalidField):
        shortcuts.end_user_sessions(None)


# SQLite has one writer at a time.
@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_logout_everywhere_beside_entering_browsers_waits_for_no_circle(both: tuple[Browser, Browser]) -> None:
    """Each browser holds its login and may wait for a session; who ends them all must not hold one before a login."""
    here, there = both
    swapped = here.other_tab(), there.other_tab()
    swapped[0].kept, swapped[1].kept = there.kept, here.kept
    gate = Barrier(3)

    def run(work: Any) -> Any:
        gate.wait(30)
        try:
            return work()
        finally:
            connection.close()

    with ThreadPoolExecutor(3) as pool:
        works = [lambda: shortcuts.end_user_sessions(ann()), swapped[0].enter, swapped[1].enter]
        done = [pool.submit(run, work) for work in works]
        for future in done:
            future.result(60)
    assert not ClientSession.objects.filter(state="active", login__ended_at__isnull=False).exists()
