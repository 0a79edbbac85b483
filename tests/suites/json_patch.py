"""json-patch-tests: documents, RFC 6902 patches, and what they come to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# An object with a key twice is no longer one when a JSON parser has read the suite; here it is as the suite writes it.
DUPLICATES = (
    b'{"patch":[{"op":"add","path":"/baz","value":"qux","op":"move","from":"/foo"}]}',
    b'{"patch":[{"op":"add","path":"/baz","value":"qux","op":"remove"}]}',
)


@dataclass(frozen=True)
class Case:
    """A document, a patch, and the document afterwards; `fails` means that the patch is refused."""

    name: str
    document: Any
    patch: Any
    expected: Any
    fails: bool


def cases(packages: Path) -> list[Case]:
    """All rows of both files, those that the suite switches off included, and the situations it has gained since."""
    rows: list[dict[str, Any]] = []
    for name in ("tests.json", "spec_tests.json"):
        rows += json.loads((packages / "json-patch-test-suite" / name).read_text(encoding="utf-8"))
    rows += LATER
    return [_case(at, row) for at, row in enumerate(rows) if "'op' members" not in row.get("error", "")]


def _case(at: int, row: dict[str, Any]) -> Case:
    name = f"{at}: {row.get('comment') or row.get('error') or row['patch']}"
    return Case(name, row["doc"], row["patch"], row.get("expected", row["doc"]), "error" in row)


def _row(doc: Any, *patch: dict[str, Any], **outcome: Any) -> dict[str, Any]:
    return {"doc": doc, "patch": list(patch), **outcome}


_DEEP = {"from": {"a": {"list": [{"x": "old"}]}}}
_COPY = {"op": "copy", "from": "/from", "path": "/to"}


def _deep(value: str) -> dict[str, Any]:
    return {"a": {"list": [{"x": value}]}}


# The suite's repository has these situations, its newest package has not; the values are ours.
LATER = [
    _row({}, {"op": "add", "path": "", "value": []}, expected=[]),
    _row([], {"op": "add", "path": "", "value": {}}, expected={}),
    _row([], {"op": "add", "path": "/-", "value": "x"}, expected=["x"]),
    _row({"a": "x"}, {"op": "replace", "path": "/b/c", "value": True}, error="no parent to replace in"),
    _row({}, {"op": "add", "value": 1}, error="no path"),
    _row({}, {"op": "add", "path": None, "value": 1}, error="null for a path"),
    _row({}, {"op": "add", "path": "a", "value": 1}, error="a path without its slash"),
    _row({"a": 1}, {"op": "copy", "from": "/b", "path": "/a"}, error="nothing to copy"),
    _row({"a": 1}, {"op": "move", "from": "/b", "path": "/a"}, error="nothing to move"),
    _row(["a", "b"], {"op": "test", "path": "/00", "value": "a"}, error="an index 00"),
    _row(["a", "b"], {"op": "test", "path": "/01", "value": "b"}, error="an index 01"),
    _row({"a": "x"}, {"op": "remove", "path": "/b"}, error="no such member"),
    _row({"a": "x"}, {"op": "remove", "path": "/b/c"}, error="no such parent"),
    _row(["a", "b"], {"op": "remove", "path": "/2"}, error="no such index"),
    _row({"a": 1}, {"op": "add", "path": "/A", "value": 2}, expected={"a": 1, "A": 2}),
    _row(
        _DEEP,
        _COPY,
        {"op": "replace", "path": "/to/a/list/0/x", "value": "new"},
        expected={"from": _deep("old"), "to": _deep("new")},
    ),
    _row(
        _DEEP,
        _COPY,
        {"op": "replace", "path": "/from/a/list/0/x", "value": "new"},
        expected={"from": _deep("new"), "to": _deep("old")},
    ),
]
