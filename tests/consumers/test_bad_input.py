"""Whatever a client sends: a documented code, no traceback, nothing changed, and the next client unaffected."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from session_mgmt.bridge import bridge
from session_mgmt.consumers.hub import hub
from session_mgmt.exceptions import list_errors
from session_mgmt.models import Client, StateDocument, StateRevision
from tests.walks.conftest import BOTH_WAYS

pytestmark = [BOTH_WAYS, pytest.mark.sqlite]

CODES = {error.name: error.number for error in list_errors()}

# Texts that are no frame; the values and changes in frames are the tables of tests/bad_input.
BROKEN_TEXT = {
    "not json": "hello",
    "half": '{"type": "update", "seq": 1',
    "repeated type": '{"type": "ping", "type": "ping", "id": 1}',
    "repeated number": '{"type": "update", "seq": 1, "seq": 1, "ops": [["set", "/a", 1]]}',
    "long id": '{"type": "ping", "id": ' + "9" * 4000 + "}",
    "too large": '{"ops": [["set", "/a", "' + "x" * 300_000 + '"]], "type": "update", "seq": 1}',
    "array": "[]",
    "null": "null",
    "number": "1",
    "no type": "{}",
    "type of another type": '{"type": 5}',
    "unknown type": '{"type": "drop_tables"}',
    "bom": '\ufeff{"type": "ping", "id": 1}',
}

BROKEN_FRAMES: dict[str, dict[str, Any]] = {
    "doc no text": {"type": "update", "ops": [], "doc": 5},
    "topic missing": {"type": "publish", "data": 1},
    "topic no text": {"type": "publish", "topic": ["room:1"], "data": 1},
    "data missing": {"type": "publish", "topic": "room:1"},
    "publication too large": {"type": "publish", "topic": "room:1", "data": "x" * 70_000},
    "key no text": {"type": "publish", "topic": "room:1", "data": 1, "key": 5},
    "key too long": {"type": "publish", "topic": "room:1", "data": 1, "key": "k" * 101},
    "send without data": {"type": "send"},
    # Taken for `false`, it would keep for a day what was meant for this moment.
    "ephemeral no flag": {"type": "publish", "topic": "room:1", "data": 1, "ephemeral": "true"},
    "atomic no flag": {"type": "update", "ops": [["set", "/a", 1]], "atomic": 1},
}


@pytest.mark.parametrize("name", BROKEN_TEXT)
async def test_broken_text_is_answered_by_a_documented_error(peers: Any, created: Any, caplog: Any, name: str) -> None:
    one = peers()
    await one.open(created.token.secret, logs={"state:main": None})
    await one.until_type("snapshot")
    await one.raw(BROKEN_TEXT[name])
    answer = await one.until(lambda frame: frame["type"] in ("error", "receipt"))
    error = answer.get("error", answer)
    assert CODES[error["name"]] == error["code"]
    await _nothing_changed_and_life_goes_on(peers, created, one, seq=2 if answer["type"] == "receipt" else 1)
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR]


@pytest.mark.parametrize("name", BROKEN_FRAMES)
async def test_a_broken_write_is_refused_under_its_number(peers: Any, created: Any, caplog: Any, name: str) -> None:
    one = peers()
    await one.open(created.token.secret, logs={"state:main": None})
    await one.until_type("snapshot")
    await one.say(**BROKEN_FRAMES[name], seq=1)
    answer = await one.receipt(1)
    assert not answer["ok"] and CODES[answer["error"]["name"]] == answer["error"]["code"]
    assert answer["error"]["temporary"] is False
    await one.say(**BROKEN_FRAMES[name], seq=1)
    assert (await one.receipt(1))["replayed"] is True
    await _nothing_changed_and_life_goes_on(peers, created, one, seq=2)
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR]


@pytest.mark.parametrize("seq", [0, -1, 2**53, 1.5, "1", True, None, [], 2**70], ids=lambda value: str(value))
async def test_a_number_that_is_none_is_an_error_of_the_frame(peers: Any, created: Any, seq: Any) -> None:
    one = peers()
    await one.open(created.token.secret)
    await one.raw(
        '{"type": "update", "ops": [], "seq": '
        + ("null" if seq is None else str(seq).lower() if not isinstance(seq, str) else f'"{seq}"')
        + "}"
    )
    assert (await one.until_type("error"))["name"] in ("invalid_field", "number_out_of_range")
    await _nothing_changed_and_life_goes_on(peers, created, one, seq=1)


async def test_a_request_names_what_cannot_be_read_and_repeats_no_id_that_is_none(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret)
    for kind in ("subscribe", "unsubscribe", "history", "value", "enter", "leave", "members"):
        for wrong in (True, -1, 1.5, "1", None, []):
            await one.say(type=kind, id=wrong, log="topic:room:1")
            error = await one.until_type("error")
            assert (kind, error["name"], error["field"], "id" in error) == (kind, "invalid_field", "id", False)
        await one.say(type=kind, id=5, log="nowhere")
        error = await one.until_type("error")
        assert (kind, error["name"], error["field"], error["id"]) == (kind, "invalid_field", "log", 5)


async def test_a_number_used_for_another_write_is_refused(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret)
    await one.say(type="update", seq=1, ops=[["set", "/a", 1]])
    await one.receipt(1)
    await one.say(type="update", seq=1, ops=[["set", "/a", 2]])
    assert (await one.receipt(1))["error"]["name"] == "seq_reused"
    assert (await bridge().read(StateRevision.objects.count)) == 1


async def test_a_confirmed_receipt_is_gone_and_its_number_has_no_second_effect(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret)
    await one.say(type="update", seq=1, ops=[["inc", "/a", 1]])
    await one.receipt(1)
    await one.say(type="ack", seq=1)
    await one.say(type="ping", id=1)
    await one.until_type("pong")
    await hub().rounds.flush_leases()
    await one.say(type="update", seq=1, ops=[["inc", "/a", 1]])
    assert (await one.receipt(1))["error"]["name"] == "receipt_gone"
    assert (await bridge().read(StateRevision.objects.count)) == 1


@pytest.mark.parametrize(
    ("first", "name", "code"),
    [
        ('{"type": "ack", "seq": 1}', "invalid_frame", 4500),
        ("nonsense", "invalid_json", 4500),
        ('{"type": "connect"}', "invalid_field", 4500),
        ('{"type": "connect", "token": "sma_garbage"}', "invalid_token", 4501),
        ('{"type": "connect", "token": "xyz"}', "invalid_token", 4501),
        ('{"type": "connect", "token": "' + "s" * 5000 + '"}', "invalid_field", 4500),
    ],
)
async def test_a_bad_first_frame_closes_with_its_code(
    peers: Any, transactional_db: Any, first: str, name: str, code: int
) -> None:
    one = peers()
    await one.handshake()
    await one.raw(first)
    assert await one.closed() == code
    assert [frame["type"] for frame in one.seen] == ["error", "bye"]
    assert one.seen[0]["name"] == name


async def test_silence_is_ended_by_the_connect_timeout(peers: Any, settings: Any) -> None:
    settings.SESSION_MGMT = {"connect_timeout": 0.05}
    one = peers()
    await one.handshake()
    assert await one.closed() == 4008


async def test_a_second_connect_and_a_binary_frame_end_the_connection(peers: Any, created: Any) -> None:
    one, two = peers(), peers()
    await one.open(created.token.secret)
    await one.say(type="connect", token=created.token.secret)
    assert await one.closed() == 4500
    await two.open(created.token.secret)
    await two.binary(b"\x00\x01")
    assert await two.closed() == 4500


@pytest.mark.parametrize(
    "origin", ["https://evil.test", "null", "http://shop.test.evil.test", "http://shop.test:81", "http://a@shop.test"]
)
async def test_a_foreign_origin_is_told_why_and_closed(peers: Any, origin: str) -> None:
    one = peers(host="shop.test", origin=origin)
    await one.handshake()
    assert await one.closed() == 4509


async def test_the_hosts_own_origin_and_an_allowed_one_may_open(peers: Any, created: Any, settings: Any) -> None:
    settings.SESSION_MGMT = {"allowed_origins": ["https://app.test"]}
    for origin in ("http://shop.test", "https://app.test"):
        assert (await peers(host="shop.test", origin=origin).open(created.token.secret))["type"] == "connected"


@pytest.mark.requirement("OWASP WebSocket: rate")
async def test_a_flood_is_closed_and_others_go_on(peers: Any, created: Any, settings: Any) -> None:
    settings.SESSION_MGMT = {"max_frames_per_second": 4.0}
    one, two = peers(), peers()
    await one.open(created.token.secret)
    await two.open(created.token.secret)
    for number in range(25):
        await one.say(type="ack", seq=number)
    assert await one.closed() == 4029
    await two.say(type="update", seq=1, ops=[["set", "/a", 1]])
    assert (await two.receipt(1))["ok"]


async def _nothing_changed_and_life_goes_on(peers: Any, created: Any, one: Any, *, seq: int) -> None:
    document = await bridge().read(lambda: StateDocument.objects.filter(session=created.session).first())
    assert document is None or document.version == 0
    assert await bridge().read(StateRevision.objects.count) == 0
    await one.say(type="update", seq=seq, ops=[["set", "/after", True]])
    assert (await one.receipt(seq))["ok"]
    other = peers()
    await other.open(created.token.secret)
    await other.say(type="update", seq=1, ops=[["set", "/other", True]])
    assert (await other.receipt(1))["ok"]
    assert await bridge().read(Client.objects.count) == 2
