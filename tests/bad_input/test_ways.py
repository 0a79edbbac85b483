"""One question, several ways: the same wrong value is refused with the same code by frames, by HTTP and from Python."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote

import pytest

from session_mgmt.bridge import bridge
from session_mgmt.exceptions import SessionMgmtError
from session_mgmt.protocol.position import Position
from session_mgmt.shortcuts import create_session, history, publish, send, state
from tests.bad_input.held import Held
from tests.http_transports.conftest import http, tabs

__all__ = ["http", "tabs"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.sqlite]

# As it stands in JSON. What Python cannot read alike is not asked from there.
HOSTILE = [
    *("null", "true", "false", "0", "1", "-1", "1.5", "1e3", "9007199254740992", "1e400", "NaN", "-Infinity"),
    *('""', '"x"', '"1"', '"\\u0000"', '"\\ud800"', '"a\\u202eb"', f'"{"x" * 101}"', f'"{"x" * 3000}"'),
    *("[]", "{}", "[1]", '{"a":1}', "[[[[]]]]", '["x",1,"y"]', f"{'[' * 70}{']' * 70}", "01", "'x'", ""),
]
# Refusals of the parser, which Python has not.
OF_JSON = ("invalid_json", "number_out_of_range", "string_too_long", "too_deep", "invalid_frame")
UPDATE = ("base", "tag", "strategy", "replaced")


@dataclass(frozen=True)
class Way:
    """``frame`` and ``body`` have ``%s`` where the value stands; ``python`` does the same from Python."""

    frame: str
    body: str
    path: str
    method: str = "POST"
    python: Callable[[Any], Any] | None = None


PUBLISH = "topics/room:1/publications/"
WAYS = {
    "publish: key": Way(
        '"publish","topic":"room:1","data":1,"key":%s',
        '{"data":1,"key":%s}',
        PUBLISH,
        python=lambda value: publish("room:1", 1, key=value),
    ),
    "publish: ephemeral": Way(
        '"publish","topic":"room:1","data":1,"ephemeral":%s',
        '{"data":1,"ephemeral":%s}',
        PUBLISH,
        python=lambda value: publish("room:1", 1, ephemeral=value),
    ),
    **{
        f"update: {name}": Way(
            f'"update","merge":{{"a":1}},"{name}":%s',
            f'{{"merge":{{"a":1}},"{name}":%s}}',
            "sessions/{id}/state/main/",
            "PATCH",
        )
        for name in UPDATE
    },
}


# Each field of the frames that have an ``id``; ``%s`` is the value. What is accepted stores nothing.
FEW = ("null", "true", "-1", "1.5", '""', '"a\\u202eb"', f'"{"x" * 300}"', "[[[[]]]]", '{"a":1}')
BY_LOG = ("subscribe", "unsubscribe", "history", "enter", "leave", "members", "value")
FRAMES = {
    **{f"{kind}: id": f'"{kind}","log":"topic:none:1","id":%s' for kind in BY_LOG},
    **{f"{kind}: log": f'"{kind}","id":%d,"log":%s' for kind in BY_LOG},
    **{
        f"subscribe {log}: {name}": f'"subscribe","id":%d,"log":"{log}","{name}":%s'
        for log in ("topic:room:1", "state:main")
        for name in ("position", "slow", "since", "filter")
    },
    **{
        f"subscribe: {wish} with {name}": f'"subscribe","id":%d,"log":"topic:room:1","{wish}":{{"{name}":%s}}'
        for wish, name in (("since", "position"), ("since", "time"), ("since", "last"), ("filter", "a"), ("filter", ""))
    },
    "subscribe: filter in": '"subscribe","id":%d,"log":"topic:room:1","filter":{"kind":{"in":%s}}',
    "subscribe: filter of a key": '"subscribe","id":%d,"log":"topic:room:1","filter":{"kind":%s}',
    "history: before": '"history","id":%d,"log":"topic:room:1","before":%s',
    "history: limit": '"history","id":%d,"log":"topic:room:1","limit":%s',
    "enter: data": '"enter","id":%d,"log":"topic:room:1","data":%s',
    "configure: id": '"configure","id":%s',
    "ping: id": '"ping","id":%s',
    "type": '%s,"id":%d',
    # The last is one that delays frames.
    **{f"configure: {name}": f'"configure","id":%d,"{name}":%s' for name in ("interval", "missed_limit", "batch")},
}


def find_error(work: Callable[[], Any]) -> str | None:
    try:
        work()
    except SessionMgmtError as error:
        return error.name
    return None


@pytest.mark.parametrize("name", WAYS)
async def test_a_field_is_refused_alike(held: Held, peers: Any, name: str) -> None:
    way, wrong, seq = WAYS[name], [], 1
    one = peers()
    await one.open(held.token.token, logs={"topic:room:1": None})
    for text in HOSTILE:
        refused = await ask(one, way.frame % text, seq)
        if refused.get("name") == "seq_gap":
            # The one before was refused and its number not used up.
            seq = refused["expected"]
            refused = await ask(one, way.frame % text, seq)
        over_frames, seq = refused.get("name"), seq + 1
        answer = await bridge().read(held.token.call, way.method, way.path, raw=(way.body % text).encode())
        over_http = json.loads(answer.content)
        told = {"frames": over_frames, "http": over_http.get("name")}
        # To find the field of such a number takes a second parser, which a socket's event loop has no time for.
        if over_frames != "number_out_of_range" and refused.get("field") != over_http.get("field"):
            told["field"] = f"{refused.get('field')} or {over_http.get('field')}"
        if way.python is not None and over_frames not in OF_JSON and (value := read_json(text)) is not None:
            told["python"] = await bridge().read(find_error, partial(way.python, value))
        if len(set(told.values())) > 1:
            wrong.append(f"{text[:40]}: {told}")
    assert not wrong, "\n".join(wrong)


async def ask(one: Any, frame: str, seq: int) -> Any:
    """Send a frame, and return its refusal, if it is one."""
    await one.raw(f'{{"seq":{seq},"type":{frame}}}')
    answer = await one.until(
        lambda told: (
            (told["type"] in ("receipt", "error") and told.get("seq") in (seq, None))
            # What the other ways publish comes too.
            or (told["type"] == "ephemeral" and frame.endswith("true"))
        )
    )
    return answer.get("error", answer)


def read_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


PLACES = [
    *(["e", offset, "t"] for offset in (0, 1, 7, -1, 2**53 - 1, 2**53)),
    *([epoch, 1, "t"] for epoch in ("", "E", "é", "a.b", "x" * 64, "x" * 65)),
    *(["e", 1, tag] for tag in ("", "T", "x" * 64, "x" * 65)),
]


async def test_a_place_in_a_history_is_refused_alike(held: Held, peers: Any) -> None:
    one, wrong = peers(), []
    await one.open(held.token.token)
    for place in PLACES:
        await one.say(type="history", id=7, log="topic:room:1", before=place)
        # A frame that holds no JSON of the protocol is refused before its id is read.
        told = await one.until(lambda frame: frame.get("id") == 7 or frame["type"] == "error")
        over_frames = told.get("name")
        text = ".".join(map(str, place))
        answer = await bridge().read(held.token.get, f"{PUBLISH}?before={quote(text)}")
        if over_frames == "number_out_of_range":
            # No JSON of ours holds the number; an address and Python are no JSON.
            over_frames = "invalid_field"
        found = {
            "frames": over_frames,
            "http": json.loads(answer.content).get("name"),
            "python": await bridge().read(find_error, partial(history, "room:1", before=Position(*place))),
        }
        if len(set(found.values())) > 1:
            wrong.append(f"{text[:40]}: {found}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("limit", [0, 1, 200, 201, -1, 2**53, 10**30])
async def test_a_limit_of_a_history_is_refused_alike(held: Held, peers: Any, limit: int) -> None:
    one = peers()
    await one.open(held.token.token)
    await one.raw(f'{{"type":"history","id":7,"log":"topic:room:1","limit":{limit}}}')
    told = {(await one.until(lambda frame: frame.get("id") == 7 or frame["type"] == "error")).get("name")}
    told.add(json.loads((await bridge().read(held.token.get, f"{PUBLISH}?limit={limit}")).content).get("name"))
    told.add(await bridge().read(find_error, lambda: history("room:1", limit=limit)))
    # As for places, no JSON of ours holds the largest.
    told = {"invalid_field" if name == "number_out_of_range" else name for name in told}
    assert told in ({None}, {"invalid_field"}), told


@pytest.mark.parametrize("part", [True, 1.0, "1", None, [], float("nan")])
def test_a_place_of_wrong_parts_is_refused_from_python(held: Held, part: Any) -> None:
    for place in (Position("e", part, "t"), Position(part, 1, "t"), Position("e", 1, part)):
        if part != "1" or place.offset == "1":
            assert find_error(partial(history, "room:1", before=place)) == "invalid_field"


async def test_each_field_of_a_frame_is_refused_alike_by_a_socket_and_over_http(
    held: Held, peers: Any, tabs: Any
) -> None:
    one, tab, wrong = peers(), tabs(held.token.token), []
    logs = {"topic:room:1": None, "state:main": None, "session": None}
    await one.open(held.token.token, logs=logs)
    await tab.attach(logs)
    before = await bridge().read(held.everything)
    for name, template in FRAMES.items():
        frames = ["{" + f'"type":{fill(template, number, text)}' + "}" for number, text in enumerate(FEW)]
        first = len(one.seen)
        for frame in frames:
            await one.raw(frame)
        over_http = list_refusals(await tab.exchange(*map(json.loads, frames)))
        while len(over_socket := list_refusals(one.seen[first:])) < len(over_http):
            await one.next()
        wrong += [f"{name}: {told}" for told in set(over_socket) ^ set(over_http)]
        assert len(over_http) == len(FEW), name
        wrong += [f"{name} {told}" for told in over_http if told[1] == "internal_error"]
    assert not wrong, "\n".join(wrong)
    assert await bridge().read(held.everything) == before


def fill(template: str, number: int, text: str) -> str:
    """Put a value into a frame, and a number where it has an id of its own."""
    if "%d" not in template:
        return template % text
    return template % ((number, text) if template.index("%d") < template.index("%s") else (text, number))


def list_refusals(frames: list[Any]) -> list[tuple[Any, ...]]:
    """Return what was told of each request: its id, and the name and the place of its refusal, or nothing."""
    answers = [frame for frame in frames if frame["type"] in ("reply", "pong", "error")]
    return [(frame.get("id"), frame.get("name"), frame.get("field")) for frame in answers]


# The same from Python and over REST: the request, and the argument of the function.
CALLS: dict[str, tuple[str, str, str, Callable[[Held, Any], Any]]] = {
    "a message's key": (
        "POST",
        "sessions/{id}/messages/",
        '{"data":1,"key":%s}',
        lambda held, value: send(held.session, 1, key=value),
    ),
    "a session's metadata": (
        "POST",
        "sessions/",
        '{"metadata":%s}',
        lambda held, value: create_session(user=held.session.user, metadata=value),
    ),
    "a session's scopes": (
        "POST",
        "sessions/",
        '{"scopes":%s}',
        lambda held, value: create_session(user=held.session.user, scopes=value),
    ),
    "a label": (
        "POST",
        "sessions/{id}/state/main/persist/",
        '{"label":%s}',
        lambda held, value: state.persist(held.session, value),
    ),
}
WRONG = ("true", "-1", "1.5", '""', f'"{"x" * 300}"', "[[[[]]]]", '["x",1,"y"]', '[{"a":1}]')


def test_a_value_is_refused_alike_over_rest_and_from_python(held: Held) -> None:
    before, wrong = held.everything(), []
    for name, (method, path, body, call) in CALLS.items():
        for text in WRONG:
            over_rest = held.root.call(method, path, raw=(body % text).encode()).json().get("name")
            from_python = find_error(partial(call, held, json.loads(text)))
            if over_rest != from_python:
                wrong.append(f"{name} {text[:40]}: {over_rest} over REST, {from_python} from Python")
    assert not wrong, "\n".join(wrong)
    assert held.everything() == before
