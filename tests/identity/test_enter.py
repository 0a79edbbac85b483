"""Enter: the next person never gets the session of the one before, and whoever is still there loses nothing."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client

from session_mgmt.actions import cleanup
from session_mgmt.actions.sessions import entering, logins, stamps
from session_mgmt.actions.sessions.entries import Wish
from session_mgmt.actions.sessions.stamps import Evidence
from session_mgmt.exceptions import LoginEnded
from session_mgmt.models import ClientSession, Login, SessionActivity, Token
from tests.actions.test_lock_order import wait_for_a_lock
from tests.api.calls import Caller, refused
from tests.identity.browser import Browser
from tests.identity.conftest import later, new_nonce

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("on_this_thread")]


@pytest.fixture
def anonymous(settings: Any) -> None:
    settings.SESSION_MGMT = {"ANONYMOUS_SESSIONS": True}


@pytest.fixture
def browser() -> Browser:
    return Browser()


def pass_time(**passed: float) -> None:
    """Let time pass for all rows: their moments are moved back."""
    ago = timedelta(**passed)
    for row in SessionActivity.objects.all():
        for name in ("last_active_at", "expires_at", "absolute_deadline"):
            setattr(row, name, getattr(row, name) - ago)
        row.save()
    for session in ClientSession.objects.all():
        for name in ("created_at", "auth_time", "ended_at", "login_missing_at"):
            setattr(session, name, getattr(session, name) and getattr(session, name) - ago)
        session.save()
    for token in Token.objects.all():
        token.created_at, token.expires_at = token.created_at - ago, token.expires_at - ago
        token.used_at = token.used_at and token.used_at - ago
        token.save()
    for login in Login.objects.all():
        login.seen_at -= ago
        login.save()


def count_live() -> int:
    return ClientSession.objects.filter(state="active").count()


def test_s01_after_a_logout_the_next_person_has_a_session_of_her_own(browser: Browser) -> None:
    browser.log_in("ann")
    first = browser.enter()
    assert (first["verdict"], first["user_id"]) == ("created", str(browser.row().user_id))
    before = browser.row()
    browser.log_out()
    before.refresh_from_db()
    assert (before.state, before.end_reason) == ("terminated", "logged_out")
    browser.log_in("ben")
    second = browser.enter()
    assert second["verdict"] == "created"
    assert second["session"]["session_id"] != first["session"]["session_id"]
    assert second["user_id"] != first["user_id"]


def test_s02_a_login_over_somebody_elses_ends_his_sessions_at_once(browser: Browser) -> None:
    browser.log_in("ann")
    browser.enter()
    ann = browser.row()
    browser.log_in("ben")
    ann.refresh_from_db()
    assert (ann.state, ann.end_reason) == ("terminated", "login_changed")
    assert browser.enter()["verdict"] == "created"


def test_s02_and_at_enter_where_the_cookie_did_not_tell(browser: Browser) -> None:
    browser.log_in("ann")
    browser.enter()
    ann = browser.row()
    Login.objects.update(cookie_digest=None)
    browser.log_in("ben")
    found = browser.enter()
    ann.refresh_from_db()
    assert (found["verdict"], found["reason"], ann.end_reason) == ("created", "login_changed", "login_changed")


def test_the_same_person_goes_on_with_her_own_tokens_and_gets_new_ones_at_half_their_life(browser: Browser) -> None:
    browser.log_in("ann")
    first = browser.enter()
    again = browser.enter()
    assert (again["verdict"], again["access"], again["positions"]) == ("continued", None, {})
    pass_time(minutes=10)
    rotated = browser.enter()
    assert rotated["verdict"] == "continued"
    assert rotated["refresh"] not in (None, first["refresh"])
    assert browser.row().auth_version == 1
    assert count_live() == 1


@pytest.mark.requirement("ASVS 7.2.4")
def test_a_login_proves_a_session_whose_token_was_lost_and_the_old_ones_are_void(browser: Browser) -> None:
    browser.log_in("ann")
    first = browser.enter()
    assert browser.kept is not None
    browser.kept["token"] = "smr_lost"
    again = browser.enter()
    assert (again["verdict"], again["session"]["session_id"]) == ("continued", first["session"]["session_id"])
    assert again["refresh"] != first["refresh"]
    assert browser.row().auth_version == 2
    assert refused(Caller(browser.http, first["access"]).get("sessions/"), "invalid_token", 401)


@pytest.mark.requirement("OWASP sessions: strict")
def test_an_id_alone_proves_nothing(browser: Browser, anonymous: None) -> None:
    browser.log_in("ann")
    browser.enter()
    ann, stranger = browser.row(), Browser()
    stranger.kept = {"session": str(ann.pk), "token": "smr_guess"}
    assert stranger.enter()["user_id"] is None
    stranger.log_in("ben")
    stranger.kept = {"session": str(ann.pk), "token": "smr_guess"}
    assert stranger.enter()["verdict"] == "created"
    ann.refresh_from_db()
    assert ann.state == "active"


def test_an_access_token_is_no_proof_of_a_session_that_was_kept(browser: Browser, anonymous: None) -> None:
    first = browser.enter()
    assert browser.kept is not None
    browser.kept["token"] = first["access"]
    assert browser.enter()["verdict"] == "created"


def test_nobodys_session_goes_on_for_nobody_and_hears_of_a_login(browser: Browser, anonymous: None) -> None:
    browser.enter()
    assert browser.enter()["verdict"] == "continued"
    browser.log_in("ann")
    assert browser.refresh().json()["login_changed"] is True


def test_nobody_is_told_to_log_in_where_anonymous_sessions_are_off(browser: Browser) -> None:
    assert browser.enter()["name"] == "auth_required"
    assert not ClientSession.objects.exists()


@pytest.mark.requirement("NIST 63B logout")
def test_s13_a_logout_ends_every_session_of_the_browser_and_no_other(browser: Browser) -> None:
    elsewhere = Browser()
    for one in (browser, elsewhere):
        one.log_in("ann")
        one.enter()
    tab = browser.other_tab()
    tab.kept = None
    tab.enter()
    assert count_live() == 3
    browser.log_out()
    assert {browser.row().end_reason, tab.row().end_reason} == {"logged_out"}
    assert elsewhere.row().state == "active"


def test_s13_sessions_made_by_the_older_call_end_with_the_login_too(browser: Browser) -> None:
    browser.log_in("ann")
    made = Caller(browser.http).post("sessions/", {}).json()
    browser.log_out()
    assert refused(Caller(Client(), made["token"]).get("sessions/"), "session_terminated", 410)


@pytest.mark.parametrize("header", ["", "Basic eDp4", "Negotiate eDp4"])
def test_s13_a_login_counts_on_a_site_behind_a_password_too(header: str, browser: Browser) -> None:
    browser.log_in("ann")
    answer = Caller(browser.http).post("sessions/enter/", {"nonce": new_nonce()}, Authorization=header)
    browser.keep(answer.json())
    assert browser.row().login is not None
    browser.log_out()
    assert browser.row().end_reason == "logged_out"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("first", ["enter", "logout"])
def test_s14_a_session_made_beside_a_logout_does_not_stay(alice: Any, first: str) -> None:
    """Both orders: the one that comes second waits for the login's row while the first has not committed."""
    evidence = Evidence(user=alice, stamp=b"s" * 32)
    both = {
        "enter": lambda: entering.enter(Wish(nonce=new_nonce()), evidence),
        "logout": lambda: logins.end_login(b"s" * 32, alice, "logged_out"),
    }
    second = "logout" if first == "enter" else "enter"
    # The login is known already: making its row would be a lock too.
    both["enter"]()
    has_locked, may_commit = threading.Event(), threading.Event()

    def hold(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        found = execute(sql, params, many, context)
        if "session_mgmt_login" in sql and sql.startswith("SELECT") and not has_locked.is_set():
            has_locked.set()
            may_commit.wait(10)
        return found

    def run_first() -> Any:
        try:
            with connection.execute_wrapper(hold):
                return both[first]()
        finally:
            connection.close()

    def run_second() -> Any:
        try:
            return both[second]()
        except LoginEnded as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(run_first)
        assert has_locked.wait(10)
        two = pool.submit(run_second)
        if connection.vendor == "postgresql":
            wait_for_a_lock()
        may_commit.set()
        one.result(15), two.result(15)
    assert count_live() == 0
    with pytest.raises(LoginEnded):
        both["enter"]()


@pytest.mark.requirement("NIST 63B logout")
def test_s16_a_cookie_replayed_after_the_logout_makes_nothing(browser: Browser, settings: Any) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    browser.log_in("ann")
    browser.enter()
    cookie = browser.http.cookies[django_settings.SESSION_COOKIE_NAME].value
    browser.log_out()
    thief = Browser()
    thief.http.cookies[django_settings.SESSION_COOKIE_NAME] = cookie
    assert Caller(thief.http).get("login/").json()["user_id"] is not None
    assert thief.enter()["name"] == "login_ended"
    assert refused(Caller(thief.http).post("sessions/", {}), "login_ended", 401)
    assert count_live() == 0


def test_s18_a_real_login_after_an_ended_one_has_a_new_stamp(browser: Browser) -> None:
    browser.log_in("ann")
    browser.enter()
    row = Login.objects.get()
    logins.end_login(bytes(row.digest), None, "ended")
    assert browser.enter()["name"] == "login_ended"
    browser.log_in("ann")
    assert browser.enter()["verdict"] == "created"
    assert Login.objects.count() == 2


@pytest.mark.parametrize("cookie", ["kept", "gone"])
def test_s19_a_login_that_is_gone_is_found_at_the_due_refresh(browser: Browser, anonymous: None, cookie: str) -> None:
    browser.log_in("ann")
    first = browser.enter()
    assert 3590 < first["login_due_in"] <= 3600
    token = browser.refresh().json()["refresh"]
    if cookie == "kept":
        Session.objects.all().delete()
    else:
        browser.http.cookies.clear()
    browser.kept = {"session": first["session"]["session_id"], "token": token}
    pass_time(minutes=61)
    assert refused(browser.refresh(), "login_check", 401)
    assert browser.enter()["name"] == "login_missing"
    # Another tab asks at the same moment, and that is no second time.
    assert browser.other_tab().enter()["name"] == "login_missing"
    pass_time(seconds=3)
    session = browser.row()
    found = browser.enter()
    session.refresh_from_db()
    assert (found["verdict"], found["reason"], found["user_id"]) == ("created", "login_gone", None)
    assert (session.state, session.end_reason) == ("expired", "login_gone")
    browser.previous = str(session.pk)
    pass_time(seconds=1)
    browser.log_in("ann")
    again = browser.enter()
    assert (again["verdict"], again["receipt"]["recovered_from"]) == ("recovered", str(session.pk))


def test_s19_the_next_person_recovers_nothing(browser: Browser, anonymous: None) -> None:
    browser.log_in("ann")
    first = browser.enter()
    browser.http.cookies.clear()
    browser.enter()
    pass_time(seconds=3)
    browser.enter()
    browser.previous = first["session"]["session_id"]
    browser.log_in("ben")
    found = browser.enter()
    assert (found["verdict"], found["receipt"]) == ("claimed", None)
    assert found["session"]["session_id"] != first["session"]["session_id"]


def test_s20_without_following_the_login_a_session_goes_on_and_logout_still_ends_it(
    browser: Browser, settings: Any
) -> None:
    settings.SESSION_MGMT = {"FOLLOW_LOGIN": False}
    browser.log_in("ann")
    first = browser.enter()
    assert first["login_due_in"] is None
    cookies = browser.http.cookies.copy()
    browser.http.cookies.clear()
    pass_time(hours=5)
    answer = browser.refresh()
    assert answer.status_code == 200
    browser.kept = {"session": first["session"]["session_id"], "token": answer.json()["refresh"]}
    assert browser.enter()["verdict"] == "continued"
    browser.http.cookies.update(cookies)
    browser.log_out()
    assert browser.row().end_reason == "logged_out"


def test_s29_the_real_browser_goes_on_by_its_login_after_a_token_was_copied(browser: Browser) -> None:
    browser.log_in("ann")
    first = browser.enter()
    assert browser.refresh().status_code == 200
    pass_time(minutes=1)
    thief = Browser()
    thief.kept = {"session": first["session"]["session_id"], "token": first["refresh"]}
    assert refused(thief.refresh(), "invalid_token", 401)
    assert (browser.row().state, browser.row().auth_version) == ("active", 2)
    again = browser.enter()
    assert (again["verdict"], again["session"]["session_id"]) == ("continued", first["session"]["session_id"])
    assert browser.refresh().status_code == 200


def test_s32_a_stolen_pair_without_the_cookie_is_dead_in_an_hour(browser: Browser) -> None:
    browser.log_in("ann")
    browser.enter()
    thief = Browser()
    thief.kept = browser.kept
    for _ in range(5):
        pass_time(minutes=12)
        answer = thief.refresh()
        if answer.status_code != 200:
            break
        assert thief.kept is not None
        thief.kept = {**thief.kept, "token": answer.json()["refresh"]}
    assert refused(thief.refresh(), "login_check", 401)
    assert thief.enter()["name"] == "login_missing"


def test_s33_after_a_long_sleep_all_tabs_recover_one_session_with_one_pair(browser: Browser) -> None:
    browser.log_in("ann")
    browser.enter()
    pass_time(hours=25)
    found = [tab.enter() for tab in [browser.other_tab() for _ in range(8)]]
    assert {one["verdict"] for one in found} == {"recovered"}
    assert len({one["session"]["session_id"] for one in found}) == 1
    assert len({one["refresh"] for one in found}) == 1
    assert count_live() == 1


@pytest.mark.requirement("ASVS 7.3.2")
@pytest.mark.sqlite
def test_s34_recovering_for_ever_ends_at_the_first_absolute_deadline(browser: Browser, anonymous: None) -> None:
    first = browser.enter()
    deadline = SessionActivity.objects.get(session=first["session"]["session_id"]).absolute_deadline
    verdicts = []
    for _ in range(32):
        pass_time(hours=25)
        deadline -= timedelta(hours=25)
        verdicts.append(browser.enter()["verdict"])
        if verdicts[-1] == "created":
            break
        assert browser.row().activity.absolute_deadline == deadline
    assert verdicts == ["recovered"] * 28 + ["created"]


def test_s34_a_successor_keeps_the_time_of_the_login(browser: Browser) -> None:
    browser.log_in("ann")
    browser.enter()
    pass_time(hours=25)
    auth_time = browser.row().auth_time
    assert browser.enter()["verdict"] == "recovered"
    assert auth_time is not None
    assert browser.row().auth_time == auth_time


def test_s35_an_access_token_another_person_and_a_logout_recover_nothing(browser: Browser, anonymous: None) -> None:
    first = browser.enter()
    pass_time(hours=25)
    mine = Caller(browser.http, first["access"], first["session"]["session_id"])
    assert refused(mine.post("sessions/{id}/recover/"), "invalid_token", 401)
    browser.log_in("ann")
    second = browser.enter()
    assert second["verdict"] == "created"
    pass_time(hours=25)
    browser.log_out()
    for name in ("ben", "ann"):
        browser.kept = {"session": second["session"]["session_id"], "token": second["refresh"]}
        browser.log_in(name)
        assert browser.enter()["verdict"] == "created", name


def test_s44_a_page_made_for_somebody_else_is_refused_before_anything_is_decided(browser: Browser) -> None:
    browser.log_in("ann")
    mine = str(browser.enter()["user_id"])
    browser.log_in("ben")
    assert browser.enter(user=mine)["name"] == "login_mismatch"
    assert browser.enter(user=None)["name"] == "login_mismatch"
    assert ClientSession.objects.count() == 1


@pytest.mark.parametrize("option", [{"CSRF_USE_SESSIONS": True}, {"CSRF_COOKIE_HTTPONLY": True}])
def test_s47_enter_works_with_a_csrf_token_from_the_login_call(
    browser: Browser, settings: Any, option: dict[str, bool]
) -> None:
    for name, value in option.items():
        setattr(settings, name, value)
    browser.log_in("ann")
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = browser.http.cookies
    page = Caller(strict)
    body = {"nonce": new_nonce()}
    assert refused(page.post("sessions/enter/", body), "permission_denied", 403)
    csrf = page.get("login/").json()["csrf"]
    assert page.post("sessions/enter/", body, X_CSRFToken=csrf).status_code == 200


def test_s48_a_fault_of_ours_stops_neither_a_login_nor_a_logout(
    browser: Browser, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    browser.log_in("ann")
    browser.enter()

    def fail(*_: Any, **__: Any) -> Any:
        with connection.cursor() as cursor:
            cursor.execute("SELECT nothing FROM nowhere")

    monkeypatch.setattr(logins.clock, "read", fail)
    browser.log_out()
    assert SESSION_KEY not in browser.http.session
    browser.log_in("ben")
    assert [record.name for record in caplog.records].count("session_mgmt.actions.sessions.logins") == 2
    monkeypatch.undo()
    assert browser.row().state == "active"
    assert browser.enter()["reason"] == "login_changed"


@pytest.mark.requirement("ASVS 7.6.2")
def test_s49_a_visit_of_nobody_makes_no_django_session(browser: Browser, anonymous: None) -> None:
    assert Caller(browser.http).get("login/").json()["user_id"] is None
    assert browser.enter()["verdict"] == "created"
    browser.refresh()
    assert not Session.objects.exists()
    assert django_settings.SESSION_COOKIE_NAME not in browser.http.cookies


def test_s50_a_request_that_is_nobodys_for_a_moment_ends_nothing(browser: Browser) -> None:
    browser.log_in("ann")
    browser.enter()
    cookies = browser.http.cookies.copy()
    browser.http.cookies.clear()
    assert browser.enter()["name"] == "login_missing"
    browser.http.cookies.update(cookies)
    assert browser.enter()["verdict"] == "continued"
    assert browser.row().login_missing_at is None


def test_s51_a_lost_answer_is_given_again(browser: Browser, anonymous: None) -> None:
    for name in (None, "ann"):
        if name is not None:
            browser.log_in(name)
            browser.kept = None
        for verdict in ("created", "recovered"):
            kept, nonce = browser.kept, new_nonce()
            first = browser.enter(nonce)
            browser.kept = kept
            again = browser.enter(nonce)
            names = ("verdict", "access", "refresh", "user_id")
            assert first["verdict"] == verdict
            assert [again[name] for name in names] == [first[name] for name in names]
            assert again["session"]["session_id"] == first["session"]["session_id"]
            browser.keep(again)
            pass_time(hours=25)
            if verdict == "created":
                assert browser.row().state == "active"


def test_s51_a_nonce_of_somebody_else_is_refused(browser: Browser) -> None:
    nonce, other = new_nonce(), Browser()
    browser.log_in("ann")
    browser.enter(nonce)
    other.log_in("ben")
    assert other.enter(nonce)["name"] == "invalid_field"


def test_a_token_without_a_pair_is_a_proof_once(browser: Browser) -> None:
    browser.log_in("ann")
    made = Caller(browser.http).post("sessions/", {}).json()
    browser.kept = {"session": made["session"]["session_id"], "token": made["token"]}
    nonce = new_nonce()
    first = browser.enter(nonce)
    assert (first["verdict"], first["session"]["session_id"]) == ("continued", made["session"]["session_id"])
    browser.kept = {"session": made["session"]["session_id"], "token": made["token"]}
    assert browser.enter(nonce)["refresh"] == first["refresh"]
    assert refused(Caller(Client(), made["token"]).get("sessions/"), "invalid_token", 401)


def test_a_login_from_before_the_stamp_is_linked_by_its_cookie(browser: Browser) -> None:
    browser.log_in("ann")
    session = browser.http.session
    del session[stamps.NAME]
    session.save()
    browser.enter()
    assert browser.row().login is not None
    assert browser.row().auth_time is None
    browser.log_out()
    assert browser.row().end_reason == "logged_out"


def test_the_end_of_the_session_that_was_kept_stands_where_no_new_one_can_be_made(
    browser: Browser, settings: Any
) -> None:
    browser.log_in("ann")
    browser.enter()
    ann = browser.row()
    Login.objects.update(cookie_digest=None)
    browser.log_in("ben")
    assert browser.enter(create={"config": {"idle_timeout": 1}})["name"] == "invalid_field"
    ann.refresh_from_db()
    assert ann.state == "terminated"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"nonce": "short"},
        {"kept": 1},
        {"kept": {}},
        {"kept": {"session": 1, "token": "a"}},
        {"previous": 1},
        {"user": 1},
        {"create": []},
        {"create": {"user": 1}},
        {"verdict": "claimed"},
    ],
)
def test_bad_input_has_a_documented_code(browser: Browser, body: dict[str, Any]) -> None:
    given = {"nonce": new_nonce(), **body} if body else {}
    assert refused(Caller(browser.http).post("sessions/enter/", given), "invalid_field", 400)


def test_a_session_of_a_deleted_user_and_her_logins_go_with_her(browser: Browser) -> None:
    browser.log_in("ann")
    browser.enter()
    user = browser.row().user
    assert user is not None
    user.delete()
    assert not Login.objects.exists() and not ClientSession.objects.exists()


def test_a_login_is_kept_while_a_session_hangs_on_it_or_its_cookie_may_be_replayed(browser: Browser) -> None:
    browser.log_in("ann")
    browser.enter()
    browser.log_out()
    for days, left in ((10, 1), (100, 1)):
        cleanup.run_cleanup(now=later(days=days))
        assert Login.objects.count() == left, days
    ClientSession.objects.all().delete()
    cleanup.run_cleanup(now=later(days=10))
    assert Login.objects.count() == 1
    assert cleanup.run_cleanup(now=later(days=31)).logins == 1
