"""Run inside the project of plain users by `test_plain_users`; its name keeps it out of the suite's own run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from session_mgmt.actions.access import SERVER
from session_mgmt.actions.sessions import controls, lifecycle
from session_mgmt.bridge import bridge
from session_mgmt.consumers.hub import hub
from session_mgmt.models import ClientSession, Login
from session_mgmt.shortcuts import access_changed, create_session, erase_user, export_user
from tests.plain_users.people.models import Member
from tests.walks.conftest import declared, peers, way

__all__ = ["declared", "peers", "way"]

pytestmark = pytest.mark.django_db(transaction=True)
# Keys that a form, an address or a statement would have to quote.
ANN, BOB = "o'ann-of the_shop", "böb/2"
NONCES = iter(chr(97 + number) * 43 for number in range(26))


def make_member(slug: str) -> Member:
    member = Member(slug=slug)
    member.set_password("a password")
    member.save()
    return member


@pytest.fixture
def ann() -> Member:
    return make_member(ANN)


class Page:
    """Browser whose page keeps its session."""

    def __init__(self) -> None:
        self.http, self.kept = Client(), None

    def enter(self) -> Any:
        body = {"nonce": next(NONCES), "kept": self.kept}
        answer = self.http.post("/api/sessions/enter/", body, "application/json")
        found = answer.json()
        if found.get("refresh"):
            self.kept = {"session": found["session"]["session_id"], "token": found["refresh"]}
        return found

    def log_in(self, slug: str) -> None:
        assert self.http.get(f"/in/{slug}/").status_code == 200


@pytest.fixture
def page() -> Iterator[Page]:
    yield Page()


def read_end(key: str) -> tuple[str, str]:
    row = ClientSession.objects.get(pk=key)
    return row.state, row.end_reason


def test_the_checks_are_silent() -> None:
    call_command("check")


def test_a_visitor_is_claimed_continues_refreshes_and_is_logged_out(page: Page, ann: Member) -> None:
    assert page.enter()["verdict"] == "created"
    page.log_in(ANN)
    claimed = page.enter()
    assert (claimed["verdict"], claimed["user_id"], claimed["session"]["user_id"]) == ("claimed", ANN, ANN)
    assert page.enter()["verdict"] == "continued"
    assert page.kept is not None
    body = {"token": page.kept["token"], "nonce": next(NONCES)}
    refreshed = page.http.post("/api/tokens/refresh/", body, "application/json").json()
    assert refreshed["access"].startswith("sma_")
    bearer = {"Authorization": f"Bearer {refreshed['access']}"}
    me = page.http.get(f"/api/sessions/{page.kept['session']}/", headers=bearer).json()
    assert (me["user_id"], me["state"]) == (ANN, "active")
    assert page.http.get("/api/login/").json()["user_id"] == ANN
    # By the token, and by the cookie of Django's login.
    for headers in (bearer, {}):
        mine = page.http.get("/api/sessions/", headers=headers).json()
        assert [row["session_id"] for row in mine["results"]] == [page.kept["session"]]
    page.http.get("/out/")
    assert read_end(page.kept["session"]) == ("terminated", "logged_out")


def test_the_next_person_gets_nothing_of_the_one_before(page: Page, ann: Member) -> None:
    make_member(BOB)
    page.log_in(ANN)
    before = page.enter()["session"]["session_id"]
    page.log_in(BOB)
    after = page.enter()
    assert (after["verdict"], after["user_id"]) == ("created", BOB)
    assert read_end(before) == ("terminated", "login_changed")


def test_a_changed_password_ends_the_other_browser_only(page: Page, ann: Member) -> None:
    other = Page()
    for one in (page, other):
        one.log_in(ANN)
        one.enter()
    page.http.get("/password/")
    assert page.enter()["verdict"] == "continued"
    assert other.enter().get("verdict") != "continued"


def test_a_deleted_user_and_rights_that_change(ann: Member) -> None:
    created = create_session(user=ann)
    key = created.session.pk
    access_changed(ann)
    known = controls.Known(1, 1, b"")
    assert controls.find_controls({key: known})[key].code is None
    # Users without permissions have none.
    assert lifecycle.find_refusal(SERVER, key, permission="shop.buy") == "permission_denied"
    ann.delete()
    assert controls.find_controls({key: known})[key].code == 4503


def test_a_persons_data_is_handed_out_and_erased(page: Page, ann: Member) -> None:
    page.log_in(ANN)
    page.enter()
    kinds = {record["kind"] for record in export_user(ann)}
    assert {"session", "login", "event"} <= kinds
    assert erase_user(ann).sessions == 1
    assert (ClientSession.objects.count(), Login.objects.count()) == (0, 0)


def make_session() -> lifecycle.Created:
    return create_session(user=make_member(ANN))


async def test_a_socket_is_served_and_survives_the_rounds(peers: Any, transactional_db: None) -> None:
    created = await bridge().call(make_session)
    one = peers()
    connected = await one.open(created.token.secret, logs={"topic:room:1": None})
    assert connected["session"]["user_id"] == ANN
    await hub().rounds.check_sessions()
    await hub().rounds.flush_leases()
    await one.say(type="update", seq=1, doc="main", ops=[["set", "/a", 1]])
    assert "error" not in await one.receipt(1)
    await bridge().call(Member.objects.all().delete)
    await hub().rounds.check_sessions()
    assert await one.closed() == 4503
