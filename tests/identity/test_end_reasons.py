"""The reason of an end, in the same word wherever a client may hear of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from session_mgmt.actions.sessions import ending
from session_mgmt.actions.sessions.lifecycle import Created
from session_mgmt.backends.doorbell import Doorbell
from session_mgmt.bridge import bridge
from session_mgmt.consumers.hub import hub
from session_mgmt.models import ClientSession, SessionActivity, clock
from session_mgmt.models.isolation import open_transaction
from tests.api.calls import Caller
from tests.identity.conftest import make_pair, new_nonce, refresh_of

pytestmark = pytest.mark.django_db(transaction=True)

State = ClientSession.State
Sight = tuple[str, str | None]


def make_theirs() -> Created:
    user, _ = get_user_model().objects.get_or_create(username="ann")
    return make_pair(user)


def end_for(state: str, reason: str) -> Callable[[Created], None]:
    def end(created: Created) -> None:
        with open_transaction("default"):
            ending.end_session("default", created.session.pk, State(state), reason, clock.read("default"))

    return end


def run_out(created: Created) -> None:
    """Let time pass, and no sweep come by."""
    at = clock.read("default") - timedelta(days=1)
    SessionActivity.objects.filter(pk=created.session.pk).update(expires_at=at)


def deactivate(created: Created) -> None:
    get_user_model().objects.update(is_active=False)


async def open_socket(peers: Any, created: Created) -> Any:
    one = peers()
    await one.open(created.token.secret)
    return one


async def hear_bye(one: Any) -> Sight:
    await one.closed()
    (bye,) = [frame for frame in one.seen if frame["type"] == "bye"]
    return bye["name"], bye.get("reason")


async def see_round(one: Any, created: Created) -> Sight:
    await hub().rounds.check_sessions()
    return await hear_bye(one)


async def see_flush(one: Any, created: Created) -> Sight:
    await hub().rounds.flush_leases()
    return await hear_bye(one)


async def see_write(one: Any, created: Created) -> Sight:
    await one.say(type="update", seq=1, doc="main", ops=[["set", "/a", 1]])
    return await hear_bye(one)


async def see_request(one: Any, created: Created) -> Sight:
    await one.say(type="subscribe", id=1, log="session", position=None)
    error = await one.until_type("error")
    return error["name"], error.get("reason")


async def see_refresh(one: Any, created: Created) -> Sight:
    await one.say(type="refresh", id=1, token=refresh_of(created), nonce=new_nonce())
    error = await one.until_type("error")
    return error["name"], error.get("reason")


async def see_connect(one: Any, created: Created) -> Sight:
    again = one.another()
    error = await again.open(created.token.secret)
    assert (error["name"], error.get("reason")) == await hear_bye(again)
    return error["name"], error.get("reason")


def call(created: Created, token: str | None, method: str, path: str, body: Any = None) -> Sight:
    answer = Caller(Client(), token, str(created.session.pk)).call(method, path, body).json()
    return answer["name"], answer.get("reason")


async def see_call(one: Any, created: Created) -> Sight:
    return await bridge().call(call, created, created.token.secret, "GET", "sessions/{id}/state/")


async def see_refresh_call(one: Any, created: Created) -> Sight:
    body = {"token": refresh_of(created), "nonce": new_nonce()}
    return await bridge().call(call, created, None, "POST", "tokens/refresh/", body)


SIGHTS: list[Callable[[Any, Created], Awaitable[Sight]]] = [
    see_round,
    see_flush,
    see_write,
    see_request,
    see_refresh,
    see_connect,
    see_call,
    see_refresh_call,
]
ENDS: dict[str, tuple[Callable[[Created], None], Sight]] = {
    reason: (end_for("terminated", reason), ("session_terminated", reason))
    for reason in ("logged_out", "credentials_changed", "login_changed", "requested", "session_limit", "token_reuse")
}
ENDS |= {
    "login_gone": (end_for("expired", "login_gone"), ("session_expired", "login_gone")),
    "timeout": (end_for("expired", "timeout"), ("session_expired", "timeout")),
    "time": (run_out, ("session_expired", "timeout")),
    # What an operator writes is for the people of the site.
    "words": (end_for("terminated", "Called by phone."), ("session_terminated", None)),
}


@pytest.mark.parametrize("end", ENDS)
async def test_every_way_to_hear_of_an_end_tells_its_reason(
    peers: Any, transactional_db: None, monkeypatch: pytest.MonkeyPatch, end: str, settings: Any
) -> None:
    settings.SESSION_MGMT = {"CONTROL_INTERVAL": 3600.0, "LEASE_FLUSH_INTERVAL": 10.0}
    monkeypatch.setattr(Doorbell, "ring", lambda *args: None)
    finish, expected = ENDS[end]
    seen = {}
    for see in SIGHTS:
        created = await bridge().call(make_theirs)
        one = await open_socket(peers, created)
        one.another = peers
        await bridge().call(finish, created)
        if (see, end) == (see_flush, "time"):
            # No row tells a flush that time is over; the round does.
            continue
        seen[see.__name__] = await see(one, created)
    assert seen == dict.fromkeys(seen, expected)


async def test_a_user_who_was_deactivated_is_told_so_by_the_round(
    peers: Any, transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Doorbell, "ring", lambda *args: None)
    created = await bridge().call(make_theirs)
    one = await open_socket(peers, created)
    await bridge().call(deactivate, created)
    assert await see_round(one, created) == ("session_terminated", "user_deactivated")


async def test_the_bell_of_an_end_tells_its_reason(peers: Any, transactional_db: None) -> None:
    for end in ("logged_out", "words"):
        created = await bridge().call(make_theirs)
        one = await open_socket(peers, created)
        finish, expected = ENDS[end]
        await bridge().call(finish, created)
        assert await hear_bye(one) == expected
