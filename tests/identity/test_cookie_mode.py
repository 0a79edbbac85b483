"""Cookie mode: pages prove their sessions by a cookie that no script reads, no other site uses, and no answer tells."""

from __future__ import annotations

import logging
from typing import Any

import orjson
import pytest
from django.contrib.auth import get_user_model
from django.core.checks import run_checks
from django.test import Client
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

from session_mgmt.actions.sessions import cookies
from session_mgmt.api.cookies import SessionCookieAuthentication
from session_mgmt.bridge import bridge
from session_mgmt.consumers.hub import hub
from session_mgmt.exceptions import SessionTerminated
from session_mgmt.models import ClientSession, Login, Token
from session_mgmt.shortcuts import terminate_session
from tests.identity.conftest import make_pair, new_nonce, run_together
from tests.walks.conftest import BOTH_WAYS

COOKIE = "__Host-session-mgmt"
HOST = "shop.test"
ORIGIN = f"https://{HOST}"


@pytest.fixture(autouse=True)
def cookie_mode(settings: Any) -> None:
    settings.SESSION_MGMT = {"ANONYMOUS_SESSIONS": True, "TOKEN_MODE": "cookie"}
    settings.ALLOWED_HOSTS = ["*"]
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")


class Page:
    """Page of a browser that keeps its session in a cookie; ``kept`` is what its scripts can store."""

    def __init__(self, http: Client | None = None) -> None:
        self.http = http or Client(enforce_csrf_checks=True)
        self.kept: str | None = None

    def call(self, method: str, path: str, body: Any = None, *, csrf: bool = True, **headers: str) -> Any:
        given = {"origin": ORIGIN, "host": HOST, **headers}
        if csrf:
            given["x-csrftoken"] = self.get("login/").json()["csrf"]
        return self.http.generic(method, f"/api/{path}", _encode(body), "application/json", secure=True, headers=given)

    def get(self, path: str, **headers: str) -> Any:
        return self.http.get(f"/api/{path}", secure=True, headers={"host": HOST, **headers})

    def enter(self, nonce: str | None = None, **more: Any) -> Any:
        kept = None if self.kept is None else {"session": self.kept}
        answer = self.call("POST", "sessions/enter/", {"nonce": nonce or new_nonce(), "kept": kept}, **more)
        if answer.status_code == 200:
            self.kept = answer.json()["session"]["session_id"]
        return answer

    @property
    def cookie(self) -> str:
        return str(self.http.cookies[COOKIE].value)

    def log_in(self, name: str) -> Any:
        user, _ = get_user_model().objects.get_or_create(username=name)
        self.http.force_login(user)
        return user


def _encode(body: Any) -> bytes:
    return orjson.dumps({} if body is None else body)


@pytest.mark.django_db
@pytest.mark.requirement("ASVS 3.3.1")
def test_s41_the_token_is_in_a_cookie_that_no_script_reads_and_nowhere_else(
    on_this_thread: None, caplog: pytest.LogCaptureFixture
) -> None:
    page = Page()
    with caplog.at_level(logging.DEBUG):
        answer = page.enter()
    flags = page.http.cookies[COOKIE]
    assert (flags["secure"], flags["httponly"], flags["samesite"], flags["path"], flags["domain"]) == (
        True,
        True,
        "Lax",
        "/",
        "",
    )
    assert int(flags["max-age"]) > 24 * 3600
    secret = page.cookie
    assert secret.startswith("smc_") and len(secret) == 47
    assert [answer.json()[name] for name in ("access", "refresh", "expires_in")] == [None, None, None]
    assert answer.json()["token_mode"] == "cookie"
    assert secret not in answer.content.decode() and secret not in caplog.text
    assert Token.objects.get().kind == Token.Kind.COOKIE
    assert page.get(f"sessions/{page.kept}/").json()["session_id"] == page.kept


@pytest.mark.django_db
def test_s41_an_answer_that_was_lost_is_given_again(on_this_thread: None) -> None:
    page, nonce = Page(), new_nonce()
    first = page.enter(nonce).json()
    secret = page.cookie
    del page.http.cookies[COOKIE]
    page.kept = None
    again = page.enter(nonce).json()
    assert (again["session"]["session_id"], page.cookie) == (first["session"]["session_id"], secret)


@pytest.mark.django_db
def test_s41_a_browser_without_its_cookie_goes_on_by_its_login(on_this_thread: None) -> None:
    page = Page()
    page.log_in("ada")
    first = page.enter().json()
    old = page.cookie
    del page.http.cookies[COOKIE]
    again = page.enter().json()
    assert (again["verdict"], again["session"]["session_id"]) == ("continued", first["session"]["session_id"])
    assert page.cookie != old
    # The one of before is void, wherever it is.
    page.http.cookies[COOKIE] = old
    page.http.logout()
    assert page.get(f"sessions/{page.kept}/").status_code == 401


@pytest.mark.django_db
def test_enter_gives_a_new_cookie_after_a_while_and_the_old_one_counts_for_seconds_only(on_this_thread: None) -> None:
    page = Page()
    session = page.enter().json()["session"]["session_id"]
    old = page.cookie
    assert "Set-Cookie" not in page.enter().headers or COOKIE not in page.enter().cookies
    made = ClientSession.objects.get(pk=session).created_at
    Token.objects.update(created_at=made.replace(year=made.year - 1))
    answer = page.enter()
    assert answer.json()["verdict"] == "continued" and page.cookie != old
    new = page.cookie
    page.http.cookies[COOKIE] = old
    # A call that was on its way, and another tab that enters with the old one.
    assert page.get(f"sessions/{page.kept}/").status_code == 200
    assert page.enter().json()["verdict"] == "continued" and page.cookie == new
    Token.objects.filter(used_at__isnull=False).update(used_at=made.replace(year=made.year - 1), expires_at=made)
    page.http.cookies[COOKIE] = old
    assert page.get(f"sessions/{page.kept}/").json()["name"] == "token_expired"
    # Somebody has a copy: nobody can tell who, and no login can.
    assert page.enter().json()["reason"] == "token_reuse"
    assert ClientSession.objects.get(pk=session).state == ClientSession.State.TERMINATED


@pytest.mark.django_db
def test_the_cookie_counts_until_its_browsers_login_is_due(on_this_thread: None) -> None:
    page = Page()
    page.log_in("ada")
    page.enter()
    (token,) = Token.objects.all()
    login = Login.objects.get()
    assert (token.expires_at - login.seen_at).total_seconds() == 3600
    Token.objects.update(expires_at=login.seen_at)
    other = Client(enforce_csrf_checks=True)
    other.cookies[COOKIE] = page.cookie
    assert Page(other).get(f"sessions/{page.kept}/").json()["name"] == "token_expired"
    assert page.enter().json()["verdict"] == "continued"
    assert Page(other).get(f"sessions/{page.kept}/").status_code == 200


@pytest.mark.django_db
@pytest.mark.requirement("ASVS 3.5.1")
def test_s40_unsafe_calls_need_the_csrf_token(on_this_thread: None) -> None:
    page = Page()
    assert page.enter(csrf=False).status_code == 403
    assert not ClientSession.objects.exists()
    page.enter()
    path = f"sessions/{page.kept}/"
    calls: list[tuple[str, str, Any]] = [
        ("PATCH", path, {"label": "x"}),
        ("DELETE", path, None),
        ("POST", "sessions/enter/", {"nonce": new_nonce()}),
    ]
    calls += [("PUT", f"{path}state/main/", {"data": 1}), ("POST", f"{path}validate/", {})]
    for method, where, body in calls:
        answer = page.call(method, where, body, csrf=False)
        assert (answer.status_code, answer.json()["name"]) == (403, "permission_denied"), (method, where)
        foreign = page.call(method, where, body, origin="https://evil.test")
        assert foreign.status_code == 403, (method, where)
    assert page.call("PATCH", path, {"label": "mine"}).status_code == 200
    form = page.http.post(f"/api/{path}validate/", {"a": "b"}, secure=True, headers={"host": HOST, "origin": "null"})
    assert form.status_code == 403


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("trusted", "takes"),
    [
        ([], False),
        (["http://sister.shop.test"], False),
        (["https://*.other.test"], False),
        (["https://sister.shop.test"], True),
        (["https://*.shop.test"], True),
    ],
)
def test_a_listed_origin_needs_djangos_trust_too_and_a_check_tells_it(
    on_this_thread: None, settings: Any, trusted: list[str], takes: bool
) -> None:
    sister = "https://sister.shop.test"
    settings.SESSION_MGMT = {**settings.SESSION_MGMT, "allowed_origins": [sister]}
    settings.CSRF_TRUSTED_ORIGINS = trusted
    answer = Page().enter(origin=sister)
    assert answer.status_code == (200 if takes else 403)
    if not takes:
        told = answer.json()
        assert told["name"] == "permission_denied" and f"{sister} does not match any trusted origins" in told["message"]
    assert ("session_mgmt.W030" in {one.id for one in run_checks()}) is not takes


@pytest.mark.django_db
def test_s40_a_page_gets_no_token_by_any_call(on_this_thread: None) -> None:
    page = Page()
    page.log_in("ada")
    page.enter()
    assert page.call("POST", "sessions/", {}).status_code == 403
    assert page.call("POST", f"sessions/{page.kept}/recover/", {}).status_code in (401, 410)
    assert page.call("POST", "tokens/narrow/", {"scopes": ["state:read"]}).status_code == 403
    pair = make_pair()
    assert pair.pair is not None
    body = {"token": pair.pair.refresh.secret, "nonce": new_nonce()}
    assert page.call("POST", "tokens/refresh/", body).json()["name"] == "invalid_token"
    # A header that proves nothing makes no program of a page.
    answer = page.call("POST", "sessions/enter/", {"nonce": new_nonce(), "kept": None}, authorization="Foo bar")
    assert "sm" + "a_" not in answer.content.decode()


@pytest.mark.django_db
def test_the_cookie_is_taken_from_no_header_and_no_body(on_this_thread: None) -> None:
    page = Page()
    page.enter()
    thief = Client(enforce_csrf_checks=True)
    answer = thief.get("/api/sessions/", headers={"authorization": f"Bearer {page.cookie}"}, secure=True)
    assert answer.json()["name"] == "invalid_token"
    body = {"nonce": new_nonce(), "kept": {"session": page.kept, "token": page.cookie}}
    found = Page(thief).call("POST", "sessions/enter/", body).json()
    assert found["verdict"] == "created" and found["session"]["session_id"] != page.kept


@pytest.mark.django_db
def test_a_pair_of_before_is_replaced_by_a_cookie(on_this_thread: None) -> None:
    made = make_pair()
    assert made.pair is not None
    page = Page()
    body = {"nonce": new_nonce(), "kept": {"session": str(made.session.pk), "token": made.pair.refresh.secret}}
    found = page.call("POST", "sessions/enter/", body).json()
    assert (found["verdict"], found["session"]["session_id"]) == ("continued", str(made.session.pk))
    assert page.cookie.startswith("smc_")
    old = Client().get("/api/sessions/", headers={"authorization": f"Bearer {made.token.secret}"})
    assert old.json()["name"] == "invalid_token"


@pytest.mark.django_db
def test_programs_go_on_with_tokens(on_this_thread: None) -> None:
    answer = Client().post("/api/sessions/", {"nonce": new_nonce()}, "application/json")
    assert answer.status_code == 201 and answer.json()["access"].startswith("sma_")
    entered = Client().post("/api/sessions/enter/", {"nonce": new_nonce()}, "application/json").json()
    assert entered["refresh"].startswith("smr_") and entered["token_mode"] == "bearer"


@pytest.mark.django_db
@pytest.mark.parametrize("place", ["header", "body"])
def test_two_pages_of_two_names_have_two_sessions(place: str, on_this_thread: None) -> None:
    page = Page()
    page.enter()

    def enter(name: str) -> Any:
        body, headers = ({"name": name}, {}) if place == "body" else ({}, {"x-session-name": name})
        return page.call("POST", "sessions/enter/", {"nonce": new_nonce(), **body}, **headers)

    answer = enter("chat")
    assert f"{COOKIE}-chat" in answer.cookies and COOKIE not in answer.cookies
    assert answer.json()["session"]["session_id"] != page.kept
    assert enter("chat").json()["session"] == answer.json()["session"]
    wrong = enter("a;b")
    assert (wrong.status_code, wrong.json()["name"]) == (400, "invalid_field")


@pytest.mark.django_db
def test_where_pages_have_tokens_any_name_will_do(on_this_thread: None, settings: Any) -> None:
    settings.SESSION_MGMT = {"ANONYMOUS_SESSIONS": True}
    answer = Page().call("POST", "sessions/enter/", {"nonce": new_nonce(), "name": "a; b"})
    assert answer.status_code == 200 and answer.json()["refresh"].startswith("smr_")


@pytest.mark.django_db
def test_staff_who_call_for_other_sessions_are_staff(on_this_thread: None) -> None:
    theirs = make_pair().session
    page = Page()
    staff = page.log_in("root")
    get_user_model().objects.filter(pk=staff.pk).update(is_superuser=True, is_staff=True)
    page.enter()
    assert page.get(f"sessions/{theirs.pk}/").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_tabs_that_enter_at_once_are_given_one_cookie(on_this_thread: None) -> None:
    page = Page()
    page.enter()
    old = page.cookie
    made = ClientSession.objects.get().created_at
    Token.objects.update(created_at=made.replace(year=made.year - 1))
    csrf = page.get("login/").json()["csrf"]
    jar = {name: one.value for name, one in page.http.cookies.items()}

    def enter(_: int) -> Any:
        tab = Page()
        tab.http.cookies.load(jar)
        tab.kept = page.kept
        answer = tab.enter(csrf=False, **{"x-csrftoken": csrf})
        return answer.json()["verdict"], tab.cookie

    results = run_together(8, enter)
    assert len(set(results)) == 1 and results[0][0] == "continued" and results[0][1] != old
    assert Token.objects.filter(used_at=None).count() == 1


@pytest.mark.parametrize(
    ("debug", "scheme", "host", "name"),
    [
        (True, "http", "localhost:8000", "session-mgmt"),
        (True, "http", "shop.localhost", "session-mgmt"),
        (True, "http", "127.0.0.1:8000", "session-mgmt"),
        (True, "http", "shop.test", COOKIE),
        (True, "http", "evillocalhost", COOKIE),
        (True, "https", "localhost:8000", COOKIE),
        (False, "http", "localhost:8000", COOKIE),
    ],
)
def test_only_a_developers_machine_does_without_the_prefix(
    debug: bool, scheme: str, host: str, name: str, settings: Any
) -> None:
    settings.DEBUG = debug
    assert cookies.build_name(None, scheme=scheme, host=host) == name


def test_what_cannot_work_is_found_at_start(settings: Any) -> None:
    def ids() -> set[str]:
        return {str(found.id) for found in run_checks()}

    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert not {"session_mgmt.E023", "session_mgmt.W019", "session_mgmt.E018"} & ids()
    settings.CSRF_USE_SESSIONS = True
    assert "session_mgmt.E023" in ids()
    settings.SECURE_PROXY_SSL_HEADER = None
    assert "session_mgmt.W019" in ids()
    settings.SESSION_MGMT = {"token_mode": "cookies"}
    assert "session_mgmt.E018" in ids()


@pytest.mark.parametrize(
    ("mode", "secure", "told"),
    [
        ("bearer", False, {"W008"}),
        ("bearer", True, {"W008"}),
        # Nothing works without https, and that is told also where nobody deploys.
        ("cookie", False, {"W019"}),
        # Cookies are for https only; plain http stays open all the same.
        ("cookie", True, {"W008"}),
    ],
)
def test_missing_tls_is_told_once(settings: Any, mode: str, secure: bool, told: set[str]) -> None:
    settings.SESSION_MGMT, settings.SESSION_COOKIE_SECURE = {"token_mode": mode}, secure
    settings.SECURE_SSL_REDIRECT, settings.SECURE_PROXY_SSL_HEADER = False, None
    found = {str(one.id).removeprefix("session_mgmt.") for one in run_checks(include_deployment_checks=True)}
    assert found & {"W008", "W019"} == told


@pytest.mark.django_db(transaction=True)
@BOTH_WAYS
class TestSockets:
    async def _open(self, peers: Any, headers: dict[str, str], **frame: Any) -> Any:
        peer = peers(**headers)
        await peer.handshake()
        await peer.say(**{"type": "connect", "client_id": None, "logs": {}, "acked": 0, **frame})
        return peer

    async def _enter(self) -> Page:
        page = Page()
        await bridge().call(page.enter)
        return page

    @pytest.mark.requirement("ASVS 4.4.3")
    async def test_s40_the_cookie_of_the_handshake_proves_the_socket(self, peers: Any) -> None:
        page = await self._enter()
        headers = {"cookie": f"a=b; {COOKIE}={page.cookie}", "host": HOST, "origin": ORIGIN}
        peer = await self._open(peers, {**headers, "x-forwarded-proto": "https"}, auth="cookie")
        answer = await peer.next()
        assert (answer["type"], answer["session"]["session_id"]) == ("connected", page.kept)
        assert page.cookie not in str(answer)

    @pytest.mark.parametrize(
        "origin", [None, "null", "https://evil.test", "https://sister.shop.test", f"http://{HOST}"]
    )
    @pytest.mark.requirement("ASVS 4.4.2")
    async def test_s40_no_other_origin_opens_a_socket(self, origin: str | None, peers: Any) -> None:
        page = await self._enter()
        headers = {"cookie": f"{COOKIE}={page.cookie}", "host": HOST, "x-forwarded-proto": "https"}
        peer = await self._open(peers, {**headers, **({"origin": origin} if origin else {})}, auth="cookie")
        assert await peer.closed() == 4509
        assert [frame["type"] for frame in peer.seen] == ["error", "bye"]

    async def test_s40_a_page_proves_its_socket_by_no_token(self, peers: Any) -> None:
        page = await self._enter()
        made = await bridge().call(make_pair)
        headers = {"host": HOST, "origin": ORIGIN, "x-forwarded-proto": "https"}
        mine = {**headers, "cookie": f"{COOKIE}={page.cookie}"}
        for given, frame, code in [
            (mine, {"auth": "cookie", "token": made.token.secret}, 4500),
            (mine, {"token": made.token.secret}, 4501),
            (mine, {"token": page.cookie}, 4501),
            ({"host": HOST}, {"token": page.cookie}, 4501),
            (headers, {"auth": "cookie"}, 4501),
            ({**headers, "cookie": f"session-mgmt={page.cookie}"}, {"auth": "cookie"}, 4501),
            (mine, {"auth": "cookie", "name": "chat"}, 4501),
            (mine, {"auth": "basic"}, 4500),
        ]:
            peer = await self._open(peers, given, **frame)
            assert await peer.closed() == code, frame

    async def test_a_program_proves_its_socket_by_its_token(self, peers: Any) -> None:
        made = await bridge().call(make_pair)
        peer = await self._open(peers, {"host": HOST}, token=made.token.secret)
        assert (await peer.next())["type"] == "connected"

    async def test_a_socket_is_closed_when_its_cookie_counts_no_more(self, peers: Any) -> None:
        page = await self._enter()
        headers = {"cookie": f"{COOKIE}={page.cookie}", "host": HOST, "origin": ORIGIN, "x-forwarded-proto": "https"}
        peer = await self._open(peers, headers, auth="cookie")
        await peer.until_type("connected")
        (served,) = hub().serving.connections
        served.lifetime.token_over_at = 0
        hub().rounds.watch_token(served)
        await hub().rounds.check_sessions()
        assert await peer.closed() == 4001


@pytest.mark.django_db(transaction=True)
@BOTH_WAYS
async def test_without_cookie_mode_no_cookie_counts(peers: Any, settings: Any) -> None:
    page = Page()
    await bridge().call(page.enter)
    settings.SESSION_MGMT = {"ANONYMOUS_SESSIONS": True}
    assert (await bridge().call(page.get, f"sessions/{page.kept}/")).status_code == 401
    peer = peers(cookie=f"{COOKIE}={page.cookie}", host=HOST, origin=f"http://{HOST}")
    await peer.handshake()
    await peer.say(type="connect", auth="cookie", logs={})
    # Not for good: the page asks what proves its session now.
    assert await peer.closed() == 4501


@pytest.mark.django_db
def test_s41_a_claim_gives_a_new_cookie_and_the_visitors_proves_nothing(on_this_thread: None) -> None:
    page = Page()
    visitor = page.enter().json()["session"]["session_id"]
    old = page.cookie
    user = page.log_in("ada")
    answer = page.enter()
    found, new = answer.json(), page.cookie
    assert (found["verdict"], found["session"]["session_id"]) == ("claimed", visitor)
    assert found["session"]["user_id"] == found["user_id"] == str(user.pk)
    assert [found[name] for name in ("access", "refresh", "expires_in")] == [None, None, None]
    assert new != old and new.startswith("smc_") and new not in answer.content.decode()
    assert page.get(f"sessions/{visitor}/").status_code == 200
    # Whoever has a copy of the visitor's cookie is nobody, at once, and does no harm.
    thief = Page()
    thief.http.cookies[COOKIE] = old
    assert thief.get(f"sessions/{visitor}/").json()["name"] == "invalid_token"
    thief.kept = visitor
    entered = thief.enter().json()
    assert (entered["verdict"], entered["user_id"]) == ("created", None)
    assert entered["session"]["session_id"] != visitor
    thief.kept, thief.http.cookies[COOKIE] = visitor, old
    thief.log_in("mallory")
    assert thief.enter().json()["session"]["session_id"] != visitor
    assert page.get(f"sessions/{visitor}/").status_code == 200
    assert ClientSession.objects.get(pk=visitor).user_id == user.pk


@pytest.mark.django_db
def test_s51_a_lost_answer_to_a_claim_gives_its_cookie_again(on_this_thread: None) -> None:
    page, nonce = Page(), new_nonce()
    page.enter()
    old = page.cookie
    page.log_in("ada")
    first = page.enter(nonce).json()
    new = page.cookie
    page.http.cookies[COOKIE] = old
    again = page.enter(nonce).json()
    assert (again["verdict"], again["session"]["session_id"]) == ("claimed", first["session"]["session_id"])
    assert page.cookie == new


class Wallet(APIView):
    authentication_classes = [SessionCookieAuthentication]

    def get(self, request: Any) -> Any:
        return Response(str(request.client_session.pk))


@pytest.mark.django_db
def test_a_view_of_the_project_admits_no_cookie_of_a_session_that_has_ended() -> None:
    page = Page()
    page.enter()

    def ask() -> Any:
        headers = {"Cookie": f"{COOKIE}={page.cookie}", "Host": HOST}
        return Wallet.as_view()(APIRequestFactory().get("/", secure=True, headers=headers))

    assert ask().data == page.kept
    terminate_session(page.kept)
    assert (ask().data["name"], ask().status_code) == ("session_terminated", SessionTerminated.status)
    Token.objects.all().delete()
    assert (ask().data["name"], ask().status_code) == ("invalid_token", 401)
