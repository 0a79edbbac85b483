"""Walk one: a patch from a browser reaches the document, its author and everybody who follows."""

from __future__ import annotations

from typing import Any

from session_mgmt.actions.state import bodies
from session_mgmt.bridge import bridge
from session_mgmt.documents.values import SAFE_INTEGER
from session_mgmt.models import StateDocument
from tests.walks.conftest import BOTH_WAYS

pytestmark = BOTH_WAYS

MAIN = "state:main"


async def test_an_update_is_acknowledged_and_seen_by_both_tabs_in_order(peers: Any, created: Any) -> None:
    one, two = peers(), peers()
    await one.open(created.token.secret, logs={MAIN: None})
    snapshot = await one.until_type("snapshot")
    assert snapshot["data"] == {} and snapshot["position"][1] == 0
    await two.open(created.token.secret, logs={MAIN: None})
    await two.until_type("snapshot")
    await one.say(type="update", seq=1, ops=[["set", "/cart/coupon", "WELCOME"]], base=0)
    receipt = await one.receipt(1)
    assert receipt["ok"] and receipt["position"][1] == 1
    # The author had the entry before the receipt.
    assert any(f["type"] == "entries" and f["log"] == MAIN for f in one.seen)
    ((version, tag, body),) = await two.entry(MAIN)
    assert (version, tag) == (1, receipt["position"][2])
    assert body == {"ops": [["set", "/cart/coupon", "WELCOME"]], "client_id": one.seen[0]["client_id"], "seq": 1}


async def test_a_repeated_update_has_one_effect_and_the_same_answer(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret, logs={MAIN: None})
    await one.say(type="update", seq=1, ops=[["inc", "/n", 1]])
    first = await one.receipt(1)
    await one.say(type="update", seq=1, ops=[["inc", "/n", 1]])
    again = await one.receipt(1)
    assert again.pop("replayed") is True
    assert again == first
    assert (await bridge().read(_document, created)).data == {"n": 1}


async def test_strategies_drop_or_refuse_what_overlaps(peers: Any, created: Any) -> None:
    one, two = peers(), peers()
    await one.open(created.token.secret, logs={MAIN: None})
    await two.open(created.token.secret)
    await one.say(type="update", seq=1, ops=[["set", "/a", 1]], base=0)
    await one.receipt(1)
    await two.say(type="update", seq=1, ops=[["set", "/a", 2], ["set", "/b", 2]], base=0, strategy="server_wins")
    assert (await two.receipt(1))["dropped"] == ["/a"]
    await two.say(type="update", seq=2, ops=[["set", "/a/deep", 2]], base=0, strategy="reject")
    refused = await two.receipt(2)
    assert refused["error"]["name"] == "conflict" and refused["error"]["position"][1] == 2
    # A number that was used up: the next one goes on.
    await two.say(
        type="update", seq=3, patch=[{"op": "test", "path": "/a", "value": 1}, {"op": "add", "path": "/c", "value": 3}]
    )
    assert (await two.receipt(3))["ok"]
    assert (await bridge().read(_document, created)).data == {"a": 1, "b": 2, "c": 3}


async def test_a_sum_that_cannot_be_carried_is_told_and_the_writes_behind_it_keep_their_order(
    peers: Any, created: Any
) -> None:
    one = peers()
    await one.open(created.token.secret, logs={MAIN: None})
    await one.say(type="update", seq=1, ops=[["set", "/n", SAFE_INTEGER - 1]])
    for seq in range(2, 6):
        await one.say(type="update", seq=seq, ops=[["inc", "/n", 1], ["ins", "/l/-", seq]])
    await one.say(type="update", seq=6, ops=[["inc", "/n", 1]])
    told = [await one.receipt(seq) for seq in range(1, 7)]
    assert [receipt.get("dropped") for receipt in told] == [None, None, ["/n"], ["/n"], ["/n"], ["/n"]]
    assert [receipt["position"][1] for receipt in told] == [1, 2, 3, 4, 5, 5]
    assert told[5]["unchanged"] is True
    assert (await bridge().read(_document, created)).data == {"n": SAFE_INTEGER, "l": [2, 3, 4, 5]}


async def test_a_gap_in_the_numbers_is_temporary_and_names_what_is_expected(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret)
    await one.say(type="update", seq=3, ops=[["inc", "/n", 1]])
    refused = await one.receipt(3)
    assert (refused["error"]["name"], refused["error"]["temporary"], refused["error"]["expected"]) == (
        "seq_gap",
        True,
        1,
    )


async def test_many_pipelined_updates_make_dense_versions(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret, logs={MAIN: None})
    await one.until_type("snapshot")
    for seq in range(1, 201):
        await one.say(type="update", seq=seq, ops=[["inc", "/n", 1], ["set", f"/k{seq}", seq]], base=0)
    await one.receipt(200)
    versions = [e[0] for f in one.seen if f["type"] == "entries" and f["log"] == MAIN for e in f["entries"]]
    assert versions == list(range(1, 201))
    assert [f["seq"] for f in one.seen if f["type"] == "receipt"] == list(range(1, 201))
    assert (await bridge().read(_document, created)).data["n"] == 200


async def test_a_clients_own_unanswered_writes_are_no_conflict(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret)
    for seq in range(1, 6):
        await one.say(type="update", seq=seq, ops=[["set", "/typed", "x" * seq]], base=0, strategy="reject")
    assert (await one.receipt(5))["ok"]
    assert (await bridge().read(_document, created)).data == {"typed": "xxxxx"}


def _document(created: Any) -> Any:
    row = StateDocument.objects.get(session=created.session, name="main")
    return bodies.load_body("default", row.pk)
