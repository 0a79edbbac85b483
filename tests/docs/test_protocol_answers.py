"""PROTOCOL.md answers the questions of somebody who writes a client from it; the server and both clients agree."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import AsyncClient, Client

from session_mgmt.bridge import bridge
from session_mgmt.client.backoff import Backoff
from session_mgmt.consumers.greetings import LIMITS
from session_mgmt.documents.operations import apply_ops
from session_mgmt.exceptions import ConnectionLimit, InternalError, list_errors
from session_mgmt.models import Publication, Receipt, StateDocument, Stream
from session_mgmt.protocol.codes import Close, may_reconnect
from session_mgmt.protocol.recovery import Reason
from session_mgmt.shortcuts import state
from session_mgmt.writes import verbs
from tests.docs.pages import ROOT
from tests.docs.test_protocol import MAIN, ROOM, TEXT, example

FLAT = " ".join(TEXT.split())
NO_LOSS = {Reason.NOTHING_MISSED, Reason.MISSED, Reason.FROM_NOW}


def read_names(after: str, until: str) -> set[str]:
    """Return the names in back quotes between two texts of the page."""
    return set(re.findall(r"`(\w+)`", FLAT.partition(after)[2].partition(until)[0]))


# -- opening -----------------------------------------------------------------------------------------------------------


async def test_a_client_without_its_newest_numbers_goes_on_behind_last_seq(peers: Any, created: Any) -> None:
    first, second = peers(), peers()
    connected = await first.open(created.token.secret)
    for seq in (1, 2, 3):
        await first.say(type="update", seq=seq, ops=[["inc", "/n", 1]])
        await first.receipt(seq)
    await first.drop()
    again = await second.open(created.token.secret, client_id=connected["client_id"], acked=1)
    assert again["last_seq"] == 3
    await second.say(type="update", seq=2, ops=[["set", "/other", 1]])
    refused = await second.receipt(2)
    assert (refused["error"]["name"], refused["error"]["temporary"]) == ("seq_reused", False)
    await second.say(type="update", seq=4, ops=[["inc", "/n", 1]])
    assert (await second.receipt(4))["ok"]


async def test_capabilities_are_ignored_and_endpoints_are_paths(peers: Any, created: Any) -> None:
    peer = peers()
    await peer.handshake()
    await peer.say(type="connect", token=created.token.secret, logs={}, capabilities=["gzip", 7, {"x": []}])
    connected = await peer.until_type("connected")
    assert all(path.startswith("/") and not path.startswith("//") for path in connected["endpoints"].values())


def test_the_page_names_every_reason_of_a_snapshot_and_of_a_gap() -> None:
    lost = {str(reason) for reason in set(Reason) - NO_LOSS}
    assert read_names("`snapshot`: for documents only.", "- `gap`:") - {"snapshot", "reason"} == lost
    assert read_names("if `from` is `null`, it is unknown which.", "- `denied`") - {"reason"} == lost - {"first"}


def test_the_page_names_every_reason_of_a_recovery() -> None:
    lost = {str(reason) for reason in set(Reason) - NO_LOSS} - {"first"}
    named = read_names("(no earlier attachment: a new client). `reason`:", "- `logs`: one")
    assert named == lost | {"resumed", "new_client", "went_back"}


async def test_what_is_lost_has_no_beginning_where_nobody_knows_it(peers: Any, created: Any) -> None:
    await bridge().read(verbs.publish, "room:1", 1)
    first, second = peers(), peers()
    connected = await first.open(created.token.secret, logs={ROOM: None})
    epoch, offset, _ = connected["logs"][ROOM]["position"]
    await first.drop()
    positions = {ROOM: [epoch, offset, "0" * 16]}
    await second.open(created.token.secret, client_id=connected["client_id"], logs=positions)
    receipt = (await second.until_type("recovery"))["receipt"]
    assert receipt["lost"] == {ROOM: [None, 1]}


# -- logs --------------------------------------------------------------------------------------------------------------


async def test_the_position_of_a_verdict_is_the_clients_own_only_before_entries(peers: Any, created: Any) -> None:
    first, second = peers(), peers()
    connected = await first.open(created.token.secret, logs={ROOM: None, MAIN: None})
    positions = {name: verdict["position"] for name, verdict in connected["logs"].items()}
    await first.drop()
    await bridge().read(verbs.publish, "room:1", 1)
    asked = {ROOM: positions[ROOM], MAIN: ["elsewhere", 1, "0" * 16], "topic:nowhere": None}
    again = await second.open(created.token.secret, client_id=connected["client_id"], logs=asked)
    assert again["logs"][ROOM] == {"mode": "entries", "from": 0, "to": 1, "position": positions[ROOM]}
    assert again["logs"][MAIN] == {"mode": "snapshot", "reason": "epoch_changed", "position": positions[MAIN]}
    assert set(again["logs"]["topic:nowhere"]) == {"mode", "error"}
    assert set(again["logs"]["topic:nowhere"]["error"]) <= set(example("error"))


async def test_a_replay_ends_at_the_verdict_or_beyond(peers: Any, created: Any, settings: Any) -> None:
    settings.SESSION_MGMT = {"replay_page": 1}
    for number in range(3):
        await bridge().read(verbs.publish, "room:1", number)
    epoch = (await bridge().read(Stream.objects.get)).epoch
    peer = peers()
    connected = await peer.open(created.token.secret, logs={ROOM: [epoch, 0, ""]})
    await bridge().read(verbs.publish, "room:1", 3)
    last = await peer.until(lambda frame: frame.get("recovered", False))
    assert last["entries"][-1][0] >= connected["logs"][ROOM]["to"] == 3


async def test_a_refused_base_brings_no_snapshot_and_subscribe_does(peers: Any, created: Any) -> None:
    peer = peers()
    connected = await peer.open(created.token.secret, logs={MAIN: None})
    await peer.until_type("snapshot")
    before = len(peer.seen)
    await peer.say(type="update", seq=1, base=99, ops=[["set", "/a", 1]])
    refused = await peer.receipt(1)
    assert (refused["error"]["name"], refused["error"]["temporary"]) == ("unknown_version", True)
    await peer.say(type="ping", id=1)
    await peer.until_type("pong")
    assert not any(frame["type"] in ("snapshot", "entries") for frame in peer.seen[before:])
    await peer.say(type="unsubscribe", id=2, log=MAIN)
    await peer.say(type="subscribe", id=3, log=MAIN, position=None)
    reply = await peer.until(lambda frame: frame["type"] == "reply" and frame["id"] == 3)
    assert reply["verdict"] == connected["logs"][MAIN]
    assert (await peer.until_type("snapshot"))["data"] == {}


async def test_a_snapshot_after_connected_holds_every_write_up_to_last_seq(peers: Any, created: Any) -> None:
    first, second = peers(), peers()
    connected = await first.open(created.token.secret)
    await first.say(type="update", seq=1, ops=[["inc", "/n", 1]])
    await first.receipt(1)
    await first.drop()
    again = await second.open(created.token.secret, client_id=connected["client_id"], logs={MAIN: None})
    snapshot = await second.until_type("snapshot")
    assert again["last_seq"] == 1 and snapshot["data"] == {"n": 1}
    await second.say(type="update", seq=1, ops=[["inc", "/n", 1]])
    receipt = await second.receipt(1)
    assert receipt["replayed"] and receipt["position"] == snapshot["position"]


async def test_a_large_document_is_fetched_by_its_path_and_its_etag_is_its_position(peers: Any, created: Any) -> None:
    large = {"text": ["x" * 1000] * 300}
    await bridge().read(state.replace, created.session, large)
    peer = peers()
    await peer.open(created.token.secret, logs={MAIN: None})
    snapshot = await peer.until_type("snapshot")
    assert "data" not in snapshot and snapshot["url"].startswith("/")
    answer = await AsyncClient().get(snapshot["url"], headers={"Authorization": f"Bearer {created.token.secret}"})
    assert answer.json()["data"] == large
    epoch, version, tag = snapshot["position"]
    assert answer.headers["ETag"] == f'"{epoch}.{version}.{tag}"'


# -- writes ------------------------------------------------------------------------------------------------------------


async def test_a_confirmed_number_is_gone_and_the_next_one_goes_on(peers: Any, created: Any) -> None:
    peer = peers()
    await peer.open(created.token.secret)
    await peer.say(type="update", seq=1, ops=[["inc", "/n", 1]])
    await peer.receipt(1)
    await bridge().call(Receipt.objects.all().delete)
    await peer.say(type="update", seq=1, ops=[["inc", "/n", 1]])
    refused = await peer.receipt(1)
    assert (refused["error"]["name"], refused["error"]["temporary"]) == ("receipt_gone", False)
    await peer.say(type="update", seq=2, ops=[["inc", "/n", 1]])
    assert (await peer.receipt(2))["position"][1] == 2


async def test_a_gap_of_numbers_names_the_one_expected_and_a_late_one_harms_nothing(peers: Any, created: Any) -> None:
    peer = peers()
    await peer.open(created.token.secret)
    for seq in (2, 3, 1, 2, 3, 3):
        await peer.say(type="update", seq=seq, ops=[["inc", f"/n{seq}", 1]])
    receipts = [await peer.until_type("receipt") for _ in range(6)]
    assert [receipt.get("error", {}).get("expected") for receipt in receipts[:2]] == [1, 1]
    assert [receipt["ok"] for receipt in receipts[2:]] == [True] * 4 and receipts[5]["replayed"]
    document = await bridge().read(state.get, created.session)
    assert document == {"n1": 1, "n2": 1, "n3": 1}


@pytest.mark.parametrize(
    ("document", "op", "result"),
    [
        ({"n": 2**53 - 1}, ["inc", "/n", 1], {"n": 2**53 - 1}),
        ({"n": 1e21}, ["inc", "/n", 1e21], {"n": 2e21}),
        ({"a": {}}, ["del", "/a/b/c"], {"a": {}}),
        ({"a": 5}, ["del", "/a/b"], {"a": 5}),
        ([5], ["set", "/0/a", 1], [{"a": 1}]),
        ({"l": [1]}, ["set", "/l/x/y", 1], {"l": [1]}),
    ],
)
def test_operations_do_what_the_page_says_at_the_edges(document: Any, op: Any, result: Any) -> None:
    assert apply_ops(document, [op]) == result


# -- topics ------------------------------------------------------------------------------------------------------------


async def test_unsubscribe_is_answered_by_a_bare_reply_and_frees_the_subscription(peers: Any, created: Any) -> None:
    first, second = peers(), peers()
    connected = await first.open(created.token.secret, logs={ROOM: None})
    assert connected["subscriptions"] == ["room:1"]
    for number in (6, 7):
        await first.say(type="unsubscribe", id=number, log=ROOM)
        assert await first.until_type("reply") == {**example("reply", id=6), "id": number}
    again = await second.open(created.token.secret)
    assert again["subscriptions"] == []


async def test_a_key_is_known_as_long_as_the_topic_holds_its_entry(peers: Any, created: Any) -> None:
    peer = peers()
    await peer.open(created.token.secret)
    for seq in (1, 2):
        await peer.say(type="publish", seq=seq, topic="room:1", data=seq, key="k")
    first, second = await peer.receipt(1), await peer.receipt(2)
    assert second["position"] == first["position"]
    await bridge().call(Publication.objects.all().delete)
    await peer.say(type="publish", seq=3, topic="room:1", data=3, key="k")
    assert (await peer.receipt(3))["position"][1] == 2


async def test_an_ephemeral_publication_is_refused_by_a_bare_error(peers: Any, created: Any) -> None:
    peer = peers()
    await peer.open(created.token.secret)
    await peer.say(type="publish", topic="nowhere", data=1, ephemeral=True)
    error = await peer.until_type("error")
    assert error["name"] == "publish_denied" and not {"id", "seq"} & set(error)


# -- leaving -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [Close.ORIGIN_DENIED, Close.UNSUPPORTED_VERSION])
async def test_a_refused_handshake_says_bye_too(peers: Any, code: Close, settings: Any) -> None:
    headers = {"host": "example.org", "origin": "https://example.com"} if code is Close.ORIGIN_DENIED else {}
    peer = peers(**headers)
    if code is Close.UNSUPPORTED_VERSION:
        peer._communicator.scope["subprotocols"] = ["other.v1"]
    await peer.handshake()
    assert await peer.closed() == code
    assert (peer.seen[-1]["type"], peer.seen[-1]["code"], peer.seen[-1]["reconnect"]) == ("bye", code, False)


def test_the_page_parts_the_standard_codes_as_the_server_does() -> None:
    back, _, stop = FLAT.partition("Close codes 4000-4499")[2].partition("mean: stop")[0].partition("mean: reconnect")
    named = {int(code): True for code in re.findall(r"\b(1\d{3})\b", back)}
    named |= {int(code): False for code in re.findall(r"\b(1\d{3})\b", stop)}
    assert {code: may_reconnect(code) for code in named} == named
    assert not set(range(1000, 1015)) - set(named) - {1004, 1005, 1014}


def test_one_error_is_of_another_kind_as_a_close_code_and_the_page_says_so() -> None:
    assert ConnectionLimit.temporary and Close.CONNECTION_LIMIT.reconnect
    assert not InternalError.temporary and Close.INTERNAL_ERROR.reconnect
    assert "- **1011** means reconnect" in FLAT


def test_both_clients_wait_as_the_page_says_before_the_first_connected() -> None:
    retry = Backoff()
    assert (retry.initial, retry.maximum, retry.factor, retry.attempts) == (0.5, 20.0, 2.0, 0)
    assert "or 0.5 s, 20 s and 2 before the first `connected`" in FLAT
    source = (ROOT / "session_mgmt/js/src/backoff.ts").read_text(encoding="utf-8")
    assert "{ initial: 0.5, maximum: 20, factor: 2, attempts: 0 }" in source


# -- limits and HTTP ---------------------------------------------------------------------------------------------------


def test_the_page_lists_every_limit_that_is_told_and_its_error() -> None:
    part = TEXT.partition("## 12. Limits")[2].partition("## 13.")[0]
    items = [" ".join(item.split()) for item in part.partition("\nNumbers")[0].split("\n- ")[1:]]
    listed, errors = zip(*(item.split(": ", 1) for item in items), strict=True)
    assert {name for item in listed for name in re.findall(r"`(\w+)`", item)} == set(LIMITS)
    named = {name for item in errors for name in re.findall(r"`(\w+)`", item.rpartition("(")[2])}
    assert named <= {error.name for error in list_errors()}


@pytest.mark.django_db(transaction=True)
def test_a_session_is_created_as_the_page_says(settings: Any) -> None:
    settings.SESSION_MGMT = {"anonymous_sessions": True}
    body = {"metadata": {"a": 1}, "config": {"idle_timeout": 3600}, "label": "kitchen"}
    answer = Client().post("/api/sessions/", body, content_type="application/json")
    assert answer.status_code == 201
    created = answer.json()
    assert set(created) == {"session", "token", "positions", "endpoints"}
    assert set(created["session"]) == set(example("connected")["session"])
    assert set(created["positions"]) == {"session"} and len(created["positions"]["session"]) == 3
    assert set(created["endpoints"]) == set(example("connected")["endpoints"])
    assert answer.headers["Location"] == created["endpoints"]["session"]
    assert not StateDocument.objects.exists()
