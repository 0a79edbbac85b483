"""PROTOCOL.md and the code say the same: examples, frames, codes, and the fields of what a real connection sends."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest

from session_mgmt.actions.checking import document_limits
from session_mgmt.bridge import bridge
from session_mgmt.consumers.commands import HANDLERS
from session_mgmt.documents import strict
from session_mgmt.models import Publication, Stream
from session_mgmt.protocol import codes, frames
from session_mgmt.protocol.codes import Close
from session_mgmt.urls import urlpatterns
from session_mgmt.writes import verbs
from tests.docs.pages import PROTOCOL, Block, blocks, table_rows

TEXT = PROTOCOL.read_text(encoding="utf-8")
EXAMPLES = blocks("json", [PROTOCOL])
ROOM = "topic:room:1"
MAIN = "state:main"


def read(block: Block) -> dict[str, Any]:
    found: dict[str, Any] = strict.parse_json(block.text, document_limits(), 1 << 20)
    return found


FRAMES = [read(block) for block in EXAMPLES]


def example(type_: str, **having: Any) -> dict[str, Any]:
    """The example of a server's frame on the page, by its type and some of its fields."""
    found = [f for f in FRAMES if f["type"] == type_ and all(f.get(name) == value for name, value in having.items())]
    assert found, f"PROTOCOL.md has no example of {type_} with {having}"
    return found[0]


def is_from_client(frame: dict[str, Any]) -> bool:
    if frame["type"] in ("ping", "pong"):
        return ("id" in frame) == (frame["type"] == "ping")
    return frame["type"] in frames.FRAME_TYPES


# -- examples ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", EXAMPLES, ids=str)
def test_an_example_is_strict_json_of_one_frame(block: Block) -> None:
    assert isinstance(read(block)["type"], str)


@pytest.mark.parametrize("frame", [f for f in FRAMES if is_from_client(f)], ids=lambda frame: str(frame["type"]))
def test_an_example_from_a_client_is_understood(frame: dict[str, Any]) -> None:
    assert type(frames.parse(frame)).__name__.lower() == frame["type"]


@pytest.mark.parametrize("kind", frames.CHANGES)
def test_the_page_names_every_kind_of_change(kind: str) -> None:
    assert f"`{kind}`" in TEXT


# -- tables ------------------------------------------------------------------------------------------------------------


def test_the_table_of_client_frames_is_what_the_server_reads() -> None:
    named = [name for row in table_rows(PROTOCOL, "client to server") for name in re.findall(r"`(\w+)`", row[0])]
    assert sorted(named) == sorted(frames.FRAME_TYPES)


def test_every_frame_class_has_a_handler() -> None:
    assert set(HANDLERS) == set(get_args(frames.Frame))


def test_the_table_of_server_frames_names_every_example() -> None:
    named = {name for row in table_rows(PROTOCOL, "server to client") for name in re.findall(r"`(\w+)`", row[0])}
    assert {frame["type"] for frame in FRAMES if not is_from_client(frame)} <= named


def test_the_table_of_close_codes_is_what_the_server_closes_with() -> None:
    told = {int(code): name.strip("`") for code, name, _ in table_rows(PROTOCOL, "close code")}
    assert told.pop(codes.CLIENT_HEARTBEAT_LOST) == told.pop(codes.CLIENT_OUT_OF_ORDER) == ""
    assert told == {close.value: close.name.lower() for close in Close if close.value >= 4000}


def rest_calls() -> set[tuple[str, str]]:
    """Return ``(METHOD, path)`` of every call in section 13, without the names of the parts."""
    found = set()
    for item in re.findall(
        r"^- (.+?):", TEXT.partition("## 13. HTTP")[2].partition("\n## ")[0], re.MULTILINE | re.DOTALL
    ):
        methods: list[str] = []
        for words in re.findall(r"`([^`]+)`", item):
            method, _, where = words.partition(" ")
            methods.append(method)
            if where:
                found |= {(method, re.sub(r"\{\w+\}", "{}", where)) for method in methods}
                methods = []
    return found


def mounted_calls() -> set[tuple[str, str]]:
    """Return the same of the URL conf."""
    found = set()
    for pattern in urlpatterns:
        if pattern.name == "nothing":
            continue
        view = pattern.callback
        methods = getattr(view, "actions", None) or [m for m in ("get", "post") if hasattr(view.view_class, m)]
        where = "/" + re.sub(r"<\w+:\w+>", "{}", str(pattern.pattern))
        found |= {(method.upper(), where) for method in methods if method != "head"}
    return found


def test_the_list_of_rest_calls_is_what_is_mounted() -> None:
    assert rest_calls() == mounted_calls()


# -- what a real connection sends --------------------------------------------------------------------------------------


def assert_same_fields(sent: dict[str, Any], told: dict[str, Any], *, optional: tuple[str, ...] = ()) -> None:
    assert set(sent) - set(optional) == set(told) - set(optional)


async def missed(peers: Any, created: Any) -> tuple[Any, dict[str, Any]]:
    """A client that comes back after it missed an entry of a document and of a topic."""
    first = peers()
    connected = await first.open(created.token.secret, logs={"session": None, MAIN: None, ROOM: None})
    await first.until_type("snapshot")
    positions = {name: verdict["position"] for name, verdict in connected["logs"].items()}
    await first.drop()
    await bridge().read(verbs.publish, "room:1", {"status": "paid"})
    await bridge().read(verbs.update, created.session.pk, "main", "merge", {"a": 1})
    peer = peers()
    return peer, await peer.open(created.token.secret, client_id=connected["client_id"], logs=positions)


async def test_connected_has_the_fields_that_the_page_shows(peers: Any, created: Any) -> None:
    _, connected = await missed(peers, created)
    told = example("connected")
    assert_same_fields(connected, told)
    for part in ("session", "heartbeat", "limits", "retry", "endpoints"):
        assert set(connected[part]) == set(told[part]), part
    assert set(connected["logs"][MAIN]) == set(told["logs"][MAIN])


async def test_recovery_has_the_fields_that_the_page_shows(peers: Any, created: Any) -> None:
    peer, _ = await missed(peers, created)
    recovery = await peer.until_type("recovery")
    assert_same_fields(recovery, example("recovery"))
    assert_same_fields(recovery["receipt"], example("recovery")["receipt"])


async def test_entries_of_a_replay_have_the_fields_that_the_page_shows(peers: Any, created: Any) -> None:
    peer, _ = await missed(peers, created)
    entries = await peer.until(lambda frame: frame["type"] == "entries" and frame["log"] == ROOM)
    assert_same_fields(entries, example("entries"))
    assert [len(entry) for entry in entries["entries"]] == [3]


async def test_a_snapshot_has_the_fields_that_the_page_shows(peers: Any, created: Any) -> None:
    peer = peers()
    await peer.open(created.token.secret, logs={MAIN: None})
    assert_same_fields(await peer.until_type("snapshot"), example("snapshot"))


async def test_receipts_have_the_fields_that_the_page_shows(peers: Any, created: Any) -> None:
    peer = peers()
    await peer.open(created.token.secret)
    await peer.say(type="update", seq=1, doc="main", base=0, ops=[["set", "/a", 1]])
    assert_same_fields(await peer.receipt(1), example("receipt", ok=True))
    await peer.say(type="update", seq=2, doc="main", base=0, strategy="reject", ops=[["set", "/b", 1]])
    await peer.receipt(2)
    await bridge().read(verbs.update, created.session.pk, "main", "merge", {"a": 2})
    await peer.say(type="update", seq=3, doc="main", base=1, strategy="reject", ops=[["set", "/a", 3]])
    refusal = await peer.receipt(3)
    told = example("receipt", ok=False)
    assert_same_fields(refusal, told)
    assert set(told["error"]) <= set(refusal["error"])
    assert (refusal["error"]["code"], refusal["error"]["name"]) == (told["error"]["code"], told["error"]["name"])


async def test_a_gap_has_the_fields_that_the_page_shows(peers: Any, created: Any) -> None:
    for number in range(3):
        await bridge().read(verbs.publish, "room:1", number)
    peer = peers()
    connected = await peer.open(created.token.secret, logs={ROOM: None})
    await peer.until_following(ROOM)
    await bridge().read(_lose_history)
    await peer.say(type="unsubscribe", id=0, log=ROOM)
    await peer.until(lambda frame: frame["type"] == "reply" and frame["id"] == 0)
    await peer.say(type="subscribe", id=1, log=ROOM, position=connected["logs"][ROOM]["position"])
    reply = await peer.until(lambda frame: frame["type"] == "reply" and frame["id"] == 1)
    verdict = {"type": "gap", "log": ROOM, **reply["verdict"]}
    del verdict["mode"]
    assert_same_fields(verdict, example("gap"))


def _lose_history() -> None:
    Publication.objects.all().delete()
    Stream.objects.update(head=1, head_tag="f" * 16)


async def test_replies_and_pongs_have_the_fields_that_the_page_shows(peers: Any, created: Any) -> None:
    peer = peers()
    await peer.open(created.token.secret)
    await peer.say(type="subscribe", id=5, log=ROOM, position=None)
    reply = await peer.until_type("reply")
    assert_same_fields(reply, example("reply"))
    assert set(reply["verdict"]) == set(example("reply")["verdict"])
    await peer.say(type="ping", id=9)
    assert_same_fields(await peer.until_type("pong"), example("pong", id=9))


async def test_an_error_has_the_fields_that_the_page_shows(peers: Any, created: Any) -> None:
    peer = peers()
    await peer.open(created.token.secret)
    await peer.say(type="subscribe", id=5, log="topic:room:secret", position=None)
    error = await peer.until_type("error")
    assert error == example("error")


async def test_a_good_bye_has_the_fields_that_the_page_shows(peers: Any) -> None:
    peer = peers()
    await peer.handshake()
    await peer.say(type="connect", token="sma_unknown", logs={})
    assert_same_fields(await peer.until_type("bye"), example("bye"))


async def test_a_beat_has_the_fields_that_the_page_shows(peers: Any, created: Any, settings: Any) -> None:
    settings.SESSION_MGMT = {"heartbeat_interval": 0.5}
    peer = peers()
    await peer.open(created.token.secret)
    assert_same_fields(await peer.until_type("ping"), example("ping", ping=7))


async def test_an_ephemeral_message_has_the_fields_that_the_page_shows(peers: Any, created: Any) -> None:
    peer = peers()
    await peer.open(created.token.secret, logs={ROOM: None})
    await peer.until_following(ROOM)
    await peer.say(**{**example("publish", ephemeral=True), "topic": "room:1"})
    assert_same_fields(await peer.until_type("ephemeral"), example("ephemeral"))
