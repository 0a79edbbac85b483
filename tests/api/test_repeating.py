"""A write over HTTP whose answer was lost: sent again under its key it has one effect and the same answer."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from django.test import Client

from session_mgmt.models import StateRevision
from session_mgmt.shortcuts import state
from tests.api.calls import Caller, refused
from tests.bridge.threads import together

pytestmark = pytest.mark.django_db
MAIN = "sessions/{id}/state/main/"
KEY = {"Idempotency_Key": '"8e03978e-40d5-43dd"'}
WRITES: dict[str, tuple[str, Any, Any]] = {
    "patch: ops": ("PATCH", {"ops": [["inc", "/n", 1]]}, {"ops": [["inc", "/n", 2]]}),
    "patch: merge": ("PATCH", {"merge": {"n": 5}}, {"merge": {"n": 6}}),
    "patch: json patch": ("PATCH", {"patch": [{"op": "remove", "path": "/n"}]}, {"patch": []}),
    "put": ("PUT", {"whole": 1}, {"whole": 2}),
    "delete": ("DELETE", None, None),
}


@pytest.fixture
def counting(mine: Caller) -> Caller:
    """A client whose document is ``{"n": 1}``."""
    mine.put(MAIN, {"n": 1})
    return mine


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("condition", [False, True], ids=["anywhere", "if-match"])
def test_a_repetition_has_one_effect_and_the_same_answer(counting: Caller, write: str, condition: bool) -> None:
    method, body, _ = WRITES[write]
    headers = {**KEY, "If_Match": counting.get(MAIN)["ETag"]} if condition else KEY
    first = counting.call(method, MAIN, body, **headers)
    assert first.status_code == 200, first.content
    counting.patch(MAIN, {"merge": {"meanwhile": True}})
    again = counting.call(method, MAIN, body, **headers)
    assert (again.status_code, again.json(), again["ETag"]) == (200, first.json(), first["ETag"])
    assert StateRevision.objects.count() == 3


@pytest.mark.parametrize("write", [write for write in WRITES if write != "delete"])
def test_the_key_of_another_change_is_refused(counting: Caller, write: str) -> None:
    method, body, other = WRITES[write]
    first = counting.call(method, MAIN, body, **KEY).json()
    answer = counting.call(method, MAIN, other, **KEY)
    assert refused(answer, "key_reused", 422)
    assert answer.json()["position"] == first["position"]
    assert refused(counting.delete(MAIN, **KEY), "key_reused", 422)
    assert StateRevision.objects.count() == 2


def test_a_field_and_a_header_are_the_same_key(counting: Caller) -> None:
    change = {"ops": [["inc", "/n", 1]]}
    first = counting.patch(MAIN, {**change, "key": "8e03978e-40d5-43dd"}).json()
    assert counting.patch(MAIN, change, **KEY).json() == first
    assert (
        counting.patch(MAIN, {**change, "key": "8e03978e-40d5-43dd"}, Idempotency_Key="8e03978e-40d5-43dd").json()
        == first
    )
    assert refused(counting.patch(MAIN, {**change, "key": "other"}, **KEY), "invalid_field", 400)
    assert state.get(counting_id(counting)) == {"n": 2}


def counting_id(caller: Caller) -> Any:
    return StateRevision.objects.select_related("document__session").first().document.session


@pytest.mark.parametrize("given", ["", '""', '"a', "x" * 101, 'a"b', "\u00e9"])
def test_a_key_that_is_none_changes_nothing(counting: Caller, given: str) -> None:
    assert refused(counting.put(MAIN, {}, Idempotency_Key=given), "invalid_field", 400)
    assert counting.get(MAIN).json()["data"] == {"n": 1}


def test_a_refused_write_does_not_use_up_its_key(counting: Caller) -> None:
    stale = {**KEY, "If_Match": '"00.1.00"'}
    assert refused(counting.put(MAIN, {"a": 1}, **stale), "precondition_failed", 412)
    assert counting.put(MAIN, {"a": 2}, **KEY).status_code == 200
    assert counting.get(MAIN).json()["data"] == {"a": 2}


@pytest.mark.django_db(transaction=True)
def test_repetitions_at_once_have_one_effect(counting: Caller) -> None:
    def attempt() -> Any:
        tab = Caller(Client(), counting.token, counting.session)
        return tab.patch(MAIN, {"ops": [["inc", "/n", 1]]}, **KEY).json()["position"]

    positions = together(*[attempt] * 6)
    assert len({tuple(position) for position in positions}) == 1
    assert counting.get(MAIN).json()["data"] == {"n": 2}


def test_a_key_counts_for_one_document(counting: Caller) -> None:
    assert counting.patch("sessions/{id}/state/other/", {"ops": [["inc", "/n", 2]]}, **KEY).status_code == 200
    assert counting.patch(MAIN, {"ops": [["inc", "/n", 1]]}, **KEY).status_code == 200


def test_beside_an_encrypted_document_the_digest_of_a_request_confirms_no_guess(mine: Caller, settings: Any) -> None:
    plain = _stored_digest(mine, "sessions/{id}/state/plain/")
    settings.SESSION_MGMT = {"STATE_KEYS": [("k", b64encode(b"k" * 32).decode())], "ENCRYPT_STATE": ["main"]}
    sealed = _stored_digest(mine, MAIN)
    assert len(sealed) == len(plain) == 32 and sealed != plain
    assert refused(mine.put(MAIN, {"guess": "wrong"}, **KEY), "key_reused", 422)


def _stored_digest(caller: Caller, path: str) -> bytes:
    first = caller.put(path, {"secret": 1}, **KEY)
    assert caller.put(path, {"secret": 1}, **KEY).json() == first.json()
    return bytes(StateRevision.objects.latest("id").request)
