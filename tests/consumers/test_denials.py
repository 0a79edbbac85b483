"""Refusals of sockets are in the audit trail: who, what, when, from where; and a hostile client fills nothing."""

from __future__ import annotations

from typing import Any

import pytest

from session_mgmt.actions.sessions import incidents, narrowing
from session_mgmt.bridge import bridge
from session_mgmt.consumers.hub import hub
from session_mgmt.exceptions import InvalidField, TopicDenied, Unavailable
from session_mgmt.models import AuditEntry
from tests.identity.conftest import alice, created, declared, make_pair, peers, way

__all__ = ["alice", "created", "declared", "peers", "way"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.parametrize("way", ["asgi"], indirect=True)]
HERE = ("192.0.2.7", 4000)


async def read_trail() -> list[dict[str, Any]]:
    await hub().denials.wait_until_written()
    fields = ("action", "session", "ip", "data")
    return [entry async for entry in AuditEntry.objects.order_by("pk").values(*fields)]


def denied(created: Any, name: str, call: str, log: str) -> dict[str, Any]:
    user = created.session.user_id
    data = {"name": name, "call": call, "user_id": None if user is None else str(user), "log": log}
    return {"action": "permission_denied", "session": created.session.pk, "ip": HERE[0], "data": data}


@pytest.mark.requirement("ASVS 16.2.1")
async def test_a_topic_that_is_denied_a_hundred_times_is_in_the_trail_once(peers: Any, alice: Any) -> None:
    created = await bridge().call(make_pair, alice)
    peer = peers(client=HERE)
    await peer.open(created.token.secret)
    for number in range(100):
        await peer.say(type="subscribe", id=number, log=f"topic:hidden:{number}")
        assert (await peer.until_type("error"))["name"] == "topic_denied"
    assert await read_trail() == [denied(created, "topic_denied", "subscribe", "topic:hidden:0")]


async def test_a_topic_that_is_denied_at_connect_is_in_the_trail(peers: Any, created: Any) -> None:
    peer = peers(client=HERE)
    connected = await peer.open(created.token.secret, logs={"topic:room:secret": None, "topic:room:1": None})
    assert connected["logs"]["topic:room:secret"]["mode"] == "denied"
    assert await read_trail() == [denied(created, "topic_denied", "connect", "topic:room:secret")]


@pytest.mark.parametrize("more", [{"seq": 1}, {"ephemeral": True}])
@pytest.mark.parametrize(("scope", "name"), [(None, "publish_denied"), ("state:read", "scope_missing")])
async def test_a_publication_that_is_denied_is_in_the_trail(
    peers: Any, created: Any, more: dict[str, Any], scope: str | None, name: str
) -> None:
    token = created.token.secret
    if scope is not None:
        token = (await bridge().call(narrowing.narrow_token, token, [scope])).access.secret
    peer = peers(client=HERE)
    await peer.open(token)
    await peer.say(type="publish", topic="hidden", data=1, **more)
    answer = await peer.until(lambda frame: frame["type"] in ("receipt", "error"))
    assert (answer.get("error") or answer)["name"] == name
    assert await read_trail() == [denied(created, name, "publish", "topic:hidden")]


async def test_a_server_that_stops_writes_its_notes_first(peers: Any, created: Any) -> None:
    denials = hub().denials
    denials.note(TopicDenied(), "connect", address=HERE[0], session=created.session.pk)
    await hub().stop()
    assert not denials._tasks


async def test_somebody_who_hangs_up_at_once_is_in_the_trail_too(peers: Any, created: Any) -> None:
    peer = peers(client=HERE)
    await peer.open(created.token.secret)
    await peer.say(type="subscribe", id=1, log="topic:hidden")
    await peer.until_type("error")
    await peer.drop()
    assert len(await read_trail()) == 1


async def test_a_page_of_another_site_is_in_the_trail(peers: Any) -> None:
    for _ in range(3):
        peer = peers(client=HERE, origin="https://evil.test", host="shop.test")
        await peer.handshake()
        assert await peer.closed() == 4509
    (entry,) = await read_trail()
    assert (entry["action"], entry["ip"], entry["session"]) == ("permission_denied", HERE[0], None)
    assert entry["data"] == {"name": "origin_denied", "call": "handshake", "user_id": None}


@pytest.mark.requirement("ASVS 16.2.1")
async def test_a_flood_of_frames_is_in_the_trail(peers: Any, created: Any, settings: Any) -> None:
    settings.SESSION_MGMT = {"MAX_FRAMES_PER_SECOND": 1.0}
    peer = peers(client=HERE)
    await peer.open(created.token.secret)
    for number in range(20):
        await peer.say(type="ping", id=number)
    assert await peer.closed() == 4029
    (entry,) = await read_trail()
    assert (entry["action"], entry["session"]) == ("limit_reached", created.session.pk)
    assert (entry["data"]["name"], entry["data"]["call"]) == ("too_many_requests", "frames")


@pytest.mark.requirement("OWASP WebSocket: connections")
async def test_too_many_sockets_of_an_address_are_in_the_trail(peers: Any, settings: Any) -> None:
    settings.SESSION_MGMT = {"MAX_SOCKETS_PER_ADDRESS": 1}
    first, second = peers(client=HERE), peers(client=HERE)
    await first.handshake()
    await second.handshake()
    assert await second.closed() == 4029
    (entry,) = await read_trail()
    assert (entry["action"], entry["ip"], entry["data"]["call"]) == ("limit_reached", HERE[0], "handshake")


async def test_what_is_no_question_of_rights_is_not_in_the_trail(peers: Any, created: Any) -> None:
    peer = peers(client=HERE)
    await peer.open(created.token.secret, logs={"topic:room:1": None})
    await peer.say(type="subscribe", id=1, log="nonsense")
    assert (await peer.until_type("error"))["name"] == "invalid_field"
    assert incidents.find_kind(InvalidField("no")) is None
    assert await read_trail() == []


async def test_a_trail_that_cannot_be_written_changes_no_answer(
    peers: Any, created: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: Any, **more: Any) -> None:
        raise Unavailable(retry_after=1.0)

    monkeypatch.setattr(incidents, "record_denial", fail)
    peer = peers(client=HERE)
    await peer.open(created.token.secret)
    await peer.say(type="subscribe", id=1, log="topic:hidden")
    assert (await peer.until_type("error"))["name"] == "topic_denied"
    assert await read_trail() == []
    assert "could not be written down" in caplog.text
    await peer.say(type="ping", id=2)
    assert (await peer.until_type("pong"))["id"] == 2


def test_the_bound_holds_over_all_processes(way: str) -> None:
    """Each process has a memory of its own of what was news."""
    for address in ("192.0.2.7", "192.0.2.7", None, None, "192.0.2.8"):
        incidents.record_denial(TopicDenied(), ip=address, call="subscribe", log="topic:x")
    assert AuditEntry.objects.count() == 3
