"""Logins of other kinds than Django's form: tokens in a header, a proxy's user, somebody who acts, tenants, hosts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model, login
from django.http import HttpRequest
from django.test import Client
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView
from rest_framework_simplejwt.authentication import JWTAuthentication
from rest_framework_simplejwt.tokens import AccessToken

from session_mgmt.actions import access
from session_mgmt.actions.sessions import lifecycle, narrowing, refreshing, tokens
from session_mgmt.actions.topics import subscriptions
from session_mgmt.api.authentication import SessionTokenAuthentication
from session_mgmt.exceptions import InvalidToken, ReauthRequired, SessionMgmtError, TopicDenied, list_errors
from session_mgmt.models import AuditEntry, ClientSession, Login, SessionActivity, Token, clock
from session_mgmt.registry import topic
from session_mgmt.shortcuts import HasScope, RecentAuth, create_session, terminate_session
from tests.api.calls import Caller, caller, refused
from tests.identity.browser import Browser
from tests.identity.conftest import make_pair, new_nonce, refresh_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("on_this_thread")]
JWT_THEN_COOKIE = [
    "rest_framework_simplejwt.authentication.JWTAuthentication",
    "rest_framework.authentication.SessionAuthentication",
]


@pytest.fixture
def jwt(settings: Any) -> Iterator[None]:
    """A project whose pages log in by SimpleJWT, and whose staff by cookie."""
    settings.REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": JWT_THEN_COOKIE}
    yield
    api_settings.reload()


class Spa:
    """A page that keeps a JWT of its own; ``http`` may have a cookie of somebody else besides."""

    def __init__(self, http: Client, user: Any) -> None:
        self.http, self.kept = http, None
        self.sign_in(user)

    def sign_in(self, user: Any) -> None:
        self.header = {"Authorization": f"Bearer {AccessToken.for_user(user)}"} if user else {}

    def enter(self) -> Any:
        body = {"nonce": new_nonce(), "kept": self.kept}
        answer = Caller(self.http).post("sessions/enter/", body, **self.header)
        if answer.status_code == 200:
            found = answer.json()
            if found["refresh"]:
                self.kept = {"session": found["session"]["session_id"], "token": found["refresh"]}
        return answer

    def refresh(self) -> Any:
        body = {"token": self.kept["token"], "nonce": new_nonce()}
        return Caller(self.http).post("tokens/refresh/", body)


def row(told: dict[str, Any]) -> ClientSession:
    return ClientSession.objects.get(pk=told["session"]["session_id"])


# -- tokens of the project in a header ---------------------------------------


@pytest.mark.usefixtures("jwt")
def test_s36_the_next_person_of_a_single_page_application_gets_a_session_of_their_own(alice: Any, bob: Any) -> None:
    spa = Spa(Client(), alice)
    first = spa.enter().json()
    assert (first["verdict"], first["user_id"], first["login_due_in"]) == ("created", str(alice.pk), None)
    assert row(first).login is None and row(first).auth_time is None
    assert spa.enter().json()["verdict"] == "continued"
    spa.sign_in(bob)
    second = spa.enter().json()
    assert (second["verdict"], second["reason"], second["user_id"]) == ("created", "login_changed", str(bob.pk))
    assert row(first).end_reason == "login_changed"
    spa.sign_in(None)
    assert refused(spa.enter(), "login_missing", 409), "asked twice, as everywhere"


@pytest.mark.usefixtures("jwt")
def test_s36_the_cookie_of_staff_beside_the_token_of_somebody_else_is_ignored(alice: Any) -> None:
    browser = Browser()
    browser.log_in("staff")
    spa = Spa(browser.http, alice)
    told = spa.enter().json()
    assert (told["user_id"], row(told).login) == (str(alice.pk), None)
    assert not Login.objects.exists(), "the login of staff is not linked to her session"
    assert spa.refresh().status_code == 200, "nor does the cookie speak when she refreshes"
    browser.log_out()
    assert row(told).state == "active"
    assert spa.enter().json()["verdict"] == "continued"


@pytest.mark.usefixtures("jwt")
def test_a_bad_token_of_the_project_is_nobody_and_not_the_cookie_beside_it(alice: Any) -> None:
    browser = Browser()
    browser.log_in("staff")
    spa = Spa(browser.http, alice)
    spa.header = {"Authorization": "Bearer not.a.jwt"}
    assert refused(spa.enter(), "invalid_token", 401)
    assert not ClientSession.objects.exists()


@pytest.mark.usefixtures("jwt")
def test_the_time_of_a_login_by_header_is_what_the_project_says_and_else_unknown(alice: Any, settings: Any) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    for answer, wanted in ((at, at), (at.timestamp(), at), (None, None)):
        settings.SESSION_MGMT = {"auth_time_of": lambda request, answer=answer: answer}
        assert row(Spa(Client(), alice).enter().json()).auth_time == wanted
    settings.SESSION_MGMT = {"auth_time_of": lambda request: "yesterday"}
    assert refused(Spa(Client(), alice).enter(), "internal_error", 500)


def test_a_token_of_the_rest_framework_makes_sessions_that_hang_on_no_login(alice: Any, settings: Any) -> None:
    settings.REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": ["tests.identity.test_adapters.KeyAuthentication"]}
    api_settings.reload()
    told = Caller(Client()).post("sessions/enter/", {"nonce": new_nonce()}, Authorization="Token alice").json()
    assert (told["user_id"], row(told).login) == (str(alice.pk), None)
    settings.REST_FRAMEWORK = {}


class KeyAuthentication(BaseAuthentication):
    """As ``rest_framework.authtoken``, whose table this suite has not."""

    def authenticate(self, request: Any) -> Any:
        scheme, _, key = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        user = get_user_model().objects.filter(username=key).first() if scheme == "Token" else None
        return None if user is None else (user, key)


# -- a user whom a proxy names ---------------------------------------


@pytest.fixture
def proxied(settings: Any) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.RemoteUserMiddleware"]
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.RemoteUserBackend"]


@pytest.mark.usefixtures("proxied")
def test_s38_a_remote_user_is_linked_and_a_missing_header_is_a_logout_as_for_django(db: None) -> None:
    http = Client()
    body = {"nonce": new_nonce()}
    http.get("/admin/login/", REMOTE_USER="carol")
    csrf = Caller(http)
    http.defaults["REMOTE_USER"] = "carol"
    told = csrf.post("sessions/enter/", body)
    assert told.status_code == 200, told.content
    session = row(told.json())
    assert session.user.username == "carol" and session.login is not None and session.auth_time is not None
    del http.defaults["REMOTE_USER"]
    assert Caller(http).get("login/").json()["user_id"] is None
    session.refresh_from_db()
    assert (session.state, session.end_reason) == ("terminated", "logged_out")


# -- somebody who acts for a user ---------------------------------------


def hijack(browser: Browser, user: Any, *, release: bool = False) -> None:
    """As django-hijack does: a login of somebody else, without a new ``last_login``, and then its history."""
    request = HttpRequest()
    request.session = browser.http.session
    request.COOKIES = {name: morsel.value for name, morsel in browser.http.cookies.items()}
    acting = request.session.get("_auth_user_id")
    before = user.last_login
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    get_user_model().objects.filter(pk=user.pk).update(last_login=before)
    if not release:
        request.session["hijack_history"] = [acting]
    request.session.save()
    browser.http.cookies["sessionid"] = request.session.session_key


def test_s37_who_acts_for_a_user_has_a_session_of_its_own_that_is_named_and_never_recent(alice: Any) -> None:
    browser = Browser()
    browser.log_in("staff")
    own = browser.enter()
    staff = get_user_model().objects.get(username="staff")
    hijack(browser, alice)
    told = browser.enter()
    assert (told["verdict"], told["user_id"]) == ("created", str(alice.pk))
    assert told["session"]["acting"] == str(staff.pk)
    session = row(told)
    assert session.auth_time is None
    assert row(own).end_reason == "login_changed"
    assert AuditEntry.objects.get(action="impersonated").data["acting"] == str(staff.pk)
    assert browser.enter()["verdict"] == "continued"
    assert browser.refresh().status_code == 200
    page = Caller(browser.http)
    other = create_session(user=alice)
    assert refused(page.delete(f"sessions/{other.session.pk}/"), "reauth_required", 401)
    hijack(browser, staff, release=True)
    back = browser.enter()
    assert back["user_id"] == str(staff.pk) and "acting" not in back["session"]
    assert row(told).end_reason == "login_changed"


def test_s37_acting_that_begins_or_ends_without_another_login_ends_the_session(alice: Any, settings: Any) -> None:
    browser, acting = Browser(), [""]
    settings.SESSION_MGMT = {"impersonator_of": lambda request: acting[0] or None}
    browser.log_in("carol")
    own = browser.enter()
    acting[0] = "support"
    assert refused(browser.refresh(), "login_check", 401)
    told = browser.enter()
    assert (told["verdict"], told["reason"], told["session"]["acting"]) == ("created", "login_changed", "support")
    assert row(own).end_reason == "login_changed"
    acting[0] = ""
    assert browser.enter()["reason"] == "login_changed"


def test_s37_a_session_in_which_somebody_acted_has_no_successor(settings: Any) -> None:
    browser = Browser()
    settings.SESSION_MGMT = {"impersonator_of": lambda request: "support"}
    browser.log_in("carol")
    first = browser.enter()
    lifecycle.ending.end_session(
        "default", row(first).pk, ClientSession.State.EXPIRED, "timeout", clock.read("default")
    )
    assert browser.enter()["verdict"] == "created"


# -- tenants ---------------------------------------


def tenant_of(request: Any) -> str:
    return str(request.META.get("HTTP_X_TENANT", ""))


@pytest.fixture
def tenants(settings: Any) -> None:
    settings.SESSION_MGMT = {"tenant_of": "tests.identity.test_adapters.tenant_of"}


@pytest.mark.usefixtures("tenants")
def test_a_page_of_another_tenant_begins_a_session_of_its_own(db: None) -> None:
    browser = Browser()
    browser.log_in("carol")
    browser.http.defaults["HTTP_X_TENANT"] = "acme"
    told = browser.enter()
    assert row(told).tenant == "acme"
    assert browser.enter()["verdict"] == "continued"
    browser.http.defaults["HTTP_X_TENANT"] = "zeta"
    other = browser.enter()
    assert (other["verdict"], other["reason"]) == ("created", "login_changed")
    assert row(other).tenant == "zeta" and row(told).end_reason == "login_changed"


@pytest.mark.usefixtures("tenants")
@pytest.mark.requirement("ASVS 8.4.1")
def test_lists_calls_and_the_admin_stay_inside_a_tenant(db: None) -> None:
    browser = Browser()
    browser.log_in("root")
    root = get_user_model().objects.get(username="root")
    mine = {name: create_session(user=root, tenant=name).session.pk for name in ("acme", "zeta")}
    theirs = {name: create_session(tenant=name).session.pk for name in ("acme", "zeta")}
    browser.http.defaults["HTTP_X_TENANT"] = "acme"
    page = Caller(browser.http)
    assert [one["session_id"] for one in page.get("sessions/").json()["results"]] == [str(mine["acme"])]
    for session in (*mine.items(), *theirs.items()):
        answer = page.get(f"sessions/{session[1]}/")
        found = answer.status_code == 200 if session[0] == "acme" else refused(answer, "session_not_found", 404)
        assert found, session
        page_of_admin = browser.http.get(f"/admin/session_mgmt/clientsession/{session[1]}/change/")
        assert (page_of_admin.status_code == 200) is (session[0] == "acme")
    listed = browser.http.get("/admin/session_mgmt/clientsession/").content.decode()
    assert str(theirs["acme"])[-6:] in listed and str(theirs["zeta"])[-6:] not in listed
    for model in ("statedocument", "stateconflict", "auditentry", "stream", "outbox"):
        assert browser.http.get(f"/admin/session_mgmt/{model}/").status_code == 200, model


@pytest.mark.usefixtures("tenants")
def test_a_session_sees_its_sisters_of_its_own_tenant_only(alice: Any) -> None:
    first, second, other = (create_session(user=alice, tenant=name) for name in ("acme", "acme", "zeta"))
    ClientSession.objects.update(auth_time=clock.read("default"))
    mine = caller(first)
    found = {one["session_id"] for one in mine.get("sessions/").json()["results"]}
    assert found == {str(first.session.pk), str(second.session.pk)}
    assert refused(mine.delete(f"sessions/{other.session.pk}/"), "session_not_found", 404)
    assert mine.delete(f"sessions/{second.session.pk}/").status_code == 204


@pytest.mark.usefixtures("tenants", "rooms")
def test_a_part_of_a_topic_that_is_called_tenant_is_the_sessions_own(db: None) -> None:
    asked = []
    topic("{tenant:slug}:orders", publish=True)(lambda session, tenant: asked.append(tenant) is None)
    session = create_session(tenant="acme").session
    access.check_follow(session, "acme:orders")
    access.check_publish(session, "acme:orders")
    assert isinstance(subscriptions.find_refusal(session, "zeta:orders"), TopicDenied)
    with pytest.raises(SessionMgmtError, match="publish"):
        access.check_publish(session, "zeta:orders")
    assert asked == ["acme"], "the application is not even asked about others"


# -- hosts and middleware ---------------------------------------


def test_s39_two_hosts_with_one_cookie_have_two_sessions_and_one_logout(db: None) -> None:
    shop = Browser()
    shop.log_in("carol")
    site = Browser()
    site.http = shop.http
    told = [one.enter() for one in (shop, site)]
    first, second = map(row, told)
    assert first.pk != second.pk and first.login_id == second.login_id
    shop.log_out()
    for session in (first, second):
        session.refresh_from_db()
        assert (session.state, session.end_reason) == ("terminated", "logged_out")


def test_s47_a_csrf_token_in_the_django_session_and_a_hidden_csrf_cookie_let_a_page_enter(
    settings: Any, alice: Any
) -> None:
    for name in ("CSRF_USE_SESSIONS", "CSRF_COOKIE_HTTPONLY"):
        setattr(settings, name, True)
        http = Client(enforce_csrf_checks=True)
        http.force_login(alice)
        page = Caller(http)
        assert refused(page.post("sessions/enter/", {"nonce": new_nonce()}), "permission_denied", 403)
        csrf = page.get("login/").json()["csrf"]
        assert page.post("sessions/enter/", {"nonce": new_nonce()}, X_CSRFToken=csrf).status_code == 200, name
        setattr(settings, name, False)


def test_s47_a_site_that_asks_everybody_for_a_login_lets_pages_ask_and_clients_call(
    settings: Any, mine: Caller
) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    nobody = Caller(Client())
    assert nobody.get("login/").json()["user_id"] is None
    assert refused(nobody.post("sessions/enter/", {"nonce": new_nonce()}), "auth_required", 401)
    assert mine.get("sessions/{id}/").status_code == 200
    created = make_pair()
    body = {"token": refresh_of(created), "nonce": new_nonce()}
    assert nobody.post("tokens/refresh/", body).status_code == 200


# -- permissions for the project's own views ---------------------------------------


class Payment(APIView):
    authentication_classes = [SessionTokenAuthentication, JWTAuthentication, SessionAuthentication]
    permission_classes = [HasScope("app:pay"), RecentAuth(timedelta(minutes=15))]  # type: ignore[list-item]

    def get(self, request: Any) -> Any:
        return Response("paid")


def pay(token: str) -> Any:
    answer = Payment.as_view()(APIRequestFactory().get("/", HTTP_AUTHORIZATION=f"Bearer {token}"))
    return answer.status_code, answer.data


@pytest.mark.requirement("ASVS 7.5.3")
def test_a_view_of_the_project_asks_for_a_recent_login_and_a_scope(alice: Any, settings: Any) -> None:
    created = create_session(user=alice)
    status, told = pay(created.token.secret)
    assert (status, told["name"], told["code"]) == (401, "reauth_required", ReauthRequired.number)
    for minutes, wanted in ((16, 401), (14, 200)):
        at = clock.read("default") - timedelta(minutes=minutes)
        ClientSession.objects.update(auth_time=at)
        assert pay(created.token.secret)[0] == wanted
    child = narrowing.narrow_token(created.token.secret, ["state:read"])
    status, told = pay(child.access.secret)
    assert (status, told["name"], told["scope"]) == (403, "scope_missing", "app:pay")
    assert pay(narrowing.narrow_token(created.token.secret, ["app:*"]).access.secret)[0] == 200
    jwt = str(AccessToken.for_user(alice))
    assert pay(jwt)[0] == 401
    settings.SESSION_MGMT = {"auth_time_of": lambda request: time.time()}
    assert pay(jwt)[0] == 200


LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


class Wallet(APIView):
    authentication_classes = [SessionTokenAuthentication]

    def get(self, request: Any) -> Any:
        return Response(request.user.username)


@pytest.mark.parametrize(
    ("end", "wanted"),
    [
        (lambda session: terminate_session(session), "session_terminated"),
        (
            lambda session: SessionActivity.objects.update(expires_at=session.created_at - timedelta(days=1)),
            "session_expired",
        ),
        (lambda session: get_user_model().objects.update(is_active=False), "invalid_token"),
        (lambda session: Token.objects.all().delete(), "invalid_token"),
    ],
)
def test_a_view_of_the_project_admits_no_session_that_has_ended(alice: Any, end: Any, wanted: str) -> None:
    created = create_session(user=alice)
    request = APIRequestFactory().get("/", HTTP_AUTHORIZATION=f"Bearer {created.token.secret}")
    assert Wallet.as_view()(request).data == "alice"
    end(created.session)
    answer = Wallet.as_view()(request)
    (status,) = [error.status for error in list_errors() if error.name == wanted]
    assert (answer.data["name"], answer.status_code) == (wanted, status)
    assert answer.has_header("WWW-Authenticate") == (status == 401)


# -- each kind of token in its own place ---------------------------------------


def make_secrets(alice: Any) -> dict[str, str]:
    created = make_pair(alice)
    assert created.pair is not None
    return {
        "access": created.pair.access.secret,
        "refresh": created.pair.refresh.secret,
        "narrowed": narrowing.narrow_token(created.pair.access.secret, ["state:read"]).access.secret,
        "nonce": new_nonce(),
        "session": str(created.session.pk),
        "project": str(AccessToken.for_user(alice)),
    }


def proves(secret: str) -> bool:
    return Caller(Client(), secret).get("sessions/").status_code in (200, 403)


def refreshes(secret: str) -> bool:
    try:
        refreshing.refresh_tokens(secret, new_nonce())
    except InvalidToken:
        return False
    return True


def continues(secret: str, session: str) -> bool:
    kept = {"session": session, "token": secret}
    told = Caller(Client()).post("sessions/enter/", {"nonce": new_nonce(), "kept": kept})
    # Proved, and then asked twice for the login that is missing.
    return bool(told.json()["name"] == "login_missing")


@pytest.mark.parametrize("kind", ["access", "refresh", "narrowed", "nonce", "session", "project"])
@pytest.mark.requirement("ASVS 9.2.2")
def test_each_kind_of_token_is_taken_in_its_own_place_only(alice: Any, kind: str) -> None:
    secrets = make_secrets(alice)
    secret = secrets[kind]
    assert proves(secret) is (kind in ("access", "narrowed"))
    assert continues(secret, secrets["session"]) is (kind == "refresh")
    assert refreshes(secret) is (kind == "refresh")


@pytest.mark.requirement("ASVS 9.2.3")
def test_a_token_of_another_deployment_is_unknown_here(alice: Any, settings: Any) -> None:
    secrets = make_secrets(alice)
    # The other deployment's tokens are in its database, and its key is its own.
    Token.objects.all().delete()
    settings.SECRET_KEY = "a key of another deployment, long enough for every check"
    for kind in ("access", "narrowed", "refresh"):
        assert not proves(secrets[kind]) and not refreshes(secrets[kind]), kind
    with pytest.raises(InvalidToken):
        tokens.find_token("default", secrets["access"], now=clock.read("default"))
