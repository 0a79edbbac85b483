"""Every change over every transport: one verdict, all of it or nothing, and one result."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Any

import pytest
from django.db import transaction

from session_mgmt.bridge import bridge
from session_mgmt.exceptions import SessionMgmtError, list_errors
from session_mgmt.models import ClientSession
from session_mgmt.shortcuts import drain, state
from tests.api.calls import refused
from tests.bad_input.changes import DOCUMENT, FROM_PYTHON, GOOD, REFUSED, Change
from tests.bad_input.held import Held, is_the_same

pytestmark = pytest.mark.django_db(transaction=True)

CODES = {error.name: error for error in list_errors()}
MAIN = "sessions/{id}/state/main/"
# A JSON Patch must see the document.
NOT_INSIDE = "invalid_field"


@pytest.mark.requirement("ASVS 1.5.3")
@pytest.mark.sqlite
def test_refused_over_rest(held: Held) -> None:
    before = held.everything()
    for row in REFUSED:
        answer = held.token.patch(MAIN, row.fields)
        assert row.error is not None
        assert refused(answer, row.error, CODES[row.error].status), row.name
    assert held.everything() == before


@pytest.mark.sqlite
def test_done_over_rest(held: Held) -> None:
    wrong = []
    for row in GOOD:
        held.token.put(MAIN, DOCUMENT)
        answer = held.token.patch(MAIN, row.fields)
        kept = held.token.get(MAIN).json()["data"]
        if answer.status_code != 200 or not is_the_same(kept, row.result):
            wrong.append(f"{row.name}: {answer.status_code} {kept}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.sqlite
def test_no_field_is_ignored_over_rest(held: Held) -> None:
    before = held.everything()
    for fields in (
        {"key": ""},
        {"key": "k" * 101},
        {"key": 5},
        {"version": 5},
        {"seq": 1},
        {"session_id": "x"},
        {"": 1},
    ):
        assert refused(held.token.patch(MAIN, {"merge": {}, **fields}), "invalid_field", 400), fields
    assert held.everything() == before


@pytest.mark.requirement("ASVS 1.5.3")
@pytest.mark.sqlite
async def test_refused_over_websocket(held: Held, peers: Any) -> None:
    one = peers()
    await one.open(held.token.token, logs={"state:main": None})
    before, wrong, seq = await bridge().read(held.everything), [], 1
    for row in REFUSED:
        text = json.dumps({"type": "update", "seq": seq, **row.fields})
        receipt, again = await _receipt(one, text), await _receipt(one, text)
        told = [answer["error"]["name"] for answer in (receipt, again)]
        temporary = receipt["error"]["temporary"]
        if told != [row.error, row.error] or again.get("replayed", False) is temporary:
            wrong.append(f"{row.name}: {receipt}, {again}")
        # A number that was not used up is good for the next one.
        seq += 0 if temporary else 1
    assert not wrong, "\n".join(wrong)
    assert await bridge().read(held.everything) == before


@pytest.mark.sqlite
async def test_done_over_websocket(held: Held, peers: Any) -> None:
    one = peers()
    await one.open(held.token.token)
    wrong = []
    for number, row in enumerate(GOOD):
        await one.say(type="update", seq=2 * number + 1, data=DOCUMENT)
        await one.receipt(2 * number + 1)
        receipt = await _receipt(one, json.dumps({"type": "update", "seq": 2 * number + 2, **row.fields}))
        kept = await bridge().read(held.document)
        if not receipt["ok"] or not is_the_same(kept, row.result):
            wrong.append(f"{row.name}: {receipt}, {kept}")
    assert not wrong, "\n".join(wrong)


async def _receipt(one: Any, text: str) -> Any:
    await one.raw(text)
    return await one.until_type("receipt")


@pytest.mark.parametrize("inside", [False, True], ids=["now", "inside atomic"])
@pytest.mark.requirement("ASVS 1.5.3")
def test_refused_from_python(held: Held, inside: bool) -> None:
    before, wrong = held.everything(), []
    for row in [*REFUSED, *FROM_PYTHON]:
        if row.is_plain and None not in row.fields.values():
            error = _error_of(held.session, row, inside=inside)
            if error != (NOT_INSIDE if inside and "patch" in row.fields else row.error):
                wrong.append(f"{row.name}: {error}")
    assert not wrong, "\n".join(wrong)
    drain()
    assert held.everything() == before


@pytest.mark.parametrize("inside", [False, True], ids=["now", "inside atomic"])
def test_done_from_python(held: Held, inside: bool) -> None:
    wrong = []
    for row in GOOD:
        if not (inside and "patch" in row.fields):
            state.replace(held.session, DOCUMENT)
            error = _error_of(held.session, row, inside=inside)
            drain()
            if error is not None or not is_the_same(held.document(), row.result):
                wrong.append(f"{row.name}: {error}, {held.document()}")
    assert not wrong, "\n".join(wrong)


def _error_of(session: ClientSession, row: Change, *, inside: bool) -> str | None:
    with transaction.atomic() if inside else nullcontext():
        try:
            if "data" in row.fields:
                state.replace(session, row.fields["data"])
            else:
                state.update(session, **row.fields)
        except SessionMgmtError as error:
            return error.name
    return None
