"""Editing in place: the work grows with the changes, and nobody else's copy changes."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_mgmt.documents import editor, json_patch, operations, rebuild
from session_mgmt.documents.editor import Editor
from session_mgmt.documents.errors import TooManyOps
from session_mgmt.documents.limits import Limits
from session_mgmt.documents.values import are_equal
from tests.documents.values import DOCUMENTS, LISTS_OF_OPS
from tests.faults.operations import replay

LONG = [*range(editor._LONG + 5)]


@given(DOCUMENTS, LISTS_OF_OPS)
def test_a_private_document_becomes_the_same(document: Any, ops: Any) -> None:
    private = Editor(copy.deepcopy(document), private=True)
    private.apply(copy.deepcopy(ops))
    assert are_equal(private.document, operations.apply_ops(document, ops))


@given(st.randoms(use_true_random=False), st.booleans())
def test_a_long_array_is_the_same_in_blocks(draw: random.Random, private: bool) -> None:
    ops = [_draw_op(draw) for _ in range(30)]
    document = {"a": [*range(25)], "b": [*range(30)], "c": [[*range(40)]]}
    before = copy.deepcopy(document)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(editor, "_LONG", 10)
        patch.setattr(editor, "_BLOCK", 4)
        changed = Editor(document, private=private)
        for done, op in enumerate(ops, 1):
            changed.apply([op])
            if draw.random() < 0.2:
                assert changed.find_value("/a") == replay(before, [list(op) for op in ops[:done]])["a"]
    assert are_equal(changed.document, replay(before, [list(op) for op in ops]))
    assert private or document == before


def _draw_op(draw: random.Random) -> tuple[Any, ...]:
    token = draw.choice(["0", "1", "3", "4", "5", "24", "25", "26", "-", "x", "99"])
    path = f"{draw.choice(['/a', '/b', '/c/0'])}/{token}"
    name = draw.choice(["ins", "ins", "del", "del", "set", "inc", "obj"])
    return (name, path) if name in ("del", "obj") else (name, path, draw.randint(1, 9))


def test_inserting_at_the_front_moves_no_long_array_each_time() -> None:
    document = {"a": list(LONG)}
    changed = Editor(document)
    changed.apply([("ins", "/a/0", number) for number in range(500)])
    # Copied once, cut into blocks once, and joined once.
    assert len(changed.document["a"]) == len(LONG) + 500
    assert changed.work < 4 * len(LONG)
    assert document == {"a": LONG}


def test_a_patch_copies_no_long_array_for_each_operation() -> None:
    patching = json_patch._Patching(list(LONG), Limits())
    for number in range(250):
        patching.apply_step({"op": "add", "path": "/0", "value": number})
        patching.apply_step({"op": "remove", "path": "/5"})
    assert patching._editor.work < 4 * len(LONG)


def test_a_patch_that_copies_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_patch, "_MOST_WORK", 10 * len(LONG))
    patching = json_patch._Patching(list(LONG), Limits())
    with pytest.raises(TooManyOps, match="copy more than"):
        for _ in range(20):
            patching.apply_step({"op": "add", "path": "/0", "value": 1})
            patching.apply_step({"op": "remove", "path": "/0"})
            # Looking at the whole puts its blocks together again.
            patching._editor.find_value("")


def test_what_a_patch_copied_is_a_value_of_its_own() -> None:
    patch = [
        {"op": "add", "path": "/a/x", "value": 1},
        {"op": "copy", "from": "/a", "path": "/b"},
        {"op": "add", "path": "/b/y", "value": 2},
        {"op": "add", "path": "/a/z", "value": 3},
        {"op": "move", "from": "/b", "path": "/c"},
        {"op": "add", "path": "/c/w", "value": 4},
    ]
    document = {"a": {}}
    ops = json_patch.translate_json_patch(patch, document, Limits())
    assert document == {"a": {}}
    assert operations.apply_ops(document, ops) == {"a": {"x": 1, "z": 3}, "c": {"x": 1, "y": 2, "w": 4}}


def test_a_long_log_is_added_up_in_one_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Editor] = []
    monkeypatch.setattr(rebuild, "Editor", lambda *args, **kw: made.append(Editor(*args, **kw)) or made[-1])
    revisions = tuple(operations.encode_ops([("ins", "/a/0", number)]) for number in range(300))
    assert len(rebuild.replay_ops({"a": list(LONG)}, revisions)["a"]) == len(LONG) + 300
    assert len(made) == 1
    assert made[0].work < 4 * len(LONG)


def test_work_is_what_was_copied_once_for_each_container_and_for_each_cut_and_join_of_a_long_array() -> None:
    editor = Editor({"a": list(range(100)), "b": {"c": 1}})
    editor.apply([["del", "/nothing"], ["set", "/b/c", 1], ["set", "/a/500", 1]])
    assert editor.work == 0
    editor.apply([["set", "/a/0", -1], ["set", "/a/1", -2], ["ins", "/a/0", -3]])
    assert editor.work == 2 + 100
    editor.apply([["set", "/b/c", 2]])
    assert editor.work == 2 + 100 + 1
    long = Editor(LONG)
    long.apply([["ins", "/0", 0]])
    assert long.work == len(LONG)
    long.apply([["ins", "/0", 0]])
    assert long.work == len(LONG) + (len(LONG) + 1)
    assert len(long.document) == len(LONG) + 2  # type: ignore[arg-type]
    assert long.work == len(LONG) + (len(LONG) + 1) + (len(LONG) + 2)
