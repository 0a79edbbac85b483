"""Attacks on every call of the description, so that a new one is under attack as soon as it is described."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from session_mgmt.api.description import build_schema
from session_mgmt.models import ClientSession, SessionActivity, SessionEvent, StateDocument, Token
from session_mgmt.shortcuts import state
from tests.api.calls import Caller
from tests.api.test_ended import fill_in, list_calls
from tests.identity.conftest import make_pair, new_nonce, refresh_of
from tests.identity.test_cookie_mode import COOKIE, HOST, ORIGIN, Page, cookie_mode

__all__ = ["cookie_mode"]
# Who may do what is decided in Python, whatever the database.
pytestmark = [pytest.mark.django_db, pytest.mark.sqlite]


def dump_rows() -> dict[str, list[dict[str, Any]]]:
    """Return all that an attack could change, except when somebody was seen."""
    models = (ClientSession, StateDocument, Token, SessionEvent, SessionActivity)
    return {model.__name__: list(model.objects.order_by("pk").values()) for model in models}


def list_all_calls() -> Iterator[tuple[str, str]]:
    """Return method and path of every operation."""
    for path, methods in build_schema("/api/")["paths"].items():
        for method in methods:
            yield method.upper(), path


def choose_body(path: str) -> dict[str, Any]:
    """Return a body that would be taken, of the calls that give tokens or change a session."""
    bodies: dict[str, dict[str, Any]] = {
        "/sessions/": {"nonce": new_nonce()},
        "/sessions/enter/": {"nonce": new_nonce()},
        "/sessions/{id}/": {"label": "x"},
        "/tokens/narrow/": {"scopes": ["state:read"]},
    }
    if path == "/tokens/refresh/":
        return {"token": refresh_of(make_pair()), "nonce": new_nonce()}
    return bodies.get(path, {})


def is_unsafe(method: str) -> bool:
    return method not in ("GET", "HEAD", "OPTIONS")


@pytest.fixture
def bearer(settings: Any) -> None:
    settings.SESSION_MGMT = {"ANONYMOUS_SESSIONS": True, "MAX_REQUESTS_PER_SECOND": 0.0}


@pytest.fixture
def kept(cookie_mode: None, settings: Any) -> Page:
    settings.SESSION_MGMT = {**settings.SESSION_MGMT, "MAX_REQUESTS_PER_SECOND": 0.0}
    page = Page()
    page.enter()
    state.replace(ClientSession.objects.get(pk=page.kept), {"a": 1})
    return page


@pytest.mark.parametrize("who", ["theirs", "page of theirs", "staff", "page of staff", "nobody"])
@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.requirement("ASVS 8.2.2", "ASVS 6.3.8")
def test_somebody_elses_session_looks_like_none(
    who: str, ended: bool, bearer: None, mine: Caller, theirs: Caller, bob: Any, nobody: Caller
) -> None:
    state.replace(ClientSession.objects.get(pk=mine.session), {"a": 1})
    if ended:
        mine.delete("sessions/{id}/")
    # To be staff without permissions opens the admin's door, and nobody's session.
    type(bob).objects.filter(pk=bob.pk).update(is_staff="staff" in who)
    logged_in = Client()
    logged_in.force_login(bob)
    asker = nobody if who == "nobody" else Caller(logged_in) if who.startswith("page") else theirs
    before, count = dump_rows(), 0
    for method, path in list_calls():
        body = None if method == "GET" else {}
        got = asker.call(method, fill_in(path, mine.session), body)
        none = asker.call(method, fill_in(path, str(uuid.uuid4())), body)
        # A session is recovered by its own token, which a page's login is not.
        has_proof = asker is theirs or (who != "nobody" and not path.endswith("/recover/"))
        assert got.status_code == (404 if has_proof else 401), (method, path, got.content[:200])
        assert (got.status_code, got.content) == (none.status_code, none.content), (method, path)
        count += 1
    assert count > 20
    assert dump_rows() == before


@pytest.mark.requirement("ASVS 3.5.1")
def test_no_call_by_a_cookie_changes_anything_without_the_csrf_token(kept: Page) -> None:
    before, refused = dump_rows(), 0
    assert kept.kept is not None
    for method, path in list_all_calls():
        if not is_unsafe(method):
            continue
        where = fill_in(path, kept.kept) if "{" in path else path.removeprefix("/")
        for origin in (ORIGIN, "https://evil.test", "null", f"https://sister.{HOST}"):
            # The secret of a refresh is in its body, where no foreign page can put it.
            body = {"token": "smr_x", "nonce": new_nonce()} if path == "/tokens/refresh/" else choose_body(path)
            answer = kept.call(method, where, body, csrf=False, origin=origin)
            wanted = 401 if path == "/tokens/refresh/" else 403
            if path == "/connections/poll/" and origin == ORIGIN:
                # It only reads, for a page of this host; what it lacks is a body.
                wanted = 400
            assert answer.status_code == wanted, (method, path, answer.content[:200])
            refused += 1
        form = kept.http.post(f"/api/{where}", {"a": "b"}, secure=True, headers={"host": HOST, "origin": "null"})
        assert form.status_code in (400, 401, 403, 405, 415), (method, path)
    assert refused > 60
    assert dump_rows() == before


@pytest.mark.parametrize("scheme", ["", "Basic eDp4", "Negotiate eDp4", "Token x", "Bearer"])
@pytest.mark.requirement("ASVS 3.5.1")
def test_no_other_authorization_makes_a_call_by_a_cookie_do_without_the_csrf_token(scheme: str, kept: Page) -> None:
    """A browser adds ``Basic`` and ``Negotiate`` by itself, also to what a foreign page has begun."""
    before = dump_rows()
    assert kept.kept is not None
    for method, path in list_all_calls():
        # A poll only reads; the secret of a refresh is in its body; no foreign page sends a token to enter.
        harmless = "/connections/poll/", "/tokens/refresh/", "/sessions/enter/" if scheme == "Token x" else ""
        if is_unsafe(method) and path not in harmless:
            where = fill_in(path, kept.kept) if "{" in path else path.removeprefix("/")
            answer = kept.call(method, where, choose_body(path), csrf=False, authorization=scheme)
            assert answer.status_code in (401, 403), (method, path, answer.content[:200])
    assert dump_rows() == before


@pytest.mark.requirement("ASVS 3.5.1")
def test_no_get_changes_anything(kept: Page) -> None:
    before = dump_rows()
    assert kept.kept is not None
    for method, path in list_all_calls():
        if method == "GET":
            kept.get(fill_in(path, kept.kept) if "{" in path else path.removeprefix("/"))
    assert dump_rows() == before


@pytest.mark.requirement("ASVS 3.3.1")
def test_no_answer_to_a_page_holds_a_token(kept: Page) -> None:
    assert kept.kept is not None
    for method, path in list_all_calls():
        where = fill_in(path, kept.kept) if "{" in path else path.removeprefix("/")
        body = None if method == "GET" else choose_body(path)
        if path.startswith("/schema"):
            continue
        answer = kept.get(where) if method == "GET" else kept.call(method, where, body)
        text = answer.content.decode()
        assert not any(prefix in text for prefix in ("sma_", "smr_", "smc_")), (method, path, text[:200])


@pytest.mark.requirement("ASVS 9.2.2", "ASVS 14.2.1")
def test_each_kind_of_token_opens_what_it_is_for_and_nothing_else(bearer: None, nobody: Caller) -> None:
    made = make_pair()
    session = str(made.session.pk)
    texts = {
        "access": made.token.secret,
        "refresh": refresh_of(made),
        "none": "sma_" + "x" * 43,
        "cookie": "smc_" + "x" * 43,
    }
    opened = set()
    for kind, secret in texts.items():
        if Caller(nobody.http, secret, session).get("sessions/{id}/").status_code == 200:
            opened.add((kind, "bearer"))
        if nobody.http.get(f"/api/sessions/{session}/", headers={"cookie": f"{COOKIE}={secret}"}).status_code == 200:
            opened.add((kind, "cookie"))
        if nobody.http.get(f"/api/sessions/{session}/?token={secret}").status_code == 200:
            opened.add((kind, "address"))
        body = {"nonce": new_nonce(), "kept": {"session": session, "token": secret}}
        if kind != "refresh" and nobody.post("sessions/enter/", body).json()["verdict"] != "created":
            opened.add((kind, "enter"))
    for kind, secret in texts.items():
        if nobody.post("tokens/refresh/", {"token": secret, "nonce": new_nonce()}).status_code == 200:
            opened.add((kind, "refresh"))
    assert opened == {("access", "bearer"), ("refresh", "refresh")}


@pytest.mark.parametrize("field", [field.name for field in ClientSession._meta.get_fields()] + ["token", "user_id"])
@pytest.mark.requirement("ASVS 15.3.3")
def test_no_column_can_be_set_by_a_body(field: str, bearer: None, mine: Caller, page: Caller) -> None:
    if field in ("metadata", "config", "label", "nonce", "scopes", "user"):
        return
    before = ClientSession.objects.values().get(pk=mine.session)
    body = {field: 1}
    calls = [mine.patch("sessions/{id}/", body), Caller(Client()).post("sessions/", body)]
    calls += [Caller(Client()).post("sessions/enter/", {"nonce": new_nonce(), **body})] if field != "create" else []
    calls += [Caller(Client()).post("sessions/enter/", {"nonce": new_nonce(), "create": body})]
    assert [(answer.status_code, answer.json()["name"]) for answer in calls] == [(400, "invalid_field")] * len(calls)
    assert ClientSession.objects.values().get(pk=mine.session) == before


@pytest.mark.requirement("ASVS 14.3.2")
def test_a_cache_in_front_gives_nobody_what_is_somebody_elses(
    bearer: None, mine: Caller, theirs: Caller, settings: Any
) -> None:
    around = ("django.middleware.cache.UpdateCacheMiddleware", "django.middleware.cache.FetchFromCacheMiddleware")
    settings.MIDDLEWARE = [around[0], *settings.MIDDLEWARE, around[1]]
    for path in ("sessions/", "login/", "health/"):
        first, second = mine.get(path), theirs.get(path)
        for answer in (first, second):
            assert answer.headers["Cache-Control"] == "no-store"
            assert {"Authorization", "Cookie"} <= {name.strip() for name in answer.headers["Vary"].split(",")}
        assert mine.session not in second.content.decode()
    (listed,) = json.loads(theirs.get("sessions/").content)["results"]
    assert listed["session_id"] == theirs.session


@pytest.mark.requirement("ASVS 4.1.3")
def test_headers_of_a_proxy_that_nobody_trusts_count_for_nothing(kept: Page) -> None:
    # Neither another host nor https is believed: the CSRF check would compare with what the attacker says.
    for name, value in (("x-forwarded-host", "evil.test"), ("forwarded", "host=evil.test;proto=https")):
        headers = {"origin": "https://evil.test", name: value}
        assert kept.call("PATCH", f"sessions/{kept.kept}/", {"label": "x"}, **headers).status_code == 403


@pytest.mark.requirement("ASVS 3.4.2")
@pytest.mark.parametrize("origin", ["https://evil.test", "null"])
def test_no_answer_lets_a_page_of_another_site_read_it(origin: str, bearer: None, mine: Caller) -> None:
    for method, path in (("GET", "sessions/"), ("GET", "nonsense/"), ("OPTIONS", "sessions/enter/"), ("GET", "login/")):
        answer = mine.call(method, path, Origin=origin, Access_Control_Request_Method="POST")
        assert not [name for name in answer.headers if name.lower().startswith("access-control-")], path
