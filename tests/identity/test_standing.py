"""Sessions are bound to their users' credentials and standing, at every use of a token."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser

from session_mgmt.actions.access import CHANGE, SEE, Actor
from session_mgmt.actions.sessions import fingerprints, lifecycle, recovery, standing, tokens
from session_mgmt.exceptions import InvalidToken, LoginCheck, SessionNotFound, SessionTerminated
from session_mgmt.models import ClientSession, SessionActivity, clock
from session_mgmt.protocol.frames import Connect
from tests.api.calls import Caller
from tests.attaching import attach_client
from tests.identity.browser import Browser
from tests.identity.conftest import later, make_pair, refresh, refresh_of
from tests.identity.test_enter import pass_time

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("on_this_thread")]


@pytest.fixture
def browser() -> Browser:
    return Browser()


def ann() -> Any:
    return get_user_model().objects.get(username="ann")


def change_password(browser: Browser) -> None:
    """Change the password on the admin's page, which keeps this browser logged in."""
    new = {"old_password": "a password", "new_password1": "another word 1", "new_password2": "another word 1"}
    assert browser.http.post("/admin/password_change/", new).status_code == 302


def end_of(browser: Browser) -> tuple[str, str]:
    row = browser.row()
    return row.state, row.end_reason


def test_s21_every_tab_of_the_browser_that_changed_its_password_comes_back_by_entering(browser: Browser) -> None:
    browser.log_in("ann")
    first = browser.enter()
    tabs = [browser.other_tab() for _ in range(3)]
    access = Caller(browser.http, token=first["access"])
    change_password(browser)
    assert access.get(f"sessions/{browser.row().pk}/").json()["name"] == "login_check"
    assert browser.refresh().json()["name"] == "login_check"
    answers = [tab.enter() for tab in tabs]
    assert [answer["verdict"] for answer in answers] == ["continued"] * 3
    assert len({answer["session"]["session_id"] for answer in [first, *answers]}) == 1
    assert Caller(browser.http, token=answers[-1]["access"]).get(f"sessions/{tabs[-1].row().pk}/").status_code == 200
    # The tokens of before stay void, or a copy of them would outlive the change.
    assert access.get(f"sessions/{browser.row().pk}/").json()["name"] == "invalid_token"


@pytest.mark.requirement("ASVS 7.4.3")
def test_s22_a_password_changed_elsewhere_ends_a_browser_that_django_has_logged_out(browser: Browser) -> None:
    elsewhere = Browser()
    for each in (browser, elsewhere):
        each.log_in("ann")
        each.enter()
    change_password(elsewhere)
    assert elsewhere.enter()["verdict"] == "continued"
    assert browser.refresh().json()["name"] == "login_check"
    assert browser.enter()["name"] == "login_missing"
    pass_time(seconds=3)
    assert browser.enter()["name"] == "auth_required"
    assert end_of(browser) == ("expired", "login_gone")


def test_s22_a_bulk_update_of_the_password_refuses_every_token_at_once(browser: Browser) -> None:
    browser.log_in("ann")
    access = browser.enter()["access"]
    get_user_model().objects.filter(username="ann").update(password="!nobody knows it")
    answer = Caller(browser.http, token=access).get(f"sessions/{browser.row().pk}/")
    assert (answer.status_code, answer.json()["name"]) == (401, "login_check")
    with pytest.raises(LoginCheck):
        attach_client(Connect(access, None, 0, {}, ""), server="here")


def test_s22_the_deadline_is_ten_minutes_until_the_login_is_proved(browser: Browser) -> None:
    browser.log_in("ann")
    browser.enter()
    before = browser.row().activity.expires_at
    change_password(browser)
    standing.settle_sessions([browser.row().pk])
    soon = browser.row().activity.expires_at
    assert soon <= later(minutes=10) < before
    # Activity that was on its way is no proof.
    assert lifecycle.count_activity([browser.row().pk]) == {browser.row().pk}
    assert browser.row().activity.expires_at == soon
    # Nor is the work of an administrator.
    lifecycle.update_session(Actor(permissions=frozenset([SEE, CHANGE])), browser.row().pk, label="phone")
    assert browser.row().activity.expires_at == soon
    assert browser.enter()["verdict"] == "continued"
    assert browser.row().activity.expires_at == before
    lifecycle.count_activity([browser.row().pk])
    assert browser.row().activity.expires_at > before


def test_s22_a_browser_that_slept_for_longer_recovers_by_its_login_and_not_by_its_token(browser: Browser) -> None:
    browser.log_in("ann")
    browser.enter()
    alone = make_pair(ann())
    change_password(browser)
    SessionActivity.objects.update(expires_at=clock.read("default") - timedelta(minutes=1))
    stranger = Browser()
    stranger.kept = {"session": str(alone.session.pk), "token": refresh_of(alone)}
    assert stranger.enter()["name"] == "auth_required"
    assert browser.enter()["verdict"] == "recovered"


def test_s22_a_token_alone_recovers_nothing_of_other_credentials() -> None:
    user = get_user_model().objects.create_user("ann", password="a password")
    created = lifecycle.create_session(user=user)
    SessionActivity.objects.update(expires_at=clock.read("default") - timedelta(minutes=1))
    user.set_password("another")
    user.save()
    with pytest.raises(LoginCheck):
        recovery.recover_session(created.token.secret)


def test_s22_a_session_without_a_login_is_terminated_unless_it_was_bound_anew(alice: Any) -> None:
    here, there = make_pair(alice), make_pair(alice)
    alice.set_password("another")
    alice.save()
    standing.rebind_session(here.session.pk, alice)
    for created in (here, there):
        standing.settle_sessions([created.session.pk])
    assert refresh(refresh_of(here))
    there.session.refresh_from_db()
    assert (there.session.state, there.session.end_reason) == ("terminated", "credentials_changed")
    with pytest.raises(SessionTerminated):
        standing.rebind_session(there.session.pk, alice)


def test_only_the_user_of_a_session_binds_it_anew(alice: Any, bob: Any) -> None:
    created = make_pair(alice)
    with pytest.raises(SessionNotFound):
        standing.rebind_session(created.session.pk, bob)


def test_a_login_without_a_cookie_continues_nothing_of_other_credentials(alice: Any) -> None:
    """A login by a token of the project may be older than the new password."""
    from session_mgmt.actions.sessions import entering
    from session_mgmt.actions.sessions.entries import Wish
    from session_mgmt.actions.sessions.stamps import Evidence
    from tests.identity.conftest import new_nonce

    created = make_pair(alice)
    alice.set_password("another")
    alice.save()
    wish = Wish(new_nonce(), kept=created.session.pk, token=refresh_of(created))
    entered = entering.enter(wish, Evidence(user=alice))
    assert (entered.verdict, entered.reason) == ("created", "credentials_changed")
    created.session.refresh_from_db()
    assert created.session.state == "terminated"


def test_s23_an_unusable_password_set_again_counts_as_a_change(browser: Browser) -> None:
    browser.log_in("ann")
    browser.enter()
    user = ann()
    user.set_unusable_password()
    user.save()
    assert browser.refresh().json()["name"] == "login_check"


def test_s23_a_hash_that_is_upgraded_at_a_login_counts_as_a_change_elsewhere(browser: Browser, settings: Any) -> None:
    browser.log_in("ann")
    browser.enter()
    hashers = "django.contrib.auth.hashers."
    settings.PASSWORD_HASHERS = [hashers + "PBKDF2SHA1PasswordHasher", *settings.PASSWORD_HASHERS]
    elsewhere = Browser()
    assert elsewhere.http.login(username="ann", password="a password")
    assert ann().password.startswith("pbkdf2_sha1$")
    assert elsewhere.enter()["verdict"] == "created"
    # Django has logged this browser out as well.
    assert browser.refresh().json()["name"] == "login_check"
    assert browser.enter()["name"] == "login_missing"
    pass_time(seconds=3)
    assert browser.enter()["name"] == "auth_required"
    assert end_of(browser) == ("expired", "login_gone")
    assert elsewhere.refresh().status_code == 200


def test_s24_a_key_that_is_being_replaced_passes_and_the_next_refresh_binds_by_the_new_one(
    alice: Any, settings: Any
) -> None:
    created = make_pair(alice)
    before, old = bytes(created.session.auth_fingerprint or b""), settings.SECRET_KEY
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another key, as long as the checks want it to be", [old]
    assert tokens.verify_token("default", created.token.secret, now=later()).pk == created.session.pk
    pair = refresh(refresh_of(created)).pair
    row = ClientSession.objects.get(pk=created.session.pk)
    assert bytes(row.auth_fingerprint or b"") not in (before, b"")
    settings.SECRET_KEY_FALLBACKS = []
    assert tokens.verify_token("default", pair.access.secret, now=later()).pk == created.session.pk


def test_s24_without_the_old_key_every_session_is_refused(alice: Any, settings: Any) -> None:
    created = make_pair(alice)
    settings.SECRET_KEY = "another key, as long as the checks want it to be"
    with pytest.raises(LoginCheck):
        tokens.verify_token("default", created.token.secret, now=later())
    with pytest.raises(LoginCheck):
        refresh(refresh_of(created))


def test_s25_whoever_is_deactivated_is_refused_and_a_deleted_users_session_is_gone(alice: Any, bob: Any) -> None:
    first, second = make_pair(alice), make_pair(bob)
    get_user_model().objects.filter(pk=alice.pk).update(is_active=False)
    with pytest.raises(InvalidToken):
        tokens.verify_token("default", first.token.secret, now=later())
    standing.settle_sessions([first.session.pk])
    first.session.refresh_from_db()
    assert (first.session.state, first.session.end_reason) == ("terminated", "user_deactivated")
    bob.delete()
    with pytest.raises(InvalidToken):
        tokens.verify_token("default", second.token.secret, now=later())
    standing.settle_sessions([second.session.pk])


def test_a_session_of_before_is_bound_when_it_is_attached_or_refreshed(alice: Any) -> None:
    attached, refreshed = make_pair(alice), make_pair(alice)
    ClientSession.objects.update(auth_fingerprint=None)
    attach_client(Connect(attached.token.secret, None, 0, {}, ""), server="here")
    refresh(refresh_of(refreshed))
    expected = fingerprints.make_fingerprint(alice)
    assert expected is not None
    assert [bytes(row or b"") for row in ClientSession.objects.values_list("auth_fingerprint", flat=True)] == [
        expected
    ] * 2


@pytest.mark.parametrize("standing_filter", [{"is_staff": False}, {"is_active": True, "groups__name": "members"}])
def test_the_project_says_who_stands_by_a_filter(alice: Any, settings: Any, standing_filter: dict[str, Any]) -> None:
    from django.contrib.auth.models import Group

    settings.SESSION_MGMT = {"USER_STANDING": standing_filter}
    alice.groups.add(Group.objects.create(name="members"))
    created = make_pair(alice)
    assert tokens.verify_token("default", created.token.secret, now=later())
    attach_client(Connect(created.token.secret, None, 0, {}, ""), server="here")
    alice.groups.clear()
    get_user_model().objects.update(is_staff=True)
    for use in (
        lambda: tokens.verify_token("default", created.token.secret, now=later()),
        lambda: refresh(refresh_of(created)),
        lambda: attach_client(Connect(created.token.secret, None, 0, {}, ""), server="here"),
    ):
        with pytest.raises(InvalidToken):
            use()
    # A column that does not count here.
    get_user_model().objects.update(is_staff=False, is_active=False)
    if "groups__name" not in standing_filter:
        assert tokens.verify_token("default", created.token.secret, now=later())


@pytest.fixture
def of_their_own(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A user model with a session hash of its own, which depends on the e-mail address too."""
    plain = AbstractBaseUser.get_session_auth_hash

    def hash_more(self: Any) -> str:
        return plain(self) + self.email

    monkeypatch.setattr(get_user_model(), "get_session_auth_hash", hash_more)
    fingerprints.is_of_password.cache_clear()
    yield
    monkeypatch.undo()
    fingerprints.is_of_password.cache_clear()


def test_a_hash_of_the_projects_own_is_asked(alice: Any, of_their_own: None) -> None:
    created = make_pair(alice)
    attach_client(Connect(created.token.secret, None, 0, {}, ""), server="here")
    get_user_model().objects.update(email="new@example.org")
    with pytest.raises(LoginCheck):
        tokens.verify_token("default", created.token.secret, now=later())
    with pytest.raises(LoginCheck):
        attach_client(Connect(created.token.secret, None, 0, {}, ""), server="here")


def test_a_successor_has_the_credentials_of_whoever_proved_them(browser: Browser) -> None:
    browser.log_in("ann")
    browser.enter()
    SessionActivity.objects.update(expires_at=clock.read("default") - timedelta(minutes=1))
    assert browser.enter()["verdict"] == "recovered"
    assert bytes(browser.row().auth_fingerprint or b"") == fingerprints.make_fingerprint(ann())
