"""Checksum and size beside the data of a document are those of that data, whatever the row knows."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import orjson
import pytest

from session_mgmt.documents.canonical import compute_checksum
from session_mgmt.shortcuts import create_session
from tests.api.calls import Caller, caller

pytestmark = pytest.mark.django_db
MAIN = "sessions/{id}/state/main/"


@pytest.fixture(params=["plain", "encrypted"])
def any_kind(request: pytest.FixtureRequest, settings: Any) -> Caller:
    if request.param == "encrypted":
        settings.SESSION_MGMT = {"state_keys": [("k", b64encode(b"k" * 32).decode())], "encrypt_state": True}
    return caller(create_session())


def is_exact(told: dict[str, Any]) -> bool:
    return (
        told["checksum"] == compute_checksum(told["data"])
        and told["checksum_version"] == told["version"]
        and told["size"] == len(orjson.dumps(told["data"]))
    )


def test_after_every_change(any_kind: Caller) -> None:
    any_kind.put(MAIN, {"text": "x" * 500})
    for ops in ([["set", "/text", "short"]], [["inc", "/n", 1]], [["set", "/é", 1.0]], [["del", "/text"]]):
        assert any_kind.patch(MAIN, {"ops": ops}).status_code == 200
        assert is_exact(any_kind.get(MAIN).json())


def test_of_a_snapshot_that_is_served_as_it_is_stored(any_kind: Caller) -> None:
    any_kind.put(MAIN, {"text": "x" * 500})
    any_kind.post(MAIN + "compress/")
    assert is_exact(any_kind.get(MAIN).json())


def test_of_a_document_that_was_only_followed(any_kind: Caller) -> None:
    any_kind.post(MAIN + "sync/", {"position": None})
    assert is_exact(any_kind.get(MAIN).json())


def test_of_a_large_one(any_kind: Caller) -> None:
    any_kind.put(MAIN, {"text": ["x" * 1000] * 400})
    any_kind.patch(MAIN, {"ops": [["set", "/n", 1]]})
    assert is_exact(any_kind.get(MAIN).json())
