"""Names, ids, labels and keys that are none, in addresses, frames and arguments."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from contextlib import nullcontext
from itertools import product
from typing import Any
from urllib.parse import quote

import pytest
from django.db import transaction

from session_mgmt.bridge import bridge
from session_mgmt.exceptions import SessionMgmtError
from session_mgmt.shortcuts import drain, publish, send, state
from tests.bad_input.held import Held

pytestmark = pytest.mark.django_db(transaction=True)

MAIN = "sessions/{id}/state/main/"
SURROGATE = "\ud800"
NO_DOCUMENTS = ["", "a/b", ".", "..", "\0", "a\0b", "\n", "\x7f", "x" * 101]
DOCUMENTS = ["ü", "😀", "a b", "x" * 100, "__proto__", "constructor", "...", "%00", "'; DROP TABLE x --", "a?b#c"]
NO_TOPICS = ["", " room:1", "room:1 ", "room:\n", "room:\0", "room:" + "x" * 251]
NO_KEYS = ["", "k" * 101, "\0", SURROGATE, 5]
NO_LABELS = ["l" * 101, "\n", "\0", "\u200b"]

ENDPOINTS = [
    ("GET", "", None),
    ("PUT", "", {}),
    ("PATCH", "", {"merge": {"a": 1}}),
    ("DELETE", "", None),
    ("POST", "sync/", {}),
    ("GET", "size/", None),
    ("POST", "compress/", {}),
    ("GET", "history/", None),
    ("GET", "history/1/", None),
    ("GET", "diff/?from=0", None),
    ("GET", "persist/", None),
    ("POST", "persist/", {}),
    ("DELETE", "persist/label/", None),
    ("POST", "restore/", {"version": 0}),
    ("GET", "conflicts/", None),
    ("POST", f"conflicts/{uuid.uuid4()}/resolve/", {"keep": "server"}),
]


def test_an_address_without_a_documents_name_is_of_nothing(held: Held) -> None:
    before = held.everything()
    for (method, end, body), name in product(ENDPOINTS, NO_DOCUMENTS):
        answer = held.token.call(method, f"sessions/{{id}}/state/{quote(name, safe='')}/{end}", body)
        assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/json"), (end, name)
        assert json.loads(answer.content)["name"] in ("document_not_found", "not_found"), (end, name)
    assert held.everything() == before


def test_every_other_text_names_a_document_over_rest(held: Held) -> None:
    for name in DOCUMENTS:
        address = f"sessions/{{id}}/state/{quote(name, safe='')}/"
        assert held.token.put(address, {"own": name}).status_code == 200, name
        assert held.token.get(address).json()["data"] == {"own": name}
        assert held.document(name) == {"own": name}


async def test_a_name_that_is_none_is_a_wrong_field_of_a_frame(held: Held, peers: Any) -> None:
    one = peers()
    await one.open(held.token.token)
    before = await bridge().read(held.everything)
    names = [name for name in NO_DOCUMENTS if "\0" not in name]
    for seq, name in enumerate(names, start=1):
        await one.say(type="update", seq=seq, doc=name, merge={"a": 1})
        assert (await one.receipt(seq))["error"]["name"] == "invalid_field", name
        await one.say(type="subscribe", id=seq, log=f"state:{name}", position=None)
        assert (await one.until_type("error"))["name"] == "invalid_field", name
    assert await bridge().read(held.everything) == before
    two = peers()
    connected = await two.open(held.token.token, logs={f"state:{name}": None for name in names})
    assert {log["mode"] for log in connected["logs"].values()} == {"denied"}


async def test_a_topic_that_is_none_may_be_neither_followed_nor_published_to(held: Held, peers: Any) -> None:
    one = peers()
    await one.open(held.token.token)
    for seq, topic in enumerate([topic for topic in NO_TOPICS if "\0" not in topic], start=1):
        await one.say(type="publish", seq=seq, topic=topic, data=1)
        assert (await one.receipt(seq))["error"]["name"] in ("publish_denied", "invalid_field"), topic
        for kind in ("subscribe", "history", "enter", "members", "value"):
            await one.say(type=kind, id=seq, log=f"topic:{topic}")
            assert (await one.until_type("error"))["name"] in ("topic_denied", "invalid_field"), topic


def test_a_topic_that_is_none_has_no_address(held: Held) -> None:
    before = held.everything()
    for topic in NO_TOPICS:
        address = f"topics/{quote(topic, safe='')}/publications/"
        for answer in (held.token.post(address, {"data": 1}), held.token.get(address)):
            assert answer.status_code in (403, 404), topic
            assert json.loads(answer.content)["name"] in ("publish_denied", "topic_denied", "not_found")
    assert held.everything() == before


Call = Callable[[Held, Any], Any]
NAMING: dict[str, tuple[Call, list[Any], str]] = {
    "update": (lambda held, name: state.update(held.session, {"a": 1}, name=name), NO_DOCUMENTS, "invalid_field"),
    "replace": (lambda held, name: state.replace(held.session, {}, name=name), NO_DOCUMENTS, "invalid_field"),
    "clear": (lambda held, name: state.clear(held.session, name=name), NO_DOCUMENTS, "invalid_field"),
    "restore": (lambda held, name: state.restore(held.session, 1, name=name), NO_DOCUMENTS, "invalid_field"),
    "history": (lambda held, name: state.history(held.session, name=name), NO_DOCUMENTS, "invalid_field"),
    "persist": (lambda held, name: state.persist(held.session, name=name), NO_DOCUMENTS, "invalid_field"),
    "compress": (lambda held, name: state.compress(held.session, name=name), NO_DOCUMENTS, "invalid_field"),
    "get": (lambda held, name: state.get(held.session, name), NO_DOCUMENTS, "invalid_field"),
    "size": (lambda held, name: state.size(held.session, name), NO_DOCUMENTS, "invalid_field"),
    "conflicts": (lambda held, name: state.conflicts(held.session, name=name), NO_DOCUMENTS, "invalid_field"),
    "publish": (lambda held, topic: publish(topic, 1), NO_TOPICS, "invalid_field"),
    "ephemeral": (lambda held, topic: publish(topic, 1, ephemeral=True), NO_TOPICS, "invalid_field"),
    "key of update": (lambda held, key: state.update(held.session, {}, key=key), NO_KEYS, "invalid_field"),
    "key of publish": (lambda held, key: publish("room:1", 1, key=key), NO_KEYS, "invalid_field"),
    "key of send": (lambda held, key: send(held.session, 1, key=key), NO_KEYS, "invalid_field"),
    "label": (lambda held, label: state.persist(held.session, label), NO_LABELS, "invalid_field"),
    "unknown label": (lambda held, label: state.restore(held.session, label), NO_LABELS, "not_found"),
    "version": (lambda held, version: state.restore(held.session, version), [-1, 99, 10**30], "not_found"),
}


@pytest.mark.parametrize("inside", [False, True], ids=["now", "inside atomic"])
def test_what_is_no_name_is_refused_from_python(held: Held, inside: bool) -> None:
    before, wrong = held.everything(), []
    for way, (call, names, error) in NAMING.items():
        for name in [*names, *([SURROGATE] if isinstance(names[-1], str) else [])]:
            told = _error_of(lambda call=call, name=name: call(held, name), inside=inside)
            if told != error:
                wrong.append(f"{way} {name!r:.20}: {told}")
    assert not wrong, "\n".join(wrong)
    drain()
    assert held.everything() == before


def _error_of(call: Callable[[], Any], *, inside: bool) -> str | None:
    with transaction.atomic() if inside else nullcontext():
        try:
            call()
        except SessionMgmtError as error:
            return error.name
    return None


def test_a_label_that_is_none_is_refused_over_rest(held: Held) -> None:
    before = held.everything()
    for label in [*NO_LABELS, ""]:
        told = [held.token.post(MAIN + call, {"label": label}).json()["name"] for call in ("persist/", "restore/")]
        assert told[0] in ("invalid_json", "invalid_field"), label
        assert told[1] in ("invalid_json", "invalid_field", "not_found"), label
        assert held.token.delete(f"{MAIN}persist/{quote(label, safe='')}/").status_code in (404, 405), label
    assert held.everything() == before


NO_IDS = ["x", "0", "-1", "1e9", "\0", "😀", "a" * 5000, "00000000-0000-0000-0000-00000000000g", "..", "%"]


def test_an_id_that_is_none_is_of_nothing(held: Held) -> None:
    for id_ in [quote(one, safe="") for one in NO_IDS]:
        addresses = [f"sessions/{id_}/", f"sessions/{id_}/state/main/", f"sessions/{id_}/events/"]
        answers = [held.token.get(address) for address in addresses]
        answers.append(held.token.post(f"{MAIN}conflicts/{id_}/resolve/", {"keep": "server"}))
        answers.append(held.token.get(f"{MAIN}history/{id_}x/"))
        for answer in answers:
            assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/json"), id_


NUMBERS = ["-1", "x", "", "1.0", "1e9", "\u0661", "9" * 17, "9" * 5000, " 1", "true", "0x1", "\0"]
QUERIES = [
    "events/?after=",
    "events/?limit=",
    "state/main/history/?before=",
    "state/main/diff/?from=",
    "state/main/diff/?from=0&to=",
]


def test_a_number_of_an_address_that_is_none_is_a_wrong_field(held: Held) -> None:
    for query, number in product(QUERIES, NUMBERS):
        answer = held.token.get(f"sessions/{{id}}/{query}{quote(number)}")
        assert (answer.status_code, answer.json()["name"]) == (400, "invalid_field"), (query, number)


def test_absurd_positions_are_answered_by_what_is_there(held: Held) -> None:
    absurd = [
        [],
        {},
        1,
        "x",
        [1, 2, 3],
        ["e", -1, ""],
        ["e", 1.5, ""],
        ["e", True, ""],
        ["e", 2**53 - 1, "t"],
        ["e" * 65, 1, ""],
    ]
    for position in absurd:
        answer = held.token.post(MAIN + "sync/", {"position": position})
        assert (answer.status_code, answer.json()["mode"]) == (200, "snapshot"), position
        assert answer.json()["data"] == held.document()


async def test_absurd_positions_in_frames_are_answered_by_what_is_there(held: Held, peers: Any) -> None:
    one = peers()
    await one.open(held.token.token)
    logs = {"state:main": "snapshot", "session": "gap", "topic:room:1": "gap"}
    for position in ([], {}, 1, "x", ["e", -1, ""], ["e", 2**53 - 1, "t"], ["e", 1, "t" * 65]):
        two = peers()
        connected = await two.open(held.token.token, logs=dict.fromkeys(logs, position))
        assert {name: log["mode"] for name, log in connected["logs"].items()} == logs, position
        await two.leave()
        await one.say(type="subscribe", id=1, log="state:main", position=position)
        assert (await one.until_type("reply"))["verdict"]["mode"] == "snapshot", position
        # A log that is followed already answers its position.
        await one.say(type="unsubscribe", id=2, log="state:main")
        await one.until(lambda frame: frame["type"] == "reply" and frame["id"] == 2)


NO_ETAGS = ["x", '"x"', '"a.b.c"', '"e.-1.t"', '"e.99999999999999999.t"', '"e.1.t', "*", '"e.1.t", "e.2.t"']
WRITES: list[tuple[str, Any]] = [("PATCH", {"merge": {}}), ("PUT", {}), ("DELETE", None)]


def test_a_condition_that_no_document_meets_fails(held: Held) -> None:
    before = held.everything()
    for given, (method, body) in product(NO_ETAGS, WRITES):
        answer = held.token.call(method, MAIN, body, If_Match=given)
        assert (answer.status_code, answer.json()["name"]) == (412, "precondition_failed"), (given, method)
    assert held.everything() == before
