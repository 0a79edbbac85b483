"""Every value in every place of every transport: one verdict, and nothing changed where it is a refusal.

What a transport makes of a value depends on no database: one pass tries the transports, and both try the calls from
Python, which store every kind of value in every kind of row.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
from django.db import transaction

from session_mgmt.bridge import bridge
from session_mgmt.consumers.websocket import CONNECT_BYTES
from session_mgmt.exceptions import SessionMgmtError, list_errors
from session_mgmt.models import ClientSession
from session_mgmt.shortcuts import create_session, drain, publish, send, state
from tests.bad_input.held import Held, is_the_same
from tests.bad_input.values import (
    GOOD,
    NOTHING,
    PYTHON_GOOD,
    PYTHON_REFUSED,
    REFUSED,
    SHAPES,
    UNREADABLE,
    Value,
)

pytestmark = pytest.mark.django_db(transaction=True)

CODES = {error.name: error for error in list_errors()}
MAIN = "sessions/{id}/state/main/"


@dataclass(frozen=True)
class Place:
    """``body`` has ``%s`` where the value stands; ``read`` gives what was stored there, none if the parser is all that
    looks at the value.
    """

    body: bytes
    method: str = "POST"
    path: str = MAIN
    read: Callable[[Held], Any] | None = None


DOCUMENT, MESSAGE, PUBLICATION = Held.in_document, Held.in_message, Held.in_publication
ROOM = "topics/room:1/publications/"
REST = {
    "create": Place(b'{"metadata":{"a":%s}}', path="sessions/", read=Held.in_newest_metadata),
    "metadata": Place(b'{"metadata":{"a":%s}}', "PATCH", "sessions/{id}/", Held.in_metadata),
    "put": Place(b'{"a":%s}', "PUT", read=DOCUMENT),
    "ops": Place(b'{"ops":[["set","/a",%s]]}', "PATCH", read=DOCUMENT),
    "merge": Place(b'{"merge":{"a":%s}}', "PATCH", read=Held.alone_in_document),
    "patch": Place(b'{"patch":[{"op":"add","path":"/a","value":%s}]}', "PATCH", read=DOCUMENT),
    "data": Place(b'{"data":{"a":%s},"strategy":"client_wins"}', "PATCH", read=DOCUMENT),
    "message": Place(b'{"data":{"a":%s}}', path="sessions/{id}/messages/", read=MESSAGE),
    "publication": Place(b'{"data":{"a":%s}}', path=ROOM, read=PUBLICATION),
    "sync": Place(b'{"position":%s}', path=MAIN + "sync/"),
    "restore": Place(b'{"label":%s}', path=MAIN + "restore/"),
    "config": Place(b'{"config":{"idle_timeout":%s}}', "PATCH", "sessions/{id}/"),
    "replaced": Place(b'{"merge":{},"replaced":{"":%s}}', "PATCH"),
}


@pytest.mark.parametrize("name", REST)
@pytest.mark.sqlite
def test_over_rest(held: Held, name: str) -> None:
    place, wrong = REST[name], []
    caller = held.root if name in ("create", "message") else held.token
    before = held.everything()
    for row in REFUSED if place.read else UNREADABLE:
        answer = caller.call(place.method, place.path, raw=place.body % row.text)
        if not _refuses(answer, row.error):
            wrong.append(f"{row.name}: {answer.status_code} {answer.content[:200]!r}")
    assert held.everything() == before
    for row in GOOD if place.read else []:
        answer = caller.call(place.method, place.path, raw=place.body % row.text)
        if answer.status_code not in (200, 201) or not is_the_same(_read(place, held), row.kept):
            wrong.append(f"{row.name}: {answer.status_code} {answer.content[:200]!r}")
    assert not wrong, "\n".join(wrong)


def _read(place: Place, held: Held) -> Any:
    assert place.read is not None
    return place.read(held)


def _refuses(answer: Any, name: str | None) -> bool:
    told = json.loads(answer.content)
    assert name is not None
    wanted = (name, CODES[name].number, CODES[name].status)
    right = (told.get("name"), told.get("code"), answer.status_code) == wanted
    return right and answer.headers["Content-Type"] == "application/json"


@pytest.mark.sqlite
def test_a_decision_over_rest(held: Held) -> None:
    wrong = []
    for row in SHAPES:
        conflict = _open_conflict(held)
        address = MAIN + f"conflicts/{conflict}/resolve/"
        answer = held.token.post(address, raw=b'{"keep":"value","value":%s}' % (row.text or b""))
        if row.error is None:
            right = answer.status_code == 200 and is_the_same(held.in_document(), row.kept)
        else:
            right = _refuses(answer, row.error) and _open_conflict(held) == conflict
        if not right:
            wrong.append(f"{row.name}: {answer.content[:200]!r}")
    assert not wrong, "\n".join(wrong)


def _open_conflict(held: Held) -> str:
    found = state.conflicts(held.session)
    if not found:
        version = held.token.patch(MAIN, {"ops": [["set", "/a", 1]]}).json()["position"][1]
        held.token.patch(MAIN, {"ops": [["set", "/a", 2]]})
        held.token.patch(MAIN, {"ops": [["set", "/a", 3]], "base": version, "strategy": "manual"})
        found = state.conflicts(held.session)
    return str(found[0]["id"])


SOCKET = {
    "ops": Place(b'"update","ops":[["set","/a",%s]]', read=DOCUMENT),
    "merge": Place(b'"update","merge":{"a":%s}', read=Held.alone_in_document),
    "patch": Place(b'"update","patch":[{"op":"add","path":"/a","value":%s}]', read=DOCUMENT),
    "data": Place(b'"update","data":{"a":%s},"strategy":"client_wins"', read=DOCUMENT),
    "another document": Place(b'"update","doc":"other","data":{"a":%s}', read=lambda held: held.document("other")["a"]),
    "publish": Place(b'"publish","topic":"room:1","data":{"a":%s}', read=PUBLICATION),
    "send": Place(b'"send","data":{"a":%s}', read=lambda held: NOTHING),
    "unknown field": Place(b'"update","ops":[["del","/nothing"]],"extra":{"a":%s}'),
    "base": Place(b'"update","ops":[["del","/nothing"]],"base":%s'),
}


@pytest.mark.parametrize("name", SOCKET)
@pytest.mark.sqlite
async def test_over_websocket(held: Held, peers: Any, name: str) -> None:
    place, wrong, seq = SOCKET[name], [], 0
    one = peers()
    await one.open(held.token.token, logs={"state:main": None, "topic:room:1": None})
    before = await bridge().read(held.everything)
    for row in REFUSED if place.read else UNREADABLE:
        seq += 1
        text = b'{"type":%s,"seq":%d}' % (place.body % row.text, seq)
        receipt, again = await _receipt(one, text, seq), await _receipt(one, text, seq)
        if not (_is_refusal(receipt, row.error) and _is_refusal(again, row.error) and again["replayed"]):
            wrong.append(f"{row.name}: {receipt}")
    assert await bridge().read(held.everything) == before
    for row in GOOD if place.read else []:
        seq += 1
        receipt = await _receipt(one, b'{"type":%s,"seq":%d}' % (place.body % row.text, seq), seq)
        if not receipt.get("ok") or not await _is_kept(held, place, row, receipt):
            wrong.append(f"{row.name}: {receipt}")
    assert not wrong, "\n".join(wrong)


async def _receipt(one: Any, text: bytes, seq: int) -> Any:
    await one.raw(text.decode())
    return await one.until(
        lambda frame: frame["type"] in ("receipt", "error", "bye") and frame.get("seq") in (seq, None)
    )


async def _is_kept(held: Held, place: Place, row: Value, receipt: Any) -> bool:
    kept = await bridge().read(_read, place, held)
    return is_the_same(receipt["data"]["a"] if kept is NOTHING else kept, row.kept)


def _is_refusal(receipt: Any, name: str | None) -> bool:
    error = receipt.get("error", {})
    return (error.get("name"), error.get("code"), error.get("temporary")) == (name, CODES[name or ""].number, False)


@pytest.mark.sqlite
async def test_ephemeral_over_websocket(held: Held, peers: Any) -> None:
    wrong = []
    one = peers()
    await one.open(held.token.token, logs={"topic:room:1": None})
    for row in [*REFUSED, *GOOD]:
        await one.raw((b'{"type":"publish","topic":"room:1","ephemeral":true,"data":{"a":%s}}' % row.text).decode())
        frame = await one.until(lambda frame: frame["type"] in ("error", "ephemeral", "bye"))
        if row.error is None and not is_the_same(frame.get("data", {}).get("a"), row.kept):
            wrong.append(f"{row.name}: {frame}")
        if row.error is not None and frame.get("name") != row.error:
            wrong.append(f"{row.name}: {frame}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.sqlite
async def test_a_position_in_subscribe(held: Held, peers: Any) -> None:
    one = peers()
    await one.open(held.token.token)
    for row in UNREADABLE:
        for member in (b'"subscribe","log":"session","position"', b'"history","log":"topic:room:1","before"'):
            await one.raw((b'{"id":7,"type":%s:%s}' % (member, row.text)).decode())
            assert (await one.until_type("error"))["name"] == row.error, row.name
    await one.say(type="subscribe", id=8, log="session", position=None)
    assert (await one.until_type("reply"))["id"] == 8


@pytest.mark.sqlite
async def test_a_position_in_connect(held: Held, peers: Any) -> None:
    for row in UNREADABLE:
        one = peers()
        await one.handshake()
        values = (held.token.token.encode(), row.text)
        frame = b'{"type":"connect","token":"%s","logs":{"state:main":%s}}' % values
        await one.raw(frame.decode())
        assert await one.closed() == 4500, row.name
        # Before `connect` is answered, a frame may hold little, and is not parsed if it holds more.
        error = "frame_too_large" if len(frame) > CONNECT_BYTES else row.error
        assert [frame.get("name") for frame in one.seen] == [error, "invalid_frame"]


# A JSON Patch must see the document.
NOT_INSIDE = "invalid_field"
Write = Callable[[ClientSession, Any], Any]


def _merge(session: ClientSession, value: Any) -> None:
    state.update(session, {"a": value})


def _ops(session: ClientSession, value: Any) -> None:
    state.update(session, ops=[["set", "/a", value]])


def _patch(session: ClientSession, value: Any) -> None:
    state.update(session, patch=[{"op": "add", "path": "/a", "value": value}])


def _replace(session: ClientSession, value: Any) -> None:
    state.replace(session, {"a": value})


def _publish(session: ClientSession, value: Any) -> None:
    publish("room:1", {"a": value})


def _ephemeral(session: ClientSession, value: Any) -> None:
    publish("room:1", {"a": value}, ephemeral=True)


def _send(session: ClientSession, value: Any) -> None:
    send(session, {"a": value})


def _create(session: ClientSession, value: Any) -> None:
    create_session(user=session.user, metadata={"a": value})


def _resolve(session: ClientSession, value: Any) -> None:
    state.resolve(session, state.conflicts(session)[0]["id"], "value", value)


PYTHON: dict[str, tuple[Write, Callable[[Held], Any]]] = {
    "merge": (_merge, Held.alone_in_document),
    "ops": (_ops, DOCUMENT),
    "patch": (_patch, DOCUMENT),
    "replace": (_replace, DOCUMENT),
    "publish": (_publish, PUBLICATION),
    "ephemeral": (_ephemeral, lambda held: NOTHING),
    "send": (_send, MESSAGE),
    "create": (_create, Held.in_newest_metadata),
}


@pytest.mark.parametrize("inside", [False, True], ids=["now", "inside atomic"])
def test_from_python(held: Held, inside: bool) -> None:
    before, wrong = held.everything(), []
    for name, row in product(PYTHON, PYTHON_REFUSED):
        error = _error_of(held, PYTHON[name][0], row.python, inside=inside)
        if error != (NOT_INSIDE if inside and name == "patch" else row.python_error):
            wrong.append(f"{name}, {row.name}: {error}")
    assert held.everything() == before
    for name, row in product(PYTHON, PYTHON_GOOD):
        if not (inside and name == "patch"):
            write, read = PYTHON[name]
            error = _error_of(held, write, row.python, inside=inside)
            drain()
            if error is not None or not ((kept := read(held)) is NOTHING or is_the_same(kept, row.kept)):
                wrong.append(f"{name}, {row.name}: {error}")
    assert not wrong, "\n".join(wrong)


def _error_of(held: Held, write: Write, value: Any, *, inside: bool) -> str | None:
    """What refused it; the caller's transaction goes on either way."""
    with transaction.atomic() if inside else nullcontext():
        try:
            write(held.session, value)
        except SessionMgmtError as error:
            assert ClientSession.objects.filter(pk=held.session.pk).exists()
            return error.name
    return None


def test_a_decision_from_python(held: Held) -> None:
    wrong = []
    for row in [row for row in SHAPES if row.python is not NOTHING]:
        _open_conflict(held)
        error = _error_of(held, _resolve, row.python, inside=False)
        if error != (row.python_error if row.kept is NOTHING else None):
            wrong.append(f"{row.name}: {error}")
    assert not wrong, "\n".join(wrong)
