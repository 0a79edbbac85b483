"""However a session ends, its open connection is closed, is given nothing more, and its token opens nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from session_mgmt.actions.sessions import lifecycle
from session_mgmt.bridge import bridge
from session_mgmt.consumers.hub import hub
from session_mgmt.models import SessionActivity
from session_mgmt.registry import topic
from session_mgmt.shortcuts import apublish, erase_user, terminate_session

LOG = "topic:watched:1"


def change_password(user: Any) -> None:
    user.set_password("another")
    user.save()


def run_out(user: Any) -> None:
    SessionActivity.objects.update(expires_at=user.date_joined - timedelta(days=9))


def suspend(user: Any) -> None:
    get_user_model().objects.filter(pk=user.pk).update(is_active=False)


ENDS: dict[str, Callable[[Any], Any]] = {
    "revoked": lambda user: terminate_session(user.client_sessions.get()),
    "run out": run_out,
    "password": change_password,
    "suspended": suspend,
    "erased": erase_user,
    "deleted": lambda user: user.delete(),
}


@pytest.fixture
def watched(declared: None) -> None:
    """Declare a topic with everything that its functions may tell; ``declared`` takes it away."""

    @topic(
        "watched:{pk:int}",
        presence=True,
        snapshot=lambda session, pk: {"hidden": pk},
        allow_entry=lambda session, entry: True,
    )
    def may_watch(session: Any, pk: int) -> bool:
        return session.user is not None


@pytest.mark.parametrize("end", ENDS)
async def test_nothing_is_told_to_a_session_that_has_ended(peers: Any, watched: None, end: str) -> None:
    user = await bridge().read(get_user_model().objects.create_user, "ada", password="first")
    made = await bridge().call(lifecycle.create_session, user=user)
    one = peers()
    assert (await one.open(made.token.secret, logs={LOG: None}))["type"] == "connected"
    await apublish("watched:1", "seen-by-all")
    assert [entry[2] for entry in await one.entry(LOG)] == ["seen-by-all"]
    await bridge().call(ENDS[end], user)
    await hub().rounds.check_sessions()
    assert await one.closed()
    await apublish("watched:1", "hidden-1")
    assert "hidden-1" not in str(one.seen)

    headers = {"Authorization": f"Bearer {made.token.secret}"}
    for address in ("publications", "members"):
        answer = await bridge().read(Client().get, f"/api/topics/watched:1/{address}/", headers=headers)
        assert answer.status_code in (401, 410), (address, answer.content)
    other = peers()
    await other.open(made.token.secret, logs={LOG: None})
    assert await other.closed() and "hidden" not in str(other.seen)
