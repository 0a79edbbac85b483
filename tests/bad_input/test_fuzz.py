"""Requests and frames that nobody thought of: never a fault, and every refusal documented."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from session_mgmt.bridge import bridge
from session_mgmt.exceptions import list_errors
from session_mgmt.protocol.codes import Close
from tests.bad_input.held import Held

pytestmark = pytest.mark.django_db(transaction=True)

CODES = {error.name: error for error in list_errors()}
DESCRIPTION = json.loads((Path(__file__).parents[2] / "docs/reference/openapi.json").read_text())
fuzzed = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

INTEGERS = st.integers() | st.sampled_from([0, 1, -1, 2**53 - 1, 2**53, 2**63, 2**64, 10**400])
TEXTS = st.text(max_size=30) | st.sampled_from(
    ["", "main", "/n", "/list/0", "merge", "manual", "\ud800", "\0", "room:1"]
)
SCALARS = st.none() | st.booleans() | INTEGERS | st.floats() | TEXTS


def _around(inner: Any) -> Any:
    return st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4)


JSON = st.recursive(SCALARS, _around, max_leaves=8)
PATHS = TEXTS | st.lists(TEXTS, max_size=4).map(lambda tokens: "".join(f"/{token}" for token in tokens))
NAMES = st.sampled_from(["set", "del", "ins", "inc", "obj", "boom"])
OPS = st.lists(st.tuples(NAMES, PATHS, JSON) | st.tuples(NAMES, PATHS) | JSON, max_size=5)
VERBS = st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "boom"])
PATCH = st.fixed_dictionaries({"op": VERBS, "path": PATHS}, optional={"value": JSON, "from": PATHS})
PATCHES = st.lists(PATCH, max_size=5)
TERMS = {"base": INTEGERS, "epoch": TEXTS, "strategy": TEXTS, "replaced": JSON}
CHANGES = st.fixed_dictionaries({}, optional={"ops": OPS, "patch": PATCHES, "merge": JSON, "data": JSON, **TERMS})


def _fields(operation: Any) -> list[str]:
    """The names of a body's fields, by the description."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    name = content.get("schema", {}).get("$ref", "/").rsplit("/", 1)[1]
    found = DESCRIPTION["components"]["schemas"].get(name, {})
    return sorted({field for one in (found, *found.get("oneOf", ())) for field in one.get("properties", ())})


CALLS = [
    (method.upper(), path, _fields(operation))
    for path, methods in DESCRIPTION["paths"].items()
    for method, operation in methods.items()
    # The session must live on, and the description is made anew each time.
    if (method, path) != ("delete", "/sessions/{id}/") and path != "/schema/"
]


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, bytes]:
    method, path, fields = draw(st.sampled_from(CALLS))
    for parameter in ("name", "version", "label", "conflict", "topic"):
        value = draw(st.sampled_from(["main", "room:1", "1", "0"]) | TEXTS.filter(lambda text: "\ud800" not in text))
        path = path.replace(f"{{{parameter}}}", quote(value.encode(errors="replace"), safe=""))
    if "ops" in fields and draw(st.booleans()):
        body = json.dumps(draw(CHANGES))
    else:
        body = json.dumps(draw(st.dictionaries(st.sampled_from(fields), JSON)) if fields else draw(JSON))
    return method, path.removeprefix("/"), _cut(draw, body).encode(errors="surrogatepass")


def _cut(draw: st.DrawFn, text: str) -> str:
    """The text as it is, or with a piece of it exchanged."""
    if draw(st.integers(0, 4)):
        return text
    at = draw(st.integers(0, len(text)))
    return text[:at] + draw(st.text(max_size=5)) + text[at + draw(st.integers(0, 5)) :]


def test_the_description_has_every_call() -> None:
    assert len(CALLS) > 25
    assert ("PATCH", "/sessions/{id}/state/{name}/") in [call[:2] for call in CALLS]


@fuzzed
@given(request=requests())
def test_no_request_is_a_fault(held: Held, request: tuple[str, str, bytes]) -> None:
    method, path, body = request
    for caller in (held.token, held.root):
        answer = caller.call(method, path, raw=body)
        assert answer.status_code < 500, answer.content
        if answer.status_code >= 400:
            told = json.loads(answer.content)
            assert (told["code"], answer.status_code) == (CODES[told["name"]].number, CODES[told["name"]].status)
    # The loop that serves clients over HTTP uses random numbers, and strategies may share theirs with nobody.
    bridge().home.close()


FRAMES: list[dict[str, Any]] = [
    {"type": "update", "seq": 1, "doc": "main", "ops": [["set", "/a", 1]], "base": 1, "strategy": "merge"},
    {"type": "update", "seq": 1, "merge": {"a": {"b": 1}}},
    {"type": "update", "seq": 1, "patch": [{"op": "add", "path": "/a", "value": 1}]},
    {"type": "update", "seq": 1, "data": {"a": 1}, "replaced": {"": None}},
    {"type": "publish", "seq": 1, "topic": "room:1", "data": 1, "key": "k"},
    {"type": "publish", "topic": "room:1", "data": 1, "ephemeral": True},
    {"type": "send", "seq": 1, "data": {"a": 1}},
    {"type": "subscribe", "id": 1, "log": "topic:room:1", "position": ["e", 1, "t"]},
    {"type": "unsubscribe", "id": 1, "log": "topic:room:1"},
    {"type": "history", "id": 1, "log": "topic:room:1", "before": ["e", 1, "t"], "limit": 10},
    {"type": "enter", "id": 1, "log": "topic:room:1", "data": {"a": 1}},
    {"type": "leave", "id": 1, "log": "topic:room:1"},
    {"type": "members", "id": 1, "log": "topic:room:1"},
    {"type": "value", "id": 1, "log": "topic:room:1"},
    {"type": "ack", "seq": 1},
    {"type": "pong", "ping": 1, "acked": 1},
    {"type": "connect", "token": "sma_x", "client_id": None, "acked": 0, "logs": {}},
]


@st.composite
def frames(draw: st.DrawFn) -> str:
    frame = dict(draw(st.sampled_from(FRAMES)))
    if "seq" in frame:
        frame["seq"] = draw(st.integers(1, 60))
    if frame["type"] == "update" and draw(st.booleans()):
        frame = {"type": "update", "seq": frame["seq"], **draw(CHANGES)}
    for name in draw(st.lists(st.sampled_from([*frame, "extra"]), max_size=2)):
        frame[name] = draw(JSON)
    for name in draw(st.lists(st.sampled_from(list(frame)), max_size=1)):
        del frame[name]
    return _cut(draw, json.dumps(frame)) or " "


@fuzzed
@given(texts=st.lists(frames() | JSON.map(json.dumps) | st.text(min_size=1, max_size=50), min_size=1, max_size=12))
async def test_no_frame_is_a_fault(held: Held, peers: Any, texts: list[str]) -> None:
    one = peers()
    await one.open(held.token.token, logs={"state:main": None})
    for text in texts:
        await one.raw(text)
    await one.say(type="ping", id=999_999)
    last = await one.until(lambda frame: frame["type"] == "bye" or frame.get("id") == 999_999)
    for frame in one.seen:
        error = frame if frame["type"] == "error" else frame.get("error")
        assert error is None or CODES[error["name"]].number == error["code"]
    # Only a second `connect` ends a connection.
    assert last["type"] == "pong" or (await one.closed() == Close.INVALID_FRAME and '"connect"' in "".join(texts))
    await one.leave()
