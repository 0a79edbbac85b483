"""Logs that cannot be replayed: the client is told, by a close or by an error, and never left waiting."""

from __future__ import annotations

from typing import Any

import pytest

from session_mgmt.actions import logs
from session_mgmt.actions.state import bodies
from session_mgmt.bridge import bridge
from session_mgmt.exceptions import StateUnreadable, Unavailable
from session_mgmt.writes import verbs

ROOM = "topic:room:1"
MAIN = "state:main"


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
