"""The place of an error is told to the client that sent it, and to nobody else: names of keys can be people's data."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps

from session_mgmt.bridge import bridge
from session_mgmt.exceptions import SessionMgmtError
from session_mgmt.models import ClientSession, Receipt
from session_mgmt.registry import registry
from session_mgmt.shortcuts import create_session, publish, send, state
from tests.bad_input.held import Held
from tests.canary import read_record

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.sqlite]

KEY = "ann@example.org"
BAD = {"people": [{KEY: 2**60}]}
PLACE = f"people/0/{KEY}"

MAIN = "sessions/{id}/state/main/"
REST = {
    "create": ("POST", "sessions/", {"metadata": BAD}),
    "metadata": ("PATCH", "sessions/{id}/", {"metadata": BAD}),
    "put": ("PUT", MAIN, BAD),
    "ops": ("PATCH", MAIN, {"ops": [["set", "/a", BAD]]}),
    "merge": ("PATCH", MAIN, {"merge": BAD}),
    "patch": ("PATCH", MAIN, {"patch": [{"op": "add", "path": "/a", "value": BAD}]}),
    "data": ("PATCH", MAIN, {"data": BAD}),
    "message": ("POST", "sessions/{id}/messages/", {"data": BAD}),
    "publication": ("POST", "topics/room:1/publications/", {"data": BAD}),
}
FRAMES = {
    "ops": {"type": "update", "doc": "main", "ops": [["set", "/a", BAD]]},
    "merge": {"type": "update", "doc": "main", "merge": BAD},
    "send": {"type": "send", "data": BAD},
    "publish": {"type": "publish", "topic": "room:1", "data": BAD},
}
PYTHON: dict[str, Callable[[ClientSession], Any]] = {
    "create": lambda session: create_session(metadata=BAD),
    "replace": lambda session: state.replace(session, BAD),
    "merge": lambda session: state.update(session, BAD),
    "send": lambda session: send(session, BAD),
    "publish": lambda session: publish("room:1", BAD),
    "no JSON": lambda session: publish("room:1", {"people": [{KEY: b""}]}),
}


def no_text_has_the_key(records: list[logging.LogRecord]) -> bool:
    return not any(KEY in read_record(record) for record in records)


def read_stored() -> str:
    """Return what is in every column, which lists of the admin and metrics read; but for the answers of a client."""
    models = [model for model in apps.get_app_config("session_mgmt").get_models() if model is not Receipt]
    rows = [row for model in models for row in model._default_manager.values_list()]
    assert rows
    return "\n".join(repr(bytes(value) if isinstance(value, memoryview) else value) for row in rows for value in row)


@pytest.mark.parametrize("name", REST)
def test_http_tells_the_sender_alone(held: Held, caplog: pytest.LogCaptureFixture, name: str) -> None:
    caplog.set_level(logging.DEBUG)
    method, path, body = REST[name]
    answer = json.loads(held.root.call(method, path, body).content)
    assert answer["name"] == "number_out_of_range" and answer["path"].endswith(PLACE)
    assert KEY not in answer["message"]
    assert no_text_has_the_key(caplog.records) and KEY not in read_stored()


@pytest.mark.parametrize("name", FRAMES)
async def test_a_frame_tells_the_sender_alone(
    peers: Any, created: Any, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    caplog.set_level(logging.DEBUG)
    one, other = peers(), peers()
    logs = {"state:main": None, "topic:room:1": None}
    await one.open(created.token.secret, logs=logs)
    await other.open(created.token.secret, logs=logs)
    await one.say(seq=1, **FRAMES[name])
    # A text that is no frame has no number, so no receipt answers it.
    error = await one.until_type("error")
    assert error["name"] == "number_out_of_range" and error["path"].endswith(PLACE) and KEY not in error["message"]
    await one.say(type="update", seq=1, doc="main", merge={"a": "the next"})
    seen: list[str] = []
    while not seen or "the next" not in seen[-1]:
        seen.append(json.dumps(await other.next()))
    assert KEY not in "".join(seen) and no_text_has_the_key(caplog.records)
    assert KEY not in await bridge().read(read_stored)


@pytest.mark.parametrize("name", PYTHON)
def test_python_tells_the_caller_in_the_text(held: Held, name: str) -> None:
    with pytest.raises(SessionMgmtError) as refused:
        PYTHON[name](held.session)
    assert refused.value.facts["path"].endswith(PLACE)
    assert str(refused.value).endswith(f"{PLACE}.") and KEY not in refused.value.as_dict()["message"]


def merge_badly(path: str, base: Any, server: Any, client: Any) -> Any:
    """Return what no document can hold."""
    return BAD


async def test_a_function_of_the_project_that_fails_tells_no_place(
    peers: Any, held: Held, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.SESSION_MGMT = {**settings.SESSION_MGMT, "documents": {"main": {"strategy": f"{__name__}.merge_badly"}}}
    registry.message_handlers[:] = [lambda session, data: state.replace(session, BAD)]
    one = peers()
    await one.open(held.token.token)
    await one.say(type="send", seq=1, data=1)
    error = (await one.receipt(1))["error"]
    # The value is the handler's, and the client does not know its keys.
    assert error["name"] == "number_out_of_range" and KEY not in json.dumps(error)
    await bridge().read(state.update, held.session, {"n": 2})
    await one.say(type="update", seq=2, doc="main", ops=[["set", "/n", 3]], base=1)
    assert (await one.receipt(2))["error"]["name"] == "handler_failed"
    assert KEY not in await bridge().read(read_stored)
    assert "A merge function returned a value" in caplog.text and no_text_has_the_key(caplog.records)
    caplog.clear()
