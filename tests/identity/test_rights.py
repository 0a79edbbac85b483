"""Rights: what a token may do, and what a person may do to sessions that are not the page's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import URLPattern

from session_mgmt import urls
from session_mgmt.actions.sessions import lifecycle, logins, narrowing
from session_mgmt.exceptions import InvalidField, ScopeMissing
from session_mgmt.models import AuditEntry, ClientSession, Login, Token, clock
from session_mgmt.protocol import frames, scopes
from session_mgmt.shortcuts import create_session
from tests.api.calls import Caller, caller, make_conflict, refused
from tests.api.test_rights import CALLS
from tests.identity.browser import Browser
from tests.identity.conftest import make_pair, new_nonce, run_together

# Rights are asked of Django, and no database decides them.
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("on_this_thread"), pytest.mark.sqlite]
MAIN = "sessions/{id}/state/main/"
OWN = ("read session", "list")


def narrowed(session: Caller, *names: str) -> Caller:
    """The same session by a token with these scopes only."""
    answer = session.post("tokens/narrow/", {"scopes": list(names)})
    assert answer.status_code == 201, answer.content
    return Caller(session.http, answer.json()["access"], session.session)


def log_in_long_ago(session: ClientSession, **passed: float) -> None:
    ClientSession.objects.filter(pk=session.pk).update(auth_time=clock.read("default") - timedelta(**passed))


@pytest.fixture
def pair(alice: Any) -> tuple[Caller, Caller]:
    """Two sessions of Alice, each with a document, a checkpoint and an open conflict."""
    both = [caller(lifecycle.create_session(user=alice, metadata={"secret": n})) for n in range(2)]
    for one in both:
        make_conflict(one.session)
    return both[0], both[1]


# -- the table -----------------------------------------------------------------------------------------------------


def routes() -> Iterator[tuple[str, str]]:
    """Each call that a session's token can come with: the name of its route, and its method."""
    for pattern in urls.urlpatterns:
        assert isinstance(pattern, URLPattern)
        view = pattern.callback.cls  # type: ignore[attr-defined]
        actions = getattr(pattern.callback, "actions", None) or {
            method: method for method in ("get", "post", "put", "patch", "delete") if hasattr(view, method)
        }
        for method, action in actions.items():
            # REST framework adds HEAD to a route when it is called the first time.
            if method != "head" and hasattr(getattr(view, action), "endpoint"):
                yield str(pattern.name), method.upper()


# Calls that take no session's token as credentials: the body holds what they need.
BY_BODY = {("session-enter", "POST"), ("login", "GET"), ("token-refresh", "POST")}
PARTS = {("document-sync", "pending"), ("session-detail", "sister")}


@pytest.mark.requirement("ASVS 8.2.1")
def test_every_call_and_every_frame_has_a_row_and_no_row_is_left_over() -> None:
    assert set(routes()) - BY_BODY == set(scopes.CALLS) - PARTS
    assert set(scopes.FRAMES) == set(frames.FRAME_TYPES)


def test_s43_a_call_without_a_row_is_refused(mine: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    assert mine.get("sessions/{id}/").status_code == 200
    monkeypatch.delitem(scopes.CALLS, ("session-detail", "GET"))  # type: ignore[arg-type] # only read elsewhere
    assert refused(mine.get("sessions/{id}/"), "scope_missing", 403)


ROWS: dict[str, tuple[Callable[[Caller], Any], str]] = {
    "read": (lambda one: one.get(MAIN), "state:read:main"),
    "write": (lambda one: one.patch(MAIN, {"merge": {"b": 1}}), "state:write:main"),
    "clear": (lambda one: one.delete(MAIN), "state:write:main"),
    "documents": (lambda one: one.get("sessions/{id}/state/"), "state:read"),
    "history": (lambda one: one.get(MAIN + "history/"), "state:read:main"),
    "restore": (lambda one: one.post(MAIN + "restore/", {"version": 1}), "state:write:main"),
    "conflicts": (lambda one: one.get(MAIN + "conflicts/"), "state:read:main"),
    "events": (lambda one: one.get("sessions/{id}/events/"), "events:read"),
    "metrics": (lambda one: one.get("sessions/{id}/metrics/"), "events:read"),
    "update": (lambda one: one.patch("sessions/{id}/", {"label": "x"}), "session:manage"),
    "past": (lambda one: one.get("topics/room:1/publications/"), "topics:follow:room:1"),
    "value": (lambda one: one.get("topics/room:1/value/"), "topics:follow:room:1"),
    "members": (lambda one: one.get("topics/room:1/members/"), "topics:follow:room:1"),
    "past of presence": (lambda one: one.get("topics/presence:room:1/publications/"), "topics:follow:room:1"),
    "publish": (lambda one: one.post("topics/room:1/publications/", {"data": 1}), "topics:publish:room:1"),
    "list": (lambda one: one.get("sessions/"), "sessions:list"),
    "end": (lambda one: one.delete("sessions/{id}/"), "session:manage"),
}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.usefixtures("rooms")
def test_a_call_needs_its_scope_and_the_refusal_names_it(pair: tuple[Caller, Caller], name: str) -> None:
    call, needed = ROWS[name]
    without = "app:other" if needed.startswith("state:write") else "state:write"
    answer = call(narrowed(pair[0], without))
    assert refused(answer, "scope_missing", 403)
    assert answer.json()["scope"] == needed and needed in answer.json()["message"]
    assert call(narrowed(pair[0], needed)).status_code < 300


@pytest.mark.usefixtures("rooms")
def test_a_scope_for_other_topics_shows_nobody_who_is_there(mine: Caller) -> None:
    for scope in ("topics:follow:presence:*", "topics:follow:p*", "topics:follow:presence:room:1"):
        reader = narrowed(mine, scope)
        for call in ("topics/presence:room:1/publications/", "topics/room:1/members/"):
            assert refused(reader.get(call), "scope_missing", 403), scope


def test_a_change_that_waited_needs_the_scope_to_write_also_in_a_call_that_reads(pair: tuple[Caller, Caller]) -> None:
    reader = narrowed(pair[0], "state:read")
    assert reader.post(MAIN + "sync/", {"position": None}).status_code == 200
    body = {"position": None, "pending": [{"merge": {"b": 1}, "key": "k"}]}
    assert refused(reader.post(MAIN + "sync/", body), "scope_missing", 403)


@pytest.mark.parametrize(
    ("scope", "allowed", "denied"),
    [
        ("state:write:cart", ["cart"], ["cart2", "car", "main"]),
        ("state:write:car*", ["cart", "car"], ["ca", "main"]),
        ("state:write", ["cart", "main"], []),
        ("state:read", [], ["cart", "main"]),
        ("state:write:*", ["cart", "main"], []),
    ],
)
def test_a_pattern_is_one_name_or_the_beginning_of_names(
    mine: Caller, scope: str, allowed: list[str], denied: list[str]
) -> None:
    writer = narrowed(mine, scope)
    for name in allowed:
        assert writer.patch(f"sessions/{{id}}/state/{name}/", {"merge": {"a": 1}}).status_code == 200, name
    for name in denied:
        assert refused(writer.patch(f"sessions/{{id}}/state/{name}/", {"merge": {"a": 1}}), "scope_missing", 403), name


@pytest.mark.parametrize(
    "given",
    [[], "state:read", ["state"], ["state:"], ["state:read:"], ["state:read:a*b"], ["app"], ["x:y"], [1], [None],
     ["state:read:\n"], ["events:read:a"], ["app:x"] * 60, {"a": 1}, None],
)  # fmt: skip
def test_scopes_that_are_none_are_refused(mine: Caller, given: Any) -> None:
    answer = mine.post("tokens/narrow/", {"scopes": given})
    assert refused(answer, "invalid_field", 400)
    assert answer.json()["field"] == "scopes"
    if given is not None:
        with pytest.raises(InvalidField):
            create_session(scopes=given)


# -- who gives scopes, and that nobody widens them ---------------------------------------


def offer(request: Any, user: Any) -> Any:
    return None if user is None else ["state:read", "state:write:cart", "app:x"]


def test_s43_a_page_gets_the_scopes_of_its_login_or_fewer_and_never_more(page: Caller, settings: Any) -> None:
    settings.SESSION_MGMT = {"scopes_for": offer}
    csrf = {"X_CSRFToken": page.get("login/").json()["csrf"]}

    def enter(**create: Any) -> Any:
        return page.post("sessions/enter/", {"nonce": new_nonce(), "create": create}, **csrf)

    def stored(answer: Any) -> Any:
        return ClientSession.objects.get(pk=answer.json()["session"]["session_id"]).scopes

    assert stored(enter()) == ["app:x", "state:read", "state:write:cart"]
    assert stored(enter(scopes=["state:read:cart"])) == ["state:read:cart"]
    for wider in (
        ["state:write"],
        ["state:write:*"],
        ["state:write:cart*"],
        ["topics:follow"],
        ["state:read", "app:y"],
    ):
        refusal = enter(scopes=wider)
        assert refused(refusal, "scope_missing", 403), wider
        assert refused(page.post("sessions/", {"scopes": wider}, **csrf), "scope_missing", 403), wider
    assert stored(page.post("sessions/", {"scopes": ["app:x"]}, **csrf)) == ["app:x"]


def test_s43_a_token_is_narrowed_and_never_widened(mine: Caller) -> None:
    child = narrowed(mine, "state:write:car*", "session:manage")
    assert narrowed(child, "state:write:cart").token
    for wider in ("state:write", "state:write:c*", "state:write:*", "state:read", "state:write:main", "app:x"):
        assert refused(child.post("tokens/narrow/", {"scopes": [wider]}), "scope_missing", 403), wider


def test_s43_a_narrowed_token_neither_enters_nor_recovers_nor_refreshes(mine: Caller) -> None:
    child = narrowed(mine, "state:read")
    kept = {"session": mine.session, "token": child.token}
    told = Caller(Client()).post("sessions/enter/", {"nonce": new_nonce(), "kept": kept})
    assert refused(told, "auth_required", 401), "it proves nothing"
    body = {"token": child.token, "nonce": new_nonce()}
    assert refused(mine.post("tokens/refresh/", body), "invalid_token", 401)
    lifecycle.ending.end_session(
        "default", ClientSession.objects.get().pk, ClientSession.State.EXPIRED, "timeout", clock.read("default")
    )
    assert refused(child.post("sessions/{id}/recover/"), "invalid_token", 401)
    assert mine.post("sessions/{id}/recover/").status_code == 201, "the whole one does"


def test_a_successor_inherits_scopes_and_tenant() -> None:
    made = create_session(scopes=["state:read", "session:manage"], tenant="acme")
    lifecycle.ending.end_session(
        "default", made.session.pk, ClientSession.State.EXPIRED, "timeout", clock.read("default")
    )
    assert caller(made).post("sessions/{id}/recover/").status_code == 201
    successor = ClientSession.objects.get(recovered_from=made.session)
    assert (successor.scopes, successor.tenant) == (["session:manage", "state:read"], "acme")


def test_a_narrowed_token_dies_with_its_parent_and_with_its_sessions_number(alice: Any) -> None:
    created = make_pair(alice)
    parent = created.token
    child = narrowing.narrow_token(parent.secret, ["state:read"])
    assert child.access.expires_at == parent.expires_at
    assert narrowing.narrow_token(child.access.secret, ["state:read"], lifetime=timedelta(days=9)).expires_in <= 990
    assert narrowing.narrow_token(parent.secret, ["state:read"], lifetime=timedelta(seconds=9)).expires_in <= 9
    reader = Caller(Client(), child.access.secret, str(created.session.pk))
    assert reader.get("sessions/{id}/").status_code == 200
    ClientSession.objects.update(auth_version=2)
    assert refused(reader.get("sessions/{id}/"), "invalid_token", 401)


def test_a_session_has_a_bounded_number_of_narrowed_tokens(mine: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(narrowing, "MOST", 2)
    narrowed(mine, "state:read"), narrowed(mine, "state:read")
    assert refused(mine.post("tokens/narrow/", {"scopes": ["state:read"]}), "too_many_requests", 429)


def test_only_a_sessions_token_is_narrowed(page: Caller) -> None:
    csrf = {"X_CSRFToken": page.get("login/").json()["csrf"]}
    assert refused(page.post("tokens/narrow/", {"scopes": ["state:read"]}, **csrf), "permission_denied", 403)


@pytest.mark.parametrize(
    ("answer", "problem"), [([], "permission_denied"), ("state:read", "internal_error"), (["no"], "internal_error")]
)
def test_an_answer_of_the_project_without_usable_scopes_gives_no_session(
    page: Caller, settings: Any, answer: Any, problem: str
) -> None:
    settings.SESSION_MGMT = {"scopes_for": lambda request, user: answer}
    csrf = {"X_CSRFToken": page.get("login/").json()["csrf"]}
    told = page.post("sessions/", **csrf)
    assert refused(told, problem, 403 if problem == "permission_denied" else 500)
    assert not ClientSession.objects.exists()


def test_nobodys_session_has_no_sisters(db: None) -> None:
    nobodys = caller(lifecycle.create_session())
    lifecycle.create_session()
    assert [row["session_id"] for row in nobodys.get("sessions/").json()["results"]] == [str(nobodys.session)]
    with pytest.raises(ScopeMissing):
        narrowing.narrow_token(nobodys.token or "", ["sessions:end"])


# -- sister sessions ---------------------------------------


def as_sister(caller: Caller, other: Caller, name: str) -> Any:
    method, path, body, *_ = CALLS[name]
    return Caller(caller.http, caller.token, other.session).call(
        method, path.replace("{conflict}", other.session), body
    )


@pytest.mark.parametrize("name", [name for name in CALLS if name != "end session"])
def test_s42_a_session_reads_and_writes_nothing_of_its_sister(pair: tuple[Caller, Caller], name: str) -> None:
    before = pair[1].get(MAIN).json()
    assert refused(as_sister(pair[0], pair[1], name), "session_not_found", 404)
    assert pair[1].get(MAIN).json() == before
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize("name", [name for name in CALLS if name != "end session"])
def test_s42_the_login_of_a_page_reads_and_writes_nothing_of_its_users_sessions(
    pair: tuple[Caller, Caller], page: Caller, name: str
) -> None:
    page.http.handler.enforce_csrf_checks = False
    assert refused(as_sister(page, pair[1], name), "session_not_found", 404)


@pytest.mark.parametrize("name", CALLS)
def test_no_call_reaches_the_session_of_another_user_by_a_token_or_a_login(
    pair: tuple[Caller, Caller], theirs: Caller, bob: Any, name: str
) -> None:
    http = Client()
    http.force_login(bob)
    before = pair[1].get(MAIN).json()
    for stranger in (theirs, Caller(http)):
        assert refused(as_sister(stranger, pair[1], name), "session_not_found", 404)
    assert pair[1].get(MAIN).json() == before


def test_s42_a_session_lists_its_sisters_without_what_they_hold(pair: tuple[Caller, Caller], page: Caller) -> None:
    found = {one["session_id"]: one["metadata"] for one in pair[0].get("sessions/").json()["results"]}
    assert found == {pair[0].session: {"secret": 0}, pair[1].session: {}}
    assert [one["metadata"] for one in page.get("sessions/").json()["results"]] == [{}, {}]


def test_s42_a_session_ends_its_sister_after_a_recent_login_only(pair: tuple[Caller, Caller]) -> None:
    first, second = pair
    own = ClientSession.objects.get(pk=first.session)
    sister = Caller(first.http, first.token, second.session)
    assert refused(sister.delete("sessions/{id}/"), "reauth_required", 401), "unknown is never recent"
    log_in_long_ago(own, minutes=16)
    refusal = sister.delete("sessions/{id}/")
    assert refused(refusal, "reauth_required", 401)
    assert refusal.json()["max_age"] == 900
    log_in_long_ago(own, minutes=14)
    assert refused(
        Caller(first.http, narrowed(first, "session:manage").token, second.session).delete("sessions/{id}/"),
        "scope_missing",
        403,
    )
    assert sister.delete("sessions/{id}/").status_code == 204
    assert refused(second.get(MAIN), "session_terminated", 410)
    assert AuditEntry.objects.filter(action="terminate").count() == 1


def test_s42_the_login_of_a_page_ends_its_users_sessions_after_a_recent_login_only(
    pair: tuple[Caller, Caller], page: Caller, alice: Any, theirs: Caller
) -> None:
    page.http.handler.enforce_csrf_checks = False
    get_user_model().objects.filter(pk=alice.pk).update(last_login=clock.read("default") - timedelta(hours=1))
    path = f"sessions/{pair[1].session}/"
    assert refused(page.delete(path), "reauth_required", 401)
    get_user_model().objects.filter(pk=alice.pk).update(last_login=clock.read("default"))
    assert page.delete(path).status_code == 204
    assert refused(page.delete(f"sessions/{theirs.session}/"), "session_not_found", 404)


# -- a recent login ---------------------------------------


def test_logging_in_again_makes_the_sessions_of_that_browser_recent_and_no_others(db: None) -> None:
    browser, other = Browser(), Browser()
    for one in (browser, other):
        one.log_in("carol")
        one.enter()
    ClientSession.objects.update(auth_time=clock.read("default") - timedelta(hours=3))
    before = browser.row().auth_time
    browser.log_in("carol")
    assert browser.row().auth_time > before and other.row().auth_time == before
    assert Login.objects.count() == 2
    held = browser.kept["token"] if browser.kept else ""
    rotated = browser.refresh().json()
    assert rotated["refresh"] != held
    assert Token.objects.get(digest=logins.stamps.hash_id(held)).used_at is not None


@pytest.mark.django_db(transaction=True)
def test_many_who_narrow_at_once_pass_no_limit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(narrowing, "MOST", 2)
    secret = lifecycle.create_session().token.secret
    answers = run_together(6, lambda _: narrowing.narrow_token(secret, ["state:read"]))
    assert sum(isinstance(answer, narrowing.Narrowed) for answer in answers) == 2, answers
    assert Token.objects.filter(scopes__isnull=False).count() == 2
