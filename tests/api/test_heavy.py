"""Large documents are parsed, added up and compared in another process: here it would hold up every connection."""

from __future__ import annotations

import os
from typing import Any

import pytest

from session_mgmt.actions.state.stored_rows import HEAVY_BYTES
from session_mgmt.bridge import bridge
from session_mgmt.documents import operations, rebuild, strict
from session_mgmt.exceptions import Unavailable
from tests.api.calls import Caller, refused

pytestmark = pytest.mark.django_db
MAIN = "sessions/{id}/state/main/"
LOADS = strict.parse_json
LARGE = {"text": ["x" * 1000] * (HEAVY_BYTES // 900)}


def _only_elsewhere(*_: Any, **__: Any) -> Any:
    raise AssertionError("a large document was handled in the server's own process")


def _small_only(raw: bytes, *rest: Any) -> Any:
    return _only_elsewhere() if len(raw) > HEAVY_BYTES else LOADS(raw, *rest)


@pytest.fixture
def large(mine: Caller, monkeypatch: pytest.MonkeyPatch) -> Caller:
    """A document above the bound, changed twice; this process can no longer parse one."""
    assert mine.put(MAIN, LARGE).status_code == 200
    assert mine.post(MAIN + "persist/", {"label": "first"}).status_code == 200
    for n in (1, 2):
        assert mine.patch(MAIN, {"merge": {"n": n}}).status_code == 200
    for module, name in [
        (rebuild, "build_value"),
        (rebuild, "pack_value"),
        (rebuild, "replay_ops"),
        (operations, "apply_ops"),
    ]:
        # The other process imports its own.
        monkeypatch.setattr(module, name, _only_elsewhere)
    monkeypatch.setattr(strict, "parse_json", _small_only)
    return mine


def test_reading_and_asking_for_what_was_missed(large: Caller) -> None:
    assert large.get(MAIN).json()["data"] == {**LARGE, "n": 2}
    told = large.post(MAIN + "sync/", {"position": None}).json()
    assert (told["mode"], told["data"]) == ("snapshot", {**LARGE, "n": 2})
    assert large.get(MAIN + "history/2/").json()["data"] == {**LARGE, "n": 1}


def test_the_difference_of_two_versions(large: Caller) -> None:
    assert large.get(MAIN + "diff/?from=1&to=3").json()["patch"] == [{"op": "add", "path": "/n", "value": 2}]


def test_what_was_large_once_is_built_elsewhere_even_if_the_document_is_small_by_now(large: Caller) -> None:
    assert large.put(MAIN, {"n": 3}).status_code == 200
    assert large.get(MAIN + "history/3/").json()["data"] == {**LARGE, "n": 2}
    assert large.get(MAIN + "persist/first/").json()["data"] == LARGE
    assert large.get(MAIN + "diff/?from=3&to=4").status_code == 200
    assert large.post(MAIN + "restore/", {"version": 1}).status_code == 200


def test_conflicts_of_a_large_document_are_listed_and_decided_elsewhere(
    mine: Caller, large: Caller, settings: Any
) -> None:
    board = "sessions/{id}/state/board/"
    settings.SESSION_MGMT = {"documents": {"board": {"arrays": {"/items": "keyed:id"}}}}
    items = [{"id": n, "text": "x" * 1000} for n in range(HEAVY_BYTES // 900)]
    assert mine.put(board, {"items": items}).status_code == 200
    change = {"base": 1, "strategy": "manual"}
    mine.patch(board, {"ops": [["set", "/items/1/text", "server"]]})
    mine.patch(board, {"ops": [["set", "/items/1/text", "mine"]], **change})
    mine.patch(board, {"ops": [["del", "/items/0"]]})
    (open_one,) = mine.get(board + "conflicts/").json()["results"]
    assert open_one["path"] == "/items/0/text"
    decided = mine.post(f"{board}conflicts/{open_one['id']}/resolve/", {"keep": "client"})
    assert decided.status_code == 200
    assert mine.get(board).json()["data"]["items"][0]["text"] == "mine"


def test_a_change_has_the_size_of_a_frame_at_most(mine: Caller) -> None:
    assert refused(mine.patch(MAIN, {"merge": {"text": "x" * HEAVY_BYTES}}), "frame_too_large", 413)
    assert mine.put(MAIN, {"text": "x" * HEAVY_BYTES}).status_code == 200


def test_a_page_of_history_reads_no_operations(large: Caller) -> None:
    told = large.get(MAIN + "history/").json()["results"]
    assert [row["paths"] for row in told] == [["/n"], ["/n"], [""]]
    assert told[2]["bytes"] > HEAVY_BYTES > told[0]["bytes"]


def test_keeping_a_version_and_going_back_to_one(large: Caller) -> None:
    assert large.post(MAIN + "persist/", {"label": "third"}).json()["version"] == 3
    assert large.post(MAIN + "restore/", {"label": "first"}).status_code == 200
    assert large.get(MAIN).json()["data"] == LARGE


def test_replacing_and_compressing(large: Caller) -> None:
    assert large.put(MAIN, {**LARGE, "n": 9}).status_code == 200
    assert large.post(MAIN + "compress/").json()["exact"]
    assert large.get(MAIN).json()["data"] == {**LARGE, "n": 9}


def test_a_patch_that_must_see_the_document(large: Caller) -> None:
    for n in (2, 3, 4):
        body = [{"op": "test", "path": "/n", "value": n}, {"op": "replace", "path": "/n", "value": n + 1}]
        assert large.patch(MAIN, {"patch": body}).status_code == 200
    assert refused(large.patch(MAIN, {"patch": [{"op": "test", "path": "/n", "value": 2}]}), "patch_failed", 409)
    assert large.get(MAIN).json()["data"] == {**LARGE, "n": 5}


@pytest.mark.requirement("ASVS 15.1.3")
def test_a_patch_after_the_other_process_was_killed(large: Caller) -> None:
    body = [{"op": "test", "path": "/n", "value": 2}, {"op": "replace", "path": "/n", "value": 3}]
    assert large.patch(MAIN, {"patch": body}).status_code == 200
    with pytest.raises(Unavailable):
        bridge().run_in_worker(os._exit, 1)
    assert large.patch(MAIN, {"patch": [{"op": "test", "path": "/n", "value": 3}]}).status_code == 200


def test_changes_that_overlap(large: Caller) -> None:
    told = large.patch(MAIN, {"merge": {"n": 7}, "base": 1}).json()
    assert [found["path"] for found in told["conflicts"]] == ["/n"]
    refusal = large.patch(MAIN, {"merge": {"n": 7}, "base": 1, "strategy": "reject"})
    assert refused(refusal, "conflict", 409)
    assert large.get(MAIN).json()["data"] == {**LARGE, "n": 2}
