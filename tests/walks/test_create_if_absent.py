"""Walk: a client's defaults give an absent document its first value, and never replace what is there."""

from __future__ import annotations

from typing import Any

import pytest

from session_mgmt.actions.state import bodies
from session_mgmt.bridge import bridge
from session_mgmt.models import StateDocument, StateRevision

MAIN = "state:main"
DEFAULTS = {"type": "update", "if_absent": True, "data": {"theme": "light"}}


async def test_of_two_tabs_one_gives_the_first_value_and_both_are_told_where_it_stands(
    peers: Any, created: Any
) -> None:
    one, two = peers(), peers()
    for peer in (one, two):
        await peer.open(created.token.secret, logs={MAIN: None})
        await peer.until_type("snapshot")
    await one.say(**{**DEFAULTS, "data": {"by": "one"}}, seq=1)
    await two.say(**{**DEFAULTS, "data": {"by": "two"}}, seq=1)
    receipts = [await one.receipt(1), await two.receipt(1)]
    assert sorted(receipt.get("unchanged", False) for receipt in receipts) == [False, True]
    assert receipts[0]["position"] == receipts[1]["position"]
    winner = "one" if "unchanged" not in receipts[0] else "two"
    assert await bridge().read(_document, created) == {"by": winner}
    assert await bridge().read(StateRevision.objects.count) == 1


async def test_a_lost_answer_is_told_again_and_the_number_is_used_up(peers: Any, created: Any) -> None:
    one = peers()
    client = (await one.open(created.token.secret))["client_id"]
    await one.say(**DEFAULTS, seq=1)
    first = await one.receipt(1)
    await one.drop()
    two = peers()
    await two.open(created.token.secret, client_id=client)
    await two.say(type="update", seq=2, ops=[["set", "/theme", "dark"]])
    await two.receipt(2)
    await two.say(**DEFAULTS, seq=1)
    assert await two.receipt(1) == {**first, "replayed": True}
    await two.say(**DEFAULTS, seq=3)
    assert (await two.receipt(3))["unchanged"] is True
    assert await bridge().read(_document, created) == {"theme": "dark"}


async def test_the_same_number_without_the_condition_is_another_write(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret)
    await one.say(**DEFAULTS, seq=1)
    await one.receipt(1)
    await one.say(**{**DEFAULTS, "if_absent": False}, seq=1)
    assert (await one.receipt(1))["error"]["name"] == "seq_reused"


async def test_defaults_after_an_oversized_write_and_a_reconnect_leave_the_state_alone(
    peers: Any, created: Any
) -> None:
    """Keep the state where it destroyed rooms elsewhere (liveblocks#3535)."""
    one = peers()
    client = (await one.open(created.token.secret, logs={MAIN: None}))["client_id"]
    await one.say(type="update", seq=1, ops=[["set", "/work", "of an hour"]])
    await one.receipt(1)
    await one.say(type="update", seq=2, ops=[["set", "/big", "x" * 300_000]])
    assert (await one.receipt(2))["error"]["name"] == "frame_too_large"
    await one.drop()
    two = peers()
    await two.open(created.token.secret, client_id=client, logs={MAIN: None})
    await two.say(**DEFAULTS, seq=3)
    receipt = await two.receipt(3)
    assert (receipt["ok"], receipt["unchanged"], receipt["position"][1]) == (True, True, 1)
    assert await bridge().read(_document, created) == {"work": "of an hour"}


@pytest.mark.parametrize(
    "more",
    [
        {"if_absent": 1},
        {"if_absent": "true"},
        {"base": 0},
        {"epoch": "00"},
        {"replaced": {}},
        {"patch": [], "data": None},
        {"patch": []},
    ],
    ids=str,
)
async def test_a_condition_that_contradicts_itself_is_refused_under_its_number(
    peers: Any, created: Any, more: dict[str, Any]
) -> None:
    one = peers()
    await one.open(created.token.secret)
    frame = {**DEFAULTS, **more}
    if "patch" in more and "data" not in more:
        del frame["data"]
    await one.say(**frame, seq=1)
    assert (await one.receipt(1))["error"]["name"] == "invalid_field"
    await one.say(**DEFAULTS, seq=2)
    assert (await one.receipt(2))["position"][1] == 1


def _document(created: Any) -> Any:
    row = StateDocument.objects.get(session=created.session)
    return bodies.load_body("default", row.pk).data
