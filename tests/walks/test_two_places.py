"""One client in two places, on two processes whose doorbells do not reach each other: the older one is closed, and
no number is used up by being too late.
"""

from __future__ import annotations

import sys
from typing import Any

import pytest

from session_mgmt.actions.access import SERVER
from session_mgmt.actions.sessions import attachments, controls, lifecycle, stopping
from session_mgmt.backends.doorbell import Doorbell
from session_mgmt.bridge import bridge
from session_mgmt.consumers import serving
from session_mgmt.consumers.hub import hub
from session_mgmt.protocol.frames import Connect
from tests.attaching import attach_client

MAIN = "state:main"
CHANGE = {"type": "update", "ops": [["set", "/a", 1]]}
PUBLISH = {"type": "publish", "topic": "room:1", "data": "hello"}
SEND = {"type": "send", "data": {"n": 1}}


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no doorbell be heard, as between processes without a channel layer."""
    monkeypatch.setattr(sys.modules[Doorbell.__module__].Doorbell, "ring", lambda *args: None)


async def attach_elsewhere(created: Any, client_id: str, acked: int = 0) -> attachments.Attachment:
    """Attach the same client as another process does."""
    frame = Connect(created.token.secret, client_id, acked, {}, "")
    return await bridge().call(attach_client, frame, server="another")


@pytest.mark.parametrize("frame", [CHANGE, PUBLISH, SEND])
async def test_a_write_on_the_older_connection_gets_no_receipt_and_the_close_that_says_why(
    peers: Any, created: Any, deaf: None, frame: dict[str, Any]
) -> None:
    one = peers()
    connected = await one.open(created.token.secret, logs={MAIN: None})
    await attach_elsewhere(created, connected["client_id"])
    await one.say(**frame, seq=1)
    assert await one.closed() == 4507
    assert [f for f in one.seen if f["type"] == "receipt"] == []
    assert one.seen[-1] == {
        "type": "bye",
        "code": 4507,
        "name": "replaced",
        "reconnect": False,
        "retry_after": None,
    }


async def test_a_number_that_was_accepted_is_not_refused_on_the_older_connection(
    peers: Any, created: Any, deaf: None
) -> None:
    one, two = peers(), peers()
    connected = await one.open(created.token.secret)
    await one.say(**CHANGE, seq=1)
    assert (await one.receipt(1))["ok"]
    await attach_elsewhere(created, connected["client_id"])
    await one.say(**CHANGE, seq=1)
    await one.say(**CHANGE, seq=2)
    assert await one.closed() == 4507
    assert [f["seq"] for f in one.seen if f["type"] == "receipt"] == [1]
    again = await two.open(created.token.secret, client_id=connected["client_id"], acked=1)
    assert (again["last_seq"], again["went_back"]) == (1, False)
    await two.say(**CHANGE, seq=1)
    assert (await two.receipt(1))["replayed"]
    await two.say(type="update", seq=2, ops=[["set", "/a", 2]])
    assert (await two.receipt(2))["ok"]


async def test_a_quiet_older_connection_is_closed_as_replaced_by_the_next_flush(
    peers: Any, created: Any, deaf: None
) -> None:
    one = peers()
    connected = await one.open(created.token.secret)
    await attach_elsewhere(created, connected["client_id"])
    await hub().rounds.flush_leases()
    assert await one.closed() == 4507


async def test_a_quiet_older_connection_is_closed_as_replaced_by_the_next_look_at_sessions(
    peers: Any, created: Any, deaf: None
) -> None:
    one, other = peers(), peers()
    connected = await one.open(created.token.secret)
    await other.open(created.token.secret)
    await attach_elsewhere(created, connected["client_id"])
    await hub().rounds.check_sessions()
    assert await one.closed() == 4507
    await other.say(**CHANGE, seq=1)
    assert (await other.receipt(1))["ok"]


async def test_the_end_of_a_session_is_the_reason_although_it_fences_its_clients_too(
    peers: Any, created: Any, deaf: None
) -> None:
    one = peers()
    await one.open(created.token.secret)
    await bridge().call(lifecycle.terminate_session, SERVER, created.session.pk)
    await hub().rounds.check_sessions()
    assert await one.closed() == 4503


@pytest.mark.sqlite
async def test_a_round_asks_about_all_clients_and_sessions_in_slices(
    peers: Any, created: Any, deaf: None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A round of the process itself would ask as well.
    settings.SESSION_MGMT = {"control_interval": 3600.0}
    monkeypatch.setattr(serving, "SLICE", 2)
    sizes: list[int] = []

    def count(find: Any) -> Any:
        def ask(known: Any) -> Any:
            sizes.append(len(known))
            return find(known)

        return ask

    monkeypatch.setattr(stopping, "find_fenced", count(stopping.find_fenced))
    monkeypatch.setattr(controls, "find_controls", count(controls.find_controls))
    made = [created, *[await bridge().call(lifecycle.create_session) for _ in range(2)]]
    opened = [peers() for _ in made]
    clients = [await peer.open(one.token.secret) for peer, one in zip(opened, made, strict=True)]
    await attach_elsewhere(created, clients[0]["client_id"])
    await bridge().call(lifecycle.terminate_session, SERVER, made[2].session.pk)
    await hub().rounds.check_sessions()
    assert sizes == [2, 1, 2, 1]
    assert [await opened[0].closed(), await opened[2].closed()] == [4507, 4503]
    await opened[1].say(**CHANGE, seq=1)
    assert (await opened[1].receipt(1))["ok"]


async def test_of_three_places_only_the_newest_goes_on(peers: Any, created: Any, deaf: None) -> None:
    one = peers()
    connected = await one.open(created.token.secret)
    await attach_elsewhere(created, connected["client_id"])
    three = peers()
    again = await three.open(created.token.secret, client_id=connected["client_id"])
    await attach_elsewhere(created, connected["client_id"])
    assert again["generation"] == 3
    await hub().rounds.check_sessions()
    assert [await peer.closed() for peer in (one, three)] == [4507, 4507]


async def test_a_write_of_an_ended_session_is_answered_by_the_end_and_not_by_replaced(
    peers: Any, created: Any, deaf: None
) -> None:
    one = peers()
    await one.open(created.token.secret)
    await bridge().call(lifecycle.terminate_session, SERVER, created.session.pk)
    await one.say(**CHANGE, seq=1)
    assert await one.closed() == 4503
    assert [f for f in one.seen if f["type"] == "receipt"] == []
