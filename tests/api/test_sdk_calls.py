"""What the TypeScript SDK reads of the server's answers is what the server answers."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from session_mgmt.documents import canonical
from session_mgmt.models import StateDocument
from session_mgmt.shortcuts import state
from tests import programs

pytestmark = [pytest.mark.js, pytest.mark.django_db(transaction=True)]
SCRIPT = Path(__file__).with_name("sdk_calls.mjs")


@pytest.fixture
def told(live_server: Any, settings: Any) -> dict[str, Any]:
    settings.SESSION_MGMT = {"ANONYMOUS_SESSIONS": True}
    node, _ = programs.node()
    run = subprocess.run([node, SCRIPT, f"{live_server.url}/api/"], capture_output=True, text=True, timeout=240)
    assert run.returncode == 0, run.stderr
    answers: dict[str, Any] = json.loads(run.stdout)
    return answers


def test_every_call_of_a_document_gives_what_its_type_says(told: dict[str, Any]) -> None:
    session = StateDocument.objects.get().session
    assert told["persisted"] == {"at": None, "label": "before/the sale", "version": 1}
    assert [document["name"] for document in told["documents"]] == ["main"]
    assert (told["info"]["data"], told["info"]["version"]) == ({"n": 2}, 2)
    assert {"lastModified", "lastWriter", "checksum", "checksumVersion", "compressed", "encrypted", "size"} <= told[
        "info"
    ].keys()
    assert {"version", "size", "exact", "stored", "log", "compressed"} <= told["sizes"].keys()
    (newest,), (oldest,) = told["history"]["results"], told["older"]["results"]
    assert (newest["version"], newest["kind"], newest["clientId"], newest["paths"]) == (2, "replace", None, [""])
    assert (oldest["version"], oldest["labels"], told["older"]["next"]) == (1, ["before/the sale"], None)
    assert told["readAt"] == [{"n": 1, "a/b": "\u20ac"}] * 2
    assert sorted(told["diff"][1], key=lambda op: op["op"]) == [
        {"op": "add", "path": "/a~1b", "value": "\u20ac"},
        {"op": "replace", "path": "/n", "value": 1},
    ]
    assert [point["label"] for point in told["checkpoints"]] == ["before/the sale"]
    assert told["stale"] == "precondition_failed 247"
    assert (told["restored"]["version"], told["restored"]["unchanged"], told["synced"]) == (3, False, 3)
    assert told["checksums"] == [
        canonical.compute_checksum(state.get(session, version=3)),
        state.get(session, version=3),
    ]
    assert told["forgotten"] == "not_found 106"
    assert told["compressed"]["exact"] is True
    (conflict,) = told["conflicts"]
    assert (conflict["path"], conflict["client"], conflict["resolvedAt"]) == ("/n", 7, None)
    assert (told["resolved"]["version"], told["twice"]) == (4, "conflict 240")
    assert (told["decided"][0], told["decided"][1][0]["resolution"]) == ([], "client")
    assert told["end"] == state.get(session) == {"n": 7, "a/b": "\u20ac"}
