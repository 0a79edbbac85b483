"""An error in a value or in a list of operations names its place, as a JSON pointer into what was given."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest

from session_mgmt.documents import normalise, strict
from session_mgmt.documents.errors import (
    DocumentError,
    DocumentTooLarge,
    ForbiddenKey,
    InvalidJSON,
    InvalidPatch,
    InvalidPath,
    KeyTooLong,
    NumberOutOfRange,
    PatchFailed,
    StringTooLong,
    TooDeep,
    TooManyKeys,
)
from session_mgmt.documents.limits import Limits

LIMITS = Limits(document_bytes=1000, depth=4, keys=5, key_bytes=8, string_bytes=8, ops=3)
OF_VALUES: list[tuple[type[DocumentError], Any, str]] = [
    (StringTooLong, {"a": [1, {"b": "x" * 9}]}, "/a/1/b"),
    (NumberOutOfRange, {"a": {"b/c": 2**60}}, "/a/b~1c"),
    (NumberOutOfRange, [[0, 1e999]], "/0/1"),
    (ForbiddenKey, {"a": [{"__proto__": 1}]}, "/a/0/__proto__"),
    (KeyTooLong, {"a": {"long" * 3: 1}}, "/a/longlonglong"),
    (InvalidJSON, {"a": "\x00"}, "/a"),
    (InvalidJSON, {"\ud800": 1}, "/?"),
    (InvalidJSON, {"a": {"\x00": 1}}, "/a/?"),
    (TooDeep, [[[[[]]]]], "/0/0/0/0"),
    (TooManyKeys, {str(number): 1 for number in range(6)}, ""),
    (NumberOutOfRange, 2**60, ""),
]
OF_CHANGES: list[tuple[type[DocumentError], str, Any, str]] = [
    (InvalidPatch, "ops", [["set", "/a", 1], ["put", "/a", 1]], "/1"),
    (InvalidPatch, "ops", [["inc", "/a", "1"]], "/0"),
    (InvalidPath, "ops", [["del", "/a"], ["del", "/a"], ["del", "a"]], "/2"),
    (StringTooLong, "ops", [["set", "/a", {"b": "x" * 9}]], "/0/2/b"),
    (InvalidPatch, "patch", [{"op": "test", "path": "", "value": {}}, {"op": "add"}], "/1"),
    (PatchFailed, "patch", [{"op": "add", "path": "/a", "value": 1}, {"op": "remove", "path": "/b"}], "/1"),
    (StringTooLong, "patch", [{"op": "add", "path": "/a", "value": ["x" * 9]}], "/0/value/0"),
    (NumberOutOfRange, "merge", {"a": {"b": 1e999}}, "/a/b"),
    (StringTooLong, "replace", {"a": ["x" * 9]}, "/a/0"),
]


def assert_place(error: DocumentError, kind: type[DocumentError], path: str) -> None:
    assert (type(error), error.path) == (kind, path)
    # Logs show the text, and a key can be a person's address.
    assert not path or path not in str(error)
    # It comes from the process for heavy work.
    assert pickle.loads(pickle.dumps(error)).path == path
    path.encode()


@pytest.mark.parametrize(("kind", "value", "path"), OF_VALUES)
def test_a_value_names_its_place(kind: type[DocumentError], value: Any, path: str) -> None:
    with pytest.raises(kind) as refused:
        strict.check_value(value, LIMITS)
    assert_place(refused.value, kind, path)


@pytest.mark.parametrize(("kind", "form", "change", "path"), OF_CHANGES)
def test_a_change_names_the_operation(kind: type[DocumentError], form: str, change: Any, path: str) -> None:
    with pytest.raises(kind) as refused:
        normalise.make_ops(form, change, {}, LIMITS)
    assert_place(refused.value, kind, path)


@pytest.mark.parametrize(
    ("kind", "text", "path"),
    [
        (StringTooLong, '{"a": [0, "xxxxxxxxx"]}', "/a/1"),
        (NumberOutOfRange, '{"a": [0, 9007199254740992]}', "/a/1"),
        (NumberOutOfRange, '{"a": [0, 99999999999999999999]}', "/a/1"),
        (DocumentTooLarge, '"' + "x" * 1000 + '"', ""),
    ],
)
def test_a_text_names_the_place_too(kind: type[DocumentError], text: str, path: str) -> None:
    with pytest.raises(kind) as refused:
        strict.parse_json(text, LIMITS, 1000)
    assert_place(refused.value, kind, path)


@pytest.mark.parametrize(
    ("text", "told"),
    [('{"a": 1,\n "b": }', "at line 2, column 7."), (b'{"a": "\xff"}', "in UTF-8."), ("", "in UTF-8.")],
)
def test_a_text_that_is_no_json_names_the_character(text: str | bytes, told: str) -> None:
    with pytest.raises(InvalidJSON) as refused:
        strict.parse_json(text, LIMITS, 1000)
    assert str(refused.value).endswith(told) and refused.value.path == ""


@pytest.mark.parametrize("make", [lambda key: {key: 2**60}, lambda key: {key: {key: {key: 2**60}}}])
def test_a_long_place_is_cut(make: Callable[[str], Any]) -> None:
    with pytest.raises(NumberOutOfRange) as refused:
        strict.check_value(make("k" * 1000), Limits())
    assert len(refused.value.path) == 201 and refused.value.path.endswith("k…")
