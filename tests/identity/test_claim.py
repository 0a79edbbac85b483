"""Claim: what a visitor did is the user's after the login, and all that proved the visitor's session is void."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from session_mgmt.actions.sessions import carrying, claiming, controls, entering, lifecycle
from session_mgmt.actions.sessions.entries import Wish
from session_mgmt.actions.sessions.stamps import Evidence
from session_mgmt.exceptions import Busy, InvalidToken, SessionLimit
from session_mgmt.models import (
    AuditEntry,
    Client,
    ClientSession,
    SessionActivity,
    SessionEvent,
    StateDocument,
    Subscription,
    Token,
)
from session_mgmt.protocol.codes import Close
from session_mgmt.registry import on_claim, registry
from session_mgmt.shortcuts import state
from tests.api.calls import Caller, refused
from tests.away import raise_away
from tests.identity.browser import Browser
from tests.identity.conftest import later, make_pair, new_nonce, refresh, refresh_of, run_together
from tests.identity.test_enter import count_live, pass_time

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("on_this_thread", "visitors", "no_merging")]


def let_in(settings: Any, **more: Any) -> None:
    settings.SESSION_MGMT = {"ANONYMOUS_SESSIONS": True, **more}


@pytest.fixture
def visitors(settings: Any) -> None:
    let_in(settings)


@pytest.fixture
def no_merging() -> Iterator[None]:
    before = registry.claim_handlers.copy()
    registry.claim_handlers.clear()
    yield
    registry.claim_handlers.clear()
    registry.claim_handlers.update(before)


@pytest.fixture
def browser() -> Browser:
    return Browser()


def fill(session: Any, name: str = "cart", **content: Any) -> None:
    state.update(session, content, name=name)


def read(session: Any, name: str = "cart") -> Any:
    return state.get(session, name=name)


def enter_as(browser: Browser, name: str, **more: Any) -> Any:
    browser.log_in(name)
    return browser.enter(**more)


def test_s03_a_visitors_cart_is_the_users_after_the_login_in_both_tabs(browser: Browser) -> None:
    first = browser.enter()
    visitor = browser.row()
    client = Client.objects.create(session=visitor, last_seq=7, generation=3, created_at=visitor.created_at)
    fill(visitor, items=[1])
    tab = browser.other_tab()
    found = enter_as(browser, "ann")
    row = browser.row()
    assert (found["verdict"], found["session"]["session_id"]) == ("claimed", first["session"]["session_id"])
    assert found["user_id"] == found["session"]["user_id"] == str(row.user_id)
    assert (read(row), row.auth_version, row.login is not None) == ({"items": [1]}, 2, True)
    assert row.claimed_at is not None and row.auth_fingerprint is not None
    second = tab.enter()
    assert (second["verdict"], second["refresh"]) == ("continued", found["refresh"])
    assert Token.objects.filter(session=row, auth_version=2).values("family").distinct().count() == 1
    entry = AuditEntry.objects.get(action="session_claimed", session=row.pk)
    assert (entry.actor_id, entry.ip, entry.data) == (row.user_id, "127.0.0.1", {})
    event = SessionEvent.objects.get(session=row, type="auth_success")
    assert bytes(event.data) == b'{"user_id":"%d","claimed":true}' % row.user_id
    client.refresh_from_db()
    # Fenced, and with the number at which it goes on: an offline tab delivers as itself (s06).
    assert (client.generation, client.last_seq) == (4, 7)


@pytest.mark.django_db(transaction=True)
def test_s04_two_tabs_that_claim_at_once_are_given_one_pair(alice: Any) -> None:
    visitor = make_pair()
    evidence = Evidence(user=alice, stamp=b"s" * 32)
    wish = {"kept": visitor.session.pk, "token": refresh_of(visitor)}
    found = run_together(2, lambda _: entering.enter(Wish(nonce=new_nonce(), **wish), evidence))
    assert sorted(one.verdict for one in found) == ["claimed", "continued"]
    assert found[0].pair == found[1].pair


@pytest.mark.django_db(transaction=True)
def test_s04_of_two_users_who_claim_at_once_one_gets_the_session(alice: Any, bob: Any) -> None:
    visitor = make_pair()
    wish = {"kept": visitor.session.pk, "token": refresh_of(visitor)}
    people = [alice, bob]
    found = run_together(2, lambda n: entering.enter(Wish(nonce=new_nonce(), **wish), Evidence(user=people[n])))
    assert sorted(one.verdict for one in found) == ["claimed", "created"]
    assert {one.session.user_id for one in found} == {alice.pk, bob.pk}


def test_s04_tabs_that_enter_by_their_login_alone_void_nothing_of_each_other(browser: Browser) -> None:
    enter_as(browser, "ann")
    assert browser.kept is not None
    browser.kept["token"] = "smr_lost"
    tab = browser.other_tab()
    tab.kept = dict(browser.kept)
    first, second = browser.enter(), tab.enter()
    assert first["refresh"] == second["refresh"] is not None
    assert browser.refresh().status_code == 200
    # It has been exchanged since, so whoever comes with nothing gets tokens of her own.
    tab.kept = {**tab.kept, "token": "smr_lost"}
    assert tab.enter()["refresh"] not in (None, first["refresh"])


def test_s05_a_write_in_flight_meets_a_raised_generation_and_is_told_to_come_back(browser: Browser) -> None:
    browser.enter()
    visitor = browser.row()
    client = Client.objects.create(session=visitor, generation=1, created_at=visitor.created_at)
    enter_as(browser, "ann")
    control = controls.read_controls([visitor.pk])[visitor.pk]
    # Reconnect, and not "replaced", which would stop the tab.
    assert control.judge_connection(1) is Close.LOGIN_CHECK
    client.refresh_from_db()
    assert client.generation == 2


def test_s08_whoever_planted_the_session_holds_nothing_and_does_no_harm(browser: Browser) -> None:
    planter = Browser()
    planted = planter.enter()
    browser.kept = dict(planter.kept or {})
    found = enter_as(browser, "victim")
    assert found["verdict"] == "claimed"
    assert refused(planter.refresh(), "invalid_token", 401)
    old = Caller(planter.http, planted["access"], planted["session"]["session_id"])
    assert refused(old.get("sessions/{id}/"), "invalid_token", 401)
    again = planter.enter()
    assert (again["verdict"], again["user_id"]) == ("created", None)
    planter.kept = {"session": planted["session"]["session_id"], "token": planted["refresh"]}
    assert enter_as(planter, "mallory")["verdict"] == "created"
    assert browser.refresh().status_code == 200
    assert browser.row().state == "active"


def test_s09_fresh_ends_what_the_visitor_had(browser: Browser, settings: Any) -> None:
    let_in(settings, ON_LOGIN="fresh")
    browser.enter()
    visitor = browser.row()
    found = enter_as(browser, "ann", choice="claim")
    visitor.refresh_from_db()
    assert (found["verdict"], found["reason"], visitor.end_reason) == ("created", "not_claimed", "not_claimed")


@pytest.mark.parametrize(("choice", "verdict"), [("claim", "claimed"), ("fresh", "created")])
def test_s09_ask_changes_nothing_until_the_visitor_has_chosen(
    browser: Browser, settings: Any, choice: str, verdict: str
) -> None:
    let_in(settings, ON_LOGIN="ask")
    browser.enter()
    visitor = browser.row()
    fill(visitor, items=[1])
    nonce = new_nonce()
    asked = enter_as(browser, "ann", nonce=nonce)
    assert (asked["verdict"], asked["access"], asked["session"]["user_id"]) == ("ask", None, None)
    assert asked["documents"] == [{"name": "cart", "version": 1}]
    visitor.refresh_from_db()
    assert (visitor.state, visitor.user_id, visitor.auth_version) == ("active", None, 1)
    assert browser.enter(nonce=nonce, choice=choice)["verdict"] == verdict


@pytest.mark.parametrize("answer", [False, None, "error"])
def test_s09_without_consent_of_the_project_a_visitor_starts_afresh(
    browser: Browser, settings: Any, answer: Any
) -> None:
    asked = []

    def may_claim(session: Any, user: Any, request: Any) -> Any:
        asked.append((session.user_id, user.username, request.path))
        if answer == "error":
            raise ValueError("no")
        return answer

    let_in(settings, MAY_CLAIM=may_claim)
    browser.enter()
    found = enter_as(browser, "ann")
    assert (found["verdict"], found["reason"]) == ("created", "not_claimed")
    assert [one[:2] for one in asked] == [(None, "ann")]


def test_s09_an_old_visit_is_not_claimed_and_a_stranger_is_not_asked_about(browser: Browser, settings: Any) -> None:
    let_in(settings, CLAIM_WITHIN=timedelta(hours=1))
    browser.enter()
    pass_time(hours=2)
    assert enter_as(browser, "ann")["reason"] == "not_claimed"


def test_s10_a_hook_merges_with_the_session_before_and_again_if_the_base_moves(browser: Browser) -> None:
    calls = []

    @on_claim("cart")
    def merge(visitor: Any, users: Any, *, user: Any) -> Any:
        calls.append((visitor, users, user.username))
        if len(calls) == 1:
            fill(visiting, items=[1, 2])
        return {"items": [*(users or {"items": []})["items"], *visitor["items"]]}

    enter_as(browser, "ann")
    before = browser.row()
    fill(before, items=[9])
    fill(before, "notes", text="old")
    entering.ending.end_session("default", before.pk, ClientSession.State.EXPIRED, "login_gone", before.created_at)
    browser.http.cookies.clear()
    browser.kept = None
    browser.enter()
    visiting = browser.row()
    fill(visiting, items=[1])
    browser.previous = str(before.pk)
    assert enter_as(browser, "ann")["verdict"] == "claimed"
    assert calls == [({"items": [1]}, {"items": [9]}, "ann"), ({"items": [1, 2]}, {"items": [9]}, "ann")]
    assert (read(visiting), read(visiting, "notes")) == ({"items": [9, 1, 2]}, {"text": "old"})
    assert StateDocument.objects.get(session=visiting, name="cart").version == 3


def test_s10_a_base_that_never_rests_refuses_the_claim_and_changes_nothing(browser: Browser) -> None:
    @on_claim("cart")
    def merge(visitor: Any, users: Any, *, user: Any) -> Any:
        fill(visiting, n=visitor["n"] + 1)
        return {"n": -1}

    browser.enter()
    visiting = browser.row()
    fill(visiting, n=0)
    assert enter_as(browser, "ann")["name"] == Busy().name
    assert (read(visiting), browser.row().user_id) == ({"n": 3}, None)


@pytest.mark.parametrize("answer", ["error", None, {1: object()}])
def test_a_hook_that_fails_leaves_the_visitors_document(browser: Browser, answer: Any) -> None:
    @on_claim("cart")
    def merge(visitor: Any, users: Any, *, user: Any) -> Any:
        visitor["items"].append("spoilt")
        if answer == "error":
            raise ValueError("no")
        return answer

    browser.enter()
    fill(browser.row(), items=[1])
    assert enter_as(browser, "ann")["verdict"] == "claimed"
    assert read(browser.row()) == {"items": [1]}


@pytest.mark.parametrize("hook", ["merge", "may_claim"])
def test_a_claim_whose_hook_meets_an_outage_is_refused_for_now_and_changes_nothing(
    browser: Browser, settings: Any, hook: str
) -> None:
    answers = iter([raise_away, lambda: True])

    @on_claim("cart")
    def merge(visitor: Any, users: Any, *, user: Any) -> Any:
        return {"items": ["merged"]} if hook != "merge" or next(answers)() else None

    let_in(settings, MAY_CLAIM=lambda *_: hook != "may_claim" or next(answers)())
    browser.enter()
    visiting = browser.row()
    fill(visiting, items=[1])
    assert enter_as(browser, "ann")["name"] == "unavailable"
    assert (read(visiting), browser.row().user_id) == ({"items": [1]}, None)
    assert enter_as(browser, "ann")["verdict"] == "claimed"
    assert read(visiting) == {"items": ["merged"]}


def test_s11_a_document_marked_drop_is_empty_after_the_claim(browser: Browser, settings: Any) -> None:
    let_in(settings, DOCUMENTS={"address": {"claim": "drop"}})
    browser.enter()
    fill(browser.row(), "address", street="planted")
    fill(browser.row(), items=[1])
    assert enter_as(browser, "ann")["verdict"] == "claimed"
    assert (read(browser.row(), "address"), read(browser.row())) == ({}, {"items": [1]})


@pytest.mark.parametrize("policy", ["reject", "evict_idle"])
def test_s12_a_claim_at_the_limit_of_sessions(browser: Browser, settings: Any, policy: str) -> None:
    let_in(settings, MAX_SESSIONS_PER_USER=1, SESSION_LIMIT_POLICY=policy)
    other = Browser()
    enter_as(other, "ann")
    browser.enter()
    visitor = browser.row()
    found = enter_as(browser, "ann")
    visitor.refresh_from_db()
    if policy == "reject":
        assert found["name"] == SessionLimit(limit=1).name
        assert (visitor.user_id, visitor.auth_version, visitor.state) == (None, 1, "active")
    else:
        assert (found["verdict"], other.row().end_reason) == ("claimed", "session_limit")
    assert ClientSession.objects.filter(user__username="ann", state="active").count() == 1


@pytest.mark.django_db(transaction=True)
def test_s12_two_logins_that_end_each_others_sessions_do_not_wait_for_ever(alice: Any, settings: Any) -> None:
    let_in(settings, MAX_SESSIONS_PER_USER=1)
    mine = [make_pair(alice), make_pair(alice)]
    for _ in range(5):
        found = run_together(2, lambda n: entering.enter(Wish(nonce=new_nonce()), Evidence(user=alice)))
        assert {one.verdict for one in found} == {"created"}, found
    lifecycle.create_session(user=alice)
    assert count_live() == 1, mine


def test_s17_after_a_logout_the_tabs_get_a_new_and_empty_session(browser: Browser, settings: Any) -> None:
    let_in(settings, ON_LOGOUT="anonymous")
    browser.enter()
    fill(browser.row(), items=[1])
    Subscription.objects.create(session=browser.row(), topic="room:1", created_at=browser.row().created_at)
    first = enter_as(browser, "ann")
    user_id = browser.row().user_id
    browser.log_out()
    found = browser.enter()
    assert (found["verdict"], found["user_id"], found["on_logout"]) == ("created", None, "anonymous")
    assert found["session"]["session_id"] != first["session"]["session_id"]
    assert state.documents(browser.row()) == [] and not Subscription.objects.filter(session=browser.row()).exists()
    assert ClientSession.objects.get(pk=first["session"]["session_id"]).user_id == user_id


@pytest.mark.usefixtures("declared")
def test_topics_are_asked_again_for_the_user_and_those_denied_are_gone(browser: Browser) -> None:
    browser.enter()
    row = browser.row()
    for topic in ("room:1", "room:secret"):
        Subscription.objects.create(session=row, topic=topic, created_at=row.created_at)
    enter_as(browser, "ann")
    assert list(Subscription.objects.filter(session=row).values_list("topic", flat=True)) == ["room:1"]


@pytest.mark.django_db(transaction=True)
def test_s31_a_refresh_beside_a_claim_gives_nothing_that_counts(alice: Any) -> None:
    for _ in range(4):
        visitor = make_pair()
        secret = refresh_of(visitor)
        wish = Wish(nonce=new_nonce(), kept=visitor.session.pk, token=secret)

        def act(n: int, wish: Wish = wish, secret: str = secret) -> Any:
            return entering.enter(wish, Evidence(user=alice, stamp=b"s" * 32)) if n else refresh(secret)

        rotated, entered = run_together(2, act)
        assert entered.verdict in ("claimed", "created"), entered
        if entered.verdict == "claimed" and not isinstance(rotated, InvalidToken):
            with pytest.raises(InvalidToken):
                refresh(rotated.pair.refresh.secret)


@pytest.mark.parametrize("is_expired", [False, True])
def test_s51_a_lost_answer_to_a_claim_is_given_again(browser: Browser, settings: Any, is_expired: bool) -> None:
    let_in(settings, CLAIM_WITHIN=timedelta(days=3))
    first = browser.enter()
    fill(browser.row(), items=[1])
    if is_expired:
        pass_time(hours=25)
    browser.log_in("ann")
    kept, nonce = browser.kept, new_nonce()
    found = browser.enter(nonce)
    browser.kept = kept
    again = browser.enter(nonce)
    names = ("verdict", "access", "refresh", "user_id")
    assert found["verdict"] == "claimed"
    assert [again[name] for name in names] == [found[name] for name in names]
    assert again["session"]["session_id"] == found["session"]["session_id"]
    assert (found["session"]["session_id"] != first["session"]["session_id"]) is is_expired
    assert read(browser.row()) == {"items": [1]}
    assert count_live() == 1


def test_a_claimed_sessions_deadline_counts_from_the_login(browser: Browser) -> None:
    browser.enter()
    pass_time(hours=20)
    enter_as(browser, "ann")
    row, activity = browser.row(), SessionActivity.objects.get(session=browser.row())
    assert row.auth_time is not None
    assert (activity.absolute_deadline - row.auth_time).total_seconds() == 30 * 86400


@pytest.mark.usefixtures("declared")
def test_a_claim_takes_the_same_queries_whatever_the_session_holds(alice: Any) -> None:
    counts = set()
    for number in (1, 5):
        visitor = make_pair()
        for n in range(number):
            fill(visitor.session, f"doc{n}", n=n)
            Client.objects.create(session=visitor.session, created_at=visitor.session.created_at)
            Subscription.objects.create(
                session=visitor.session, topic=f"room:{n}", created_at=visitor.session.created_at
            )
        wish = Wish(nonce=new_nonce(), kept=visitor.session.pk, token=refresh_of(visitor))
        with CaptureQueriesContext(
            connection,
        ) as seen:
            assert entering.enter(wish, Evidence(user=alice)).verdict == "claimed"
        counts.add(len([query for query in seen.captured_queries if "SAVEPOINT" not in query["sql"]]))
    assert len(counts) == 1, counts


def make_wish(visitor: Any) -> Wish:
    return Wish(nonce=new_nonce(), kept=visitor.session.pk, token=refresh_of(visitor))


def test_s09_a_visitor_of_another_tenant_is_left_alone_or_starts_afresh(alice: Any) -> None:
    visitor = make_pair(tenant="a")
    found = entering.enter(make_wish(visitor), Evidence(user=alice, tenant="b"))
    visitor.session.refresh_from_db()
    assert (found.verdict, found.session.tenant, visitor.session.user_id) == ("created", "b", None)
    assert visitor.session.end_reason == "login_changed"
    asking = claiming.Asking(Evidence(user=alice, tenant="b"))
    assert claiming.make_plan("default", visitor.session, asking, later()).answer == claiming.FRESH
    same = make_pair(tenant="a")
    assert entering.enter(make_wish(same), Evidence(user=alice, tenant="a")).verdict == "claimed"


def test_s09_whoever_acts_for_a_user_claims_nothing(alice: Any) -> None:
    visitor = make_pair()
    found = entering.enter(make_wish(visitor), Evidence(user=alice, acting="staff"))
    visitor.session.refresh_from_db()
    assert (found.verdict, found.reason, visitor.session.user_id) == ("created", "not_claimed", None)


@pytest.mark.parametrize("change", ["user", "auth_version"])
def test_s04_a_session_that_is_not_as_it_was_planned_is_not_claimed(alice: Any, bob: Any, change: str) -> None:
    """Even by somebody who has taken no lock."""
    visitor = make_pair()
    evidence, now = Evidence(user=alice), later()
    plan = claiming.make_plan("default", visitor.session, claiming.Asking(evidence), now)
    moved: dict[str, Any] = {"user": bob} if change == "user" else {"auth_version": 7}
    ClientSession.objects.filter(pk=visitor.session.pk).update(**moved)
    with pytest.raises(carrying.Moved):
        claiming.claim_session("default", visitor.session, plan, evidence, None, b"n" * 32, now)
    visitor.session.refresh_from_db()
    assert (visitor.session.user_id, visitor.session.claimed_at) == (bob.pk if change == "user" else None, None)
