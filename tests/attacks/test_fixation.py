"""Fixation and replay: what an attacker made up, planted before a login, or kept after a logout proves nothing."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest

from session_mgmt.actions.sessions import expiry
from session_mgmt.bridge import bridge
from session_mgmt.consumers.hub import hub
from session_mgmt.models import ClientSession, Login, SessionActivity, Token, clock
from session_mgmt.shortcuts import state
from tests.api.calls import Caller, refused
from tests.identity.browser import Browser
from tests.identity.conftest import new_nonce

pytestmark = pytest.mark.django_db(transaction=True)
SECRET = "of-alice-alone"


@pytest.fixture(autouse=True)
def visitors(settings: Any) -> None:
    settings.SESSION_MGMT = {"ANONYMOUS_SESSIONS": True, "MAX_REQUESTS_PER_SECOND": 0.0}


class Thief:
    """Somebody elsewhere who holds a copy of what a browser had: its session's id, its tokens and its nonce."""

    def __init__(self, entered: dict[str, Any], nonce: str) -> None:
        self.session = entered["session"]["session_id"]
        self.access, self.refresh, self.nonce = entered["access"], entered["refresh"], nonce
        self.http = Browser().http

    def bear(self, method: str, path: str, body: Any = None) -> Any:
        return Caller(self.http, self.access, self.session).call(method, path, body)

    def exchange(self, nonce: str | None = None) -> Any:
        return Caller(self.http).post("tokens/refresh/", {"token": self.refresh, "nonce": nonce or new_nonce()})

    def enter(self, nonce: str | None = None) -> dict[str, Any]:
        kept = {"session": self.session, "token": self.refresh}
        found: dict[str, Any] = (
            Caller(self.http).post("sessions/enter/", {"nonce": nonce or new_nonce(), "kept": kept}).json()
        )
        assert SECRET not in str(found)
        return found

    def require_powerless(self, name: str, status: int) -> None:
        """Try everything that a token is for; refused by a documented ``name``, or begun anew with nothing."""
        for path in ("sessions/{id}/", "sessions/{id}/state/main/"):
            assert refused(self.bear("GET", path), name, status), path
        assert refused(self.bear("PATCH", "sessions/{id}/", {"label": "x"}), name, status)
        for nonce in (None, self.nonce):
            answer = self.exchange(nonce)
            assert refused(answer, name, status)
            self.require_other(self.enter(nonce))
        assert self.bear("POST", "sessions/{id}/recover/", {}).status_code in (401, 409, 410)

    def require_other(self, found: dict[str, Any]) -> None:
        """Require that a page that enters is given a new session of nobody's, or nothing."""
        if "verdict" in found:
            assert (found["verdict"], found["user_id"]) == ("created", None), found
            assert found["session"]["session_id"] != self.session
        else:
            # The nonce made a session that has ended.
            assert (found["name"], found.get("field")) == ("invalid_field", "nonce"), found


def take_copy(browser: Browser) -> Thief:
    """Let a visitor enter, and return somebody with a copy of all that its page was given."""
    nonce = new_nonce()
    return Thief(browser.enter(nonce), nonce)


@pytest.mark.requirement("OWASP sessions: strict")
def test_a_self_made_id_and_token_make_nothing() -> None:
    before = ClientSession.objects.count()
    made_up = str(uuid.uuid4())
    for token in ("sma_" + "x" * 43, "smr_" + "x" * 43, "smc_" + "x" * 43, "x", made_up):
        browser = Browser()
        browser.kept = {"session": made_up, "token": token}
        found = browser.enter()
        assert found["verdict"] == "created" and found["session"]["session_id"] != made_up
        assert token not in (found["access"], found["refresh"])
        before += 1
    assert ClientSession.objects.count() == before
    assert not ClientSession.objects.filter(pk=made_up).exists()
    for method, path in (("GET", "sessions/{id}/"), ("PUT", "sessions/{id}/state/main/")):
        caller = Caller(Browser().http, "sma_" + "x" * 43, made_up)
        assert caller.call(method, path, None if method == "GET" else {"data": {}}).status_code == 401
    assert ClientSession.objects.count() == before


def plant(thief: Thief, victim: Browser) -> None:
    """Put an attacker's own visitor session into somebody's page."""
    victim.kept = {"session": thief.session, "token": thief.refresh}


@pytest.mark.parametrize("has_refreshed", [False, True])
@pytest.mark.requirement("ASVS 7.2.4")
def test_a_token_planted_before_a_login_proves_nothing_after_the_claim(has_refreshed: bool) -> None:
    thief = take_copy(Browser())
    old = Thief({"session": {"session_id": thief.session}, "access": thief.access, "refresh": thief.refresh}, "")
    old.nonce = thief.nonce
    if has_refreshed:
        # The victim is given the new pair; the attacker keeps both, and the first is within its grace.
        told = thief.exchange().json()
        thief.access, thief.refresh = told["access"], told["refresh"]
    victim = Browser()
    plant(thief, victim)
    victim.log_in("alice")
    found = victim.enter()
    assert (found["verdict"], found["session"]["session_id"]) == ("claimed", thief.session)
    state.replace(victim.row(), {"of": SECRET})
    rows = list(Token.objects.filter(session=victim.row(), auth_version=2).values())
    for one in (thief, old):
        one.require_powerless("invalid_token", 401)
    # Her own go on, whatever was tried.
    assert list(Token.objects.filter(session=victim.row(), auth_version=2).values()) == rows
    assert victim.refresh().status_code == 200
    assert victim.row().state == ClientSession.State.ACTIVE


async def test_a_socket_opened_before_a_login_is_closed_by_the_claim(peers: Any) -> None:
    victim, run = Browser(), bridge().read
    thief = await run(take_copy, Browser())
    peer = peers()
    await peer.open(thief.access, logs={"state:main": None})
    plant(thief, victim)
    await run(victim.log_in, "alice")
    assert (await run(victim.enter))["verdict"] == "claimed"
    assert await peer.closed() in (4005, 4006)
    await state.areplace(thief.session, {"of": SECRET})
    again = peers()
    assert (await again.open(thief.access, logs={"state:main": None}))["name"] == "invalid_token"
    assert await again.closed() == 4501
    assert SECRET not in str(peer.seen + again.seen)


def enter_alice(browser: Browser) -> Thief:
    browser.log_in("alice")
    nonce = new_nonce()
    found = browser.enter(nonce)
    return Thief(found, nonce)


@pytest.mark.requirement("ASVS 7.4.1")
def test_a_logout_leaves_nothing_that_could_be_replayed() -> None:
    browser = Browser()
    thief = enter_alice(browser)
    state.replace(browser.row(), {"of": SECRET})
    browser.log_out()
    thief.require_powerless("session_terminated", 410)
    row = ClientSession.objects.get(pk=thief.session)
    assert row.state == ClientSession.State.TERMINATED
    assert not ClientSession.objects.filter(recovered_from=row).exists()
    assert not Login.objects.filter(ended_at=None).exists()


@pytest.mark.requirement("ASVS 7.4.1")
async def test_a_logout_closes_the_open_socket_and_no_other_opens(peers: Any) -> None:
    browser, run = Browser(), bridge().read
    thief = await run(enter_alice, browser)
    peer = peers()
    await peer.open(thief.access)
    await run(browser.log_out)
    assert await peer.closed() == 4503
    again = peers()
    assert (await again.open(thief.access))["name"] == "session_terminated"
    assert await again.closed() == 4503


def pass_deadline(session: str) -> None:
    """Let a session's absolute deadline pass, which no activity moves."""
    past = clock.read("default") - timedelta(days=1)
    SessionActivity.objects.filter(pk=session).update(absolute_deadline=past, expires_at=past)


@pytest.mark.parametrize("is_swept", [True, False])
@pytest.mark.requirement("ASVS 7.3.2", "OWASP WebSocket: expiry")
async def test_an_absolute_deadline_closes_the_socket_of_whoever_stays_active(
    peers: Any, settings: Any, is_swept: bool
) -> None:
    # No round of its own: the test turns the one that it is about.
    settings.SESSION_MGMT = {**settings.SESSION_MGMT, "LEASE_FLUSH_INTERVAL": 3600.0, "CONTROL_INTERVAL": 3600.0}
    thief = await bridge().read(enter_alice, Browser())
    peer = peers()
    await peer.open(thief.access)
    await peer.say(type="update", seq=1, doc="main", data={"a": 1})
    await peer.receipt(1)
    await bridge().call(pass_deadline, thief.session)
    if is_swept:
        assert await bridge().call(expiry.expire_due, limit=10) == [uuid.UUID(thief.session)]
    else:
        await hub().rounds.check_sessions()
    assert await peer.closed() == 4504
    again = peers()
    assert (await again.open(thief.access))["name"] == "session_expired"
    assert await again.closed() == 4504
