"""Rights over a socket: the scopes of the token decide about each log and each write, and a login may be too old."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from session_mgmt.actions.sessions import narrowing
from session_mgmt.bridge import bridge
from session_mgmt.consumers import commands
from session_mgmt.models import ClientSession, clock
from session_mgmt.protocol import frames, scopes
from session_mgmt.registry import on_message, registry, topic
from session_mgmt.shortcuts import require_recent_login

pytestmark = pytest.mark.django_db(transaction=True)
QUARTER = timedelta(minutes=15)


@pytest.fixture
def guarded(declared: None) -> Iterator[None]:
    """A topic and a message handler that ask for a recent login."""
    before, handlers = list(registry.topics), list(registry.message_handlers)

    def is_recent(session: Any, name: str) -> bool:
        require_recent_login(session, QUARTER)
        return True

    topic("vault:{name}", publish=is_recent)(is_recent)

    def pay(session: Any, data: Any) -> Any:
        require_recent_login(session, QUARTER)
        return "paid"

    on_message(pay)
    yield
    registry.topics[:], registry.message_handlers[:] = before, handlers


async def narrow(created: Any, *names: str) -> str:
    made = await bridge().call(narrowing.narrow_token, created.token.secret, list(names))
    return str(made.access.secret)


async def log_in(created: Any, **passed: float) -> None:
    def write() -> None:
        at = clock.read("default") - timedelta(**passed)
        ClientSession.objects.filter(pk=created.session.pk).update(auth_time=at)

    await bridge().call(write)


async def receipt(peer: Any, **frame: Any) -> Any:
    await peer.say(**frame)
    return await peer.receipt(frame["seq"])


async def answer_to(peer: Any, number: int) -> Any:
    return await peer.until(lambda frame: frame.get("id") == number)


async def test_s43_a_narrowed_token_follows_and_writes_what_its_scopes_name(
    peers: Any, created: Any, guarded: None
) -> None:
    token = await narrow(created, "state:write:cart*", "state:read:cart")
    peer = peers()
    logs = {"session": None, "state:cart": None, "state:main": None, "topic:vault:1": None}
    connected = await peer.open(token, logs=logs)
    found = connected["logs"]
    assert found.pop("state:cart")["mode"] != "denied"
    assert {log: verdict["error"]["scope"] for log, verdict in found.items()} == {
        "session": "events:read",
        "state:main": "state:read:main",
        "topic:vault:1": "topics:follow:vault:1",
    }
    assert (await receipt(peer, type="update", seq=1, doc="cart", ops=[["set", "/a", 1]]))["position"][1] == 1
    refused = await receipt(peer, type="update", seq=2, doc="main", ops=[["set", "/a", 1]])
    assert (refused["error"]["name"], refused["error"]["scope"]) == ("scope_missing", "state:write:main")
    refused = await receipt(peer, type="send", seq=3, data=1)
    assert refused["error"]["scope"] == "messages:send"
    refused = await receipt(peer, type="publish", seq=4, topic="vault:1", data=1)
    assert refused["error"]["scope"] == "topics:publish:vault:1"
    assert (await receipt(peer, type="update", seq=5, doc="cart", ops=[["set", "/a", 2]]))["position"][1] == 2
    for number, log in enumerate(("session", "state:main", "topic:vault:1")):
        await peer.say(type="subscribe", id=number, log=log)
        assert (await answer_to(peer, number))["name"] == "scope_missing", log
    await peer.say(type="history", id=9, log="topic:vault:1")
    assert (await answer_to(peer, 9))["scope"] == "topics:follow:vault:1"
    await peer.say(type="publish", topic="vault:1", data=1, ephemeral=True)
    assert (await peer.until_type("error"))["scope"] == "topics:publish:vault:1"


async def test_a_write_that_was_refused_keeps_its_refusal_when_a_wider_token_repeats_it(
    peers: Any, created: Any
) -> None:
    peer = peers()
    connected = await peer.open(await narrow(created, "state:read"))
    write = {"type": "update", "seq": 1, "doc": "main", "ops": [["set", "/a", 1]]}
    assert (await receipt(peer, **write))["error"]["name"] == "scope_missing"
    wider = peers()
    await wider.open(created.token.secret, client_id=connected["client_id"])
    assert (await receipt(wider, **write))["error"]["name"] == "scope_missing", "the number was decided"
    assert (await receipt(wider, **{**write, "seq": 2}))["position"][1] == 1


@pytest.mark.requirement("ASVS 8.2.1")
def test_s43_a_frame_without_a_row_is_refused() -> None:
    kinds = {kind.__name__.lower() for kind in commands.HANDLERS}
    assert kinds == set(scopes.FRAMES) == set(frames.FRAME_TYPES)
    handlers = commands.map_frames({frames.Ping: commands.HANDLERS[frames.Ping], int: print})
    assert handlers[int] is commands.refuse_unmapped
    assert handlers[frames.Ping] is commands.HANDLERS[frames.Ping]


@pytest.mark.requirement("ASVS 7.5.3")
async def test_what_needs_a_recent_login_is_refused_alike_over_frames(peers: Any, created: Any, guarded: None) -> None:
    await log_in(created, minutes=16)
    peer = peers()
    connected = await peer.open(created.token.secret, logs={"topic:vault:1": None})
    assert connected["logs"]["topic:vault:1"]["error"]["name"] == "reauth_required"
    await peer.say(type="subscribe", id=1, log="topic:vault:1")
    assert (await answer_to(peer, 1))["name"] == "reauth_required"
    await peer.say(type="history", id=3, log="topic:vault:1")
    assert (await answer_to(peer, 3))["name"] == "reauth_required"
    assert (await receipt(peer, type="send", seq=1, data=1))["error"]["name"] == "reauth_required"
    refused = await receipt(peer, type="publish", seq=2, topic="vault:1", data=1)
    assert refused["error"]["name"] == "reauth_required"
    # The connection stays; whoever logs in again may.
    await log_in(created)
    await peer.say(type="subscribe", id=2, log="topic:vault:1")
    assert (await answer_to(peer, 2))["verdict"]
    assert (await receipt(peer, type="send", seq=3, data=1))["data"] == "paid"
