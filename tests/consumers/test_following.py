"""Logs that cannot be replayed: the client is told, by a close or by an error, and never left waiting."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from session_mgmt.actions import logs
from session_mgmt.actions.state import bodies
from session_mgmt.actions.timeline import ledger
from session_mgmt.backends import doorbell
from session_mgmt.bridge import bridge
from session_mgmt.consumers.hub import hub
from session_mgmt.exceptions import StateUnreadable, Unavailable
from session_mgmt.models import ClientSession
from session_mgmt.writes import verbs

ROOM = "topic:room:1"
MAIN = "state:main"
SESSION = "session"


def failing(error: Exception) -> Any:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise error

    return fail


async def left_behind(peers: Any, created: Any) -> tuple[str, list[Any]]:
    """Connect and drop a client that misses one publication; give its name and its position."""
    one = peers()
    connected = await one.open(created.token.secret, logs={ROOM: None})
    await one.drop()
    await bridge().read(verbs.publish, "room:1", "missed")
    return connected["client_id"], connected["logs"][ROOM]["position"]


@pytest.mark.parametrize(("error", "code"), [(Unavailable(), 4004), (RuntimeError("a bug"), 1011)])
@pytest.mark.requirement("RFC 6455 7.4")
async def test_a_replay_that_fails_ends_the_connection_so_that_the_client_comes_back(
    peers: Any, created: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    client, position = await left_behind(peers, created)
    monkeypatch.setattr(logs, "read_page", failing(error))
    two = peers()
    await two.open(created.token.secret, client_id=client, logs={ROOM: position})
    bye = await two.until_type("bye")
    assert (bye["code"], bye["reconnect"]) == (code, True)
    assert not [frame for frame in two.seen if frame["type"] == "recovery"]


async def test_a_replay_that_fails_because_the_session_is_gone_says_so(
    peers: Any, created: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, position = await left_behind(peers, created)

    # No bell tells of the end before it is found here.
    monkeypatch.setattr(type(doorbell()), "ring", lambda *_: None)
    session = created.session.pk

    def read_too_late(*_: Any) -> Any:
        # Not by the instance: this may be read more than once.
        ClientSession.objects.filter(pk=session).delete()
        raise Unavailable()

    monkeypatch.setattr(logs, "read_page", read_too_late)
    two = peers()
    await two.open(created.token.secret, client_id=client, logs={ROOM: position})
    assert (await two.until_type("bye"))["code"] == 4503


async def test_a_document_that_cannot_be_read_is_an_error_and_nothing_is_called_recovered(
    peers: Any, created: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, position = await left_behind(peers, created)
    monkeypatch.setattr(bodies, "load_raw", failing(StateUnreadable()))
    two = peers()
    await two.open(created.token.secret, client_id=client, logs={MAIN: None, ROOM: position})
    assert (await two.until_type("error"))["name"] == "state_unreadable"
    await two.say(type="ping", id=9)
    await two.until_type("pong")
    assert not [frame for frame in two.seen if frame["type"] == "recovery"]


async def test_leaving_a_log_during_its_replay_leaves_the_receipt_of_the_others(peers: Any, created: Any) -> None:
    client, position = await left_behind(peers, created)
    two = peers()
    await two.open(created.token.secret, client_id=client, logs={MAIN: None, ROOM: position})
    await two.say(type="unsubscribe", id=5, log=MAIN)
    assert (await two.until_type("recovery"))["receipt"]["replayed"] == {ROOM: [1, 1]}


async def test_who_missed_a_little_of_its_sessions_log_is_given_it_with_the_answer_and_asks_no_thread(
    peers: Any, created: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, tab = peers(), peers()
    connected = await one.open(created.token.secret, logs={SESSION: None})
    # Another client of the session, whose feed hears of the entries in its own way.
    await tab.open(created.token.secret, logs={SESSION: None})
    await one.drop()
    await tab.entry(SESSION)
    monkeypatch.setattr(logs, "read_pages", failing(AssertionError("a journey for one log")))
    two = peers()
    place = connected["logs"][SESSION]["position"]
    await two.open(created.token.secret, client_id=connected["client_id"], logs={SESSION: place})
    receipt = (await two.until_type("recovery"))["receipt"]
    told = [entry for frame in two.seen if frame["type"] == "entries" for entry in frame["entries"]]
    assert [entry[0] for entry in told] == list(range(place[1] + 1, receipt["replayed"][SESSION][1] + 1))
    assert told[-1][2]["type"] == "connection_restored"
    await bridge().read(verbs.send, created.session.pk, "hello")
    assert (await two.entry(SESSION))[0][2]["data"] == "hello"
    await tab.until(lambda frame: "hello" in str(frame))


async def test_what_was_missed_and_could_not_be_read_with_the_answer_is_replayed(
    peers: Any, created: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = peers()
    connected = await one.open(created.token.secret, logs={SESSION: None})
    await one.drop()
    monkeypatch.setattr(ledger, "SMALL_BYTES", 0)
    two = peers()
    place = connected["logs"][SESSION]["position"]
    await two.open(created.token.secret, client_id=connected["client_id"], logs={SESSION: place})
    assert (await two.until_type("recovery"))["receipt"]["replayed"][SESSION][0] == place[1] + 1


async def test_a_receipt_that_waits_for_its_entry_comes_when_the_log_is_left(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret, logs={MAIN: None})
    (connection,) = [served for served in hub().serving.connections if MAIN in served.followings]
    following = connection.followings[MAIN]
    await following.wait_for_replay()
    # As if the client read too slowly: the entry is left to a later replay, and the receipt waits for it.
    following.feed.remove_live(following)
    await one.say(type="update", seq=1, data={"a": 1})
    async with asyncio.timeout(60):
        while not following.has_parked:
            await bridge().read(str)
    await one.say(type="unsubscribe", id=2, log=MAIN)
    assert (await one.receipt(1))["ok"]
