"""Whatever opens a connection goes out in one write: each is a call of the system, and wakes up the other side."""

from __future__ import annotations

from typing import Any

import pytest

from session_mgmt.bridge import bridge
from session_mgmt.consumers import pages
from session_mgmt.writes import verbs

ROOM = "topic:room:1"
HANDSHAKE, OPENING = 1, 1

pytestmark = [pytest.mark.sqlite, pytest.mark.parametrize("way", ["uvicorn"], indirect=True)]


@pytest.fixture(autouse=True)
def pages_that_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pages outlast any wait of a busy machine."""
    monkeypatch.setattr(pages, "KEEP_SECONDS", 1e6)


async def leave(peers: Any, created: Any) -> dict[str, Any]:
    """Connect a client that follows the room, lose it, and return what it says when it comes back."""
    one = peers()
    connected = await one.open(created.token.secret, logs={"session": None, ROOM: None})
    await one.drop()
    logs = {name: verdict["position"] for name, verdict in connected["logs"].items()}
    return {"client_id": connected["client_id"], "logs": logs}


async def come_back(peers: Any, created: Any, known: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Come back; return the number of writes until the receipt of the recovery, and what was replayed."""
    one = peers()
    await one.open(created.token.secret, **known)
    receipt = (await one.until_type("recovery"))["receipt"]
    return one._communicator.writes, receipt["replayed"]


async def test_a_new_client_is_told_all_in_one_write(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret, logs={"session": None, ROOM: None})
    assert one._communicator.writes == HANDSHAKE + OPENING


async def test_a_client_that_missed_its_own_log_alone_is_given_all_in_one_write(peers: Any, created: Any) -> None:
    writes, replayed = await come_back(peers, created, await leave(peers, created))
    assert (writes, list(replayed)) == (HANDSHAKE + OPENING, ["session"])


async def test_who_comes_after_another_is_given_the_page_of_a_topic_in_the_same_write(peers: Any, created: Any) -> None:
    first, second = await leave(peers, created), await leave(peers, created)
    for number in range(3):
        await bridge().read(verbs.publish, "room:1", number)
    await come_back(peers, created, first)
    writes, replayed = await come_back(peers, created, second)
    assert (writes, replayed[ROOM]) == (HANDSHAKE + OPENING, [1, 3])
