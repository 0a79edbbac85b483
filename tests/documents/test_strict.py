"""The strict parser: what it refuses, and that it agrees with itself on every way of writing one value."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_mgmt.documents import errors, strict
from session_mgmt.documents.limits import Limits
from session_mgmt.documents.values import are_equal, measure_depth
from tests.documents.values import WIDE

LIMITS = Limits()
SMALL = Limits(depth=3, keys=4, key_bytes=4, string_bytes=8)


def loads(raw: bytes | str, limits: Limits = LIMITS) -> Any:
    return strict.parse_json(raw, limits, 10 * 2**20)


REFUSED = [
    ("", errors.InvalidJSON),
    (" ", errors.InvalidJSON),
    ("{", errors.InvalidJSON),
    ("[1,]", errors.InvalidJSON),
    ("{'a':1}", errors.InvalidJSON),
    ("[1] 2", errors.InvalidJSON),
    ("01", errors.InvalidJSON),
    ("NaN", errors.InvalidJSON),
    ("[Infinity]", errors.InvalidJSON),
    ("[-Infinity]", errors.InvalidJSON),
    ('{"a":1e400}', errors.NumberOutOfRange),
    ('{"a":-1.5E+4000}', errors.NumberOutOfRange),
    ("9" * 4000, errors.NumberOutOfRange),
    ('{"a":"1e400",}', errors.InvalidJSON),
    ('{"a":NaN,"b":1e-400}', errors.InvalidJSON),
    ('{"a":1,"a":2}', errors.InvalidJSON),
    ('{"a":1,"a":1}', errors.InvalidJSON),
    ('{"a":1,"b":{"c":1,"c" : 1}}', errors.InvalidJSON),
    ('{"a":1,"\\u0061":1}', errors.InvalidJSON),
    ('{"a":"x","a" :"\\u003a"}', errors.InvalidJSON),
    ('{"a":":","a":"::"}', errors.InvalidJSON),
    ('{"a:":1,"a:":2,"b":":"}', errors.InvalidJSON),
    ('{ "a": 1.5, "a": 1.5 }', errors.InvalidJSON),
    ('{"a":1.0,"a":1.0}', errors.InvalidJSON),
    ('"\\ud800"', errors.InvalidJSON),
    ('"\\ud800\\ud800"', errors.InvalidJSON),
    ('"\\udc00\\ud800"', errors.InvalidJSON),
    ('{"\\ud800":1}', errors.InvalidJSON),
    ("\ud800", errors.InvalidJSON),
    ('"\ud800"', errors.InvalidJSON),
    ('"\\u0000"', errors.InvalidJSON),
    ('{"a\\u0000":1}', errors.InvalidJSON),
    ('"\x00"', errors.InvalidJSON),
    ('"\n"', errors.InvalidJSON),
    ("\ufeff{}", errors.InvalidJSON),
    (b"\xef\xbb\xbf{}", errors.InvalidJSON),
    (b'"\xff"', errors.InvalidJSON),
    (b'"\xc0\x80"', errors.InvalidJSON),
    (b'"\xed\xa0\x80"', errors.InvalidJSON),
    ('{"a":1}'.encode("utf-16"), errors.InvalidJSON),
    ('{"a":1}'.encode("utf-16-le"), errors.InvalidJSON),
    ('{"a":1}'.encode("utf-32"), errors.InvalidJSON),
    ("9007199254740992", errors.NumberOutOfRange),
    ("-9007199254740992", errors.NumberOutOfRange),
    ('{"a":[9007199254740992]}', errors.NumberOutOfRange),
    ("18446744073709551616", errors.NumberOutOfRange),
    ("[ -18446744073709551616 ]", errors.NumberOutOfRange),
    ("1" + "0" * 30, errors.NumberOutOfRange),
    ('{"a":' + "9" * 300 + "}", errors.NumberOutOfRange),
    ("1e16", errors.NumberOutOfRange),
    ("9007199254740992.0", errors.NumberOutOfRange),
    ("1e20", errors.NumberOutOfRange),
    ('{"__proto__":1}', errors.ForbiddenKey),
    ('{"a":[{"__proto__":{}}]}', errors.ForbiddenKey),
    ('{"\\u005f_proto__":1}', errors.ForbiddenKey),
    ("[" * 65 + "]" * 65, errors.TooDeep),
    ("[" * 100_000 + "]" * 100_000, errors.TooDeep),
    ("[" * 100_000, errors.TooDeep),
    ('{"a":' * 70 + "1" + "}" * 70, errors.TooDeep),
    ('["]]]]\\"",' * 65 + "1" + "]" * 65, errors.TooDeep),
]


@pytest.mark.parametrize(("raw", "error"), REFUSED, ids=range(len(REFUSED)))
@pytest.mark.requirement("ASVS 15.3.6")
def test_what_is_refused(raw: bytes | str, error: type[errors.DocumentError]) -> None:
    with pytest.raises(errors.DocumentError) as caught:
        loads(raw)
    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("1.0", 1),
        ("-0.0", 0),
        ("-0", 0),
        ("1e3", 1000),
        ("1E+2", 100),
        ("1e22", 1e22),
        ("[1.5,2.0]", [1.5, 2]),
        ("0.1", 0.1),
        ("1e-7", 1e-7),
        ("9007199254740991", 2**53 - 1),
        ("-9007199254740991", -(2**53) + 1),
        ("9007199254740991.0", 2**53 - 1),
        ("0.12345678901234567890123", 0.12345678901234567890123),
        ("1.00000000000000000000e-0000000000000000000001", 0.1),
        ('"18446744073709551616"', "18446744073709551616"),
        ('{"a":"2026-11-23T18:28:24.123Z"}', {"a": "2026-11-23T18:28:24.123Z"}),
        ('{"id":"9f2c1a77e0b34d55"}', {"id": "9f2c1a77e0b34d55"}),
        ('{"a":"__proto__"}', {"a": "__proto__"}),
        ('{"constructor":1,"prototype":2}', {"constructor": 1, "prototype": 2}),
        ('"\\\\u0000"', "\\u0000"),
        ('"\\ud83d\\ude00"', "\U0001f600"),
        ('"\\u0001"', "\x01"),
        ('{"a\\"":{"a\\"":":"}}', {'a"': {'a"': ":"}}),
        ('{"a":{"a":1},"b":[{"a":1},{"a":1}]}', {"a": {"a": 1}, "b": [{"a": 1}, {"a": 1}]}),
        (' [ 1 , { "a" : "x:y" } ] ', [1, {"a": "x:y"}]),
        ("[" * 64 + "]" * 64, json.loads("[" * 64 + "]" * 64)),
        ("[" + "[]," * 100 + '"[[["]', [[]] * 100 + ["[[["]),
        ('"' + "[" * 100 + '"', "[" * 100),
        ("null", None),
        ("true", True),
    ],
)
def test_what_is_accepted(raw: str, value: Any) -> None:
    for form in (raw, raw.encode()):
        parsed = loads(form)
        assert are_equal(parsed, value)
        assert type(parsed) is type(value)


def test_too_many_brackets_in_broken_text_are_not_called_depth() -> None:
    with pytest.raises(errors.InvalidJSON):
        loads("[" + "[]," * 100)
    with pytest.raises(errors.InvalidJSON):
        loads("[]" * 100 + "]")


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        ("[[[[]]]]", errors.TooDeep),
        ('{"a":1,"b":2,"c":{"d":1,"e":1}}', errors.TooManyKeys),
        ('{"abcde":1}', errors.KeyTooLong),
        ('{"\\u0061bcde":1}', errors.KeyTooLong),
        ('{"ééé":1}', errors.KeyTooLong),
        ('["123456789"]', errors.StringTooLong),
        ('["ééééé"]', errors.StringTooLong),
        ('["\\n23456789"]', errors.StringTooLong),
    ],
)
@pytest.mark.requirement("CVE-2025-67221")
def test_every_limit_has_its_own_error(raw: str, error: type[errors.DocumentError]) -> None:
    with pytest.raises(error):
        loads(raw, SMALL)


@pytest.mark.parametrize(
    "raw", ["[[[]]]", '{"a":1,"b":2,"c":{"d":1}}', '{"éé":"éééé"}', '["\\n2345678"]', "12345678901"]
)
def test_limits_are_inclusive(raw: str) -> None:
    loads(raw, SMALL)


def test_the_size_of_the_text_is_limited_in_bytes() -> None:
    assert strict.parse_json('"é"', LIMITS, 4) == "é"
    for raw in ('"éa"', '"éa"'.encode()):
        with pytest.raises(errors.DocumentTooLarge):
            strict.parse_json(raw, LIMITS, 4)


@given(WIDE)
def test_every_way_of_writing_a_value_is_read_alike(value: Any) -> None:
    value = strict.check_value(value, LIMITS)
    written = [orjson.dumps(value), json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)]
    for raw in [*written, orjson.dumps(value, option=orjson.OPT_SORT_KEYS), strict.dump_json(value)]:
        assert are_equal(loads(raw), value)


@given(st.dictionaries(st.text(max_size=3), st.integers() | st.floats() | st.text(max_size=5), max_size=4) | WIDE)
def test_python_values_and_texts_meet_the_same_fate(value: Any) -> None:
    raw = json.dumps(value)
    assert _fate(lambda: strict.check_value(value, LIMITS)) == _fate(lambda: loads(raw))


def _fate(read: Any) -> Any:
    try:
        return json.dumps(read())
    except errors.DocumentError:
        return "refused"


@given(st.binary(max_size=40) | st.text('{}[]":,\\u0ae1.-', max_size=30).map(str.encode))
def test_any_bytes_give_a_value_or_a_document_error(raw: bytes) -> None:
    try:
        value = loads(raw)
    except errors.DocumentError:
        return
    assert are_equal(value, json.loads(raw))
    assert measure_depth(value) <= LIMITS.depth


@given(st.text('{}[]":, ab\\', max_size=24))
def test_a_duplicate_key_is_never_overlooked(raw: str) -> None:
    try:
        pairs = json.loads(raw, object_pairs_hook=_refuse_duplicates)
    except ValueError:
        with pytest.raises(errors.DocumentError):
            loads(raw)
    else:
        assert are_equal(loads(raw), pairs)


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("duplicate")
    return dict(pairs)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ({1: 2}, errors.InvalidJSON),
        ((1, 2), errors.InvalidJSON),
        ({"a": {1, 2}}, errors.InvalidJSON),
        ([b"x"], errors.InvalidJSON),
        ([object()], errors.InvalidJSON),
        ("\ud800", errors.InvalidJSON),
        ({"\udfff": 1}, errors.InvalidJSON),
        ("\x00", errors.InvalidJSON),
        (float("nan"), errors.NumberOutOfRange),
        (float("-inf"), errors.NumberOutOfRange),
        (10**400, errors.NumberOutOfRange),
        (2.0**53, errors.NumberOutOfRange),
        ({"__proto__": 1}, errors.ForbiddenKey),
    ],
)
def test_python_values_that_are_no_document(value: Any, error: type[errors.DocumentError]) -> None:
    with pytest.raises(error):
        strict.check_value(value, LIMITS)


def test_a_list_that_holds_itself_is_too_deep() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(errors.TooDeep):
        strict.check_value(endless, LIMITS)


def test_check_copies_and_counts_what_is_around() -> None:
    value = {"a": [1.0]}
    copied = strict.check_value(value, LIMITS)
    copied["a"].append(2)
    assert value == {"a": [1.0]}
    strict.check_value([1], LIMITS, inside=63)
    with pytest.raises(errors.TooDeep):
        strict.check_value([1], LIMITS, inside=64)


def test_what_cannot_be_written_is_a_document_error() -> None:
    with pytest.raises(errors.InvalidJSON):
        strict.dump_json({"a": object()})


def test_errors_never_carry_content() -> None:
    for raw, _ in REFUSED:
        with pytest.raises(errors.DocumentError) as caught:
            loads(raw)
        assert re.fullmatch(r"[A-Za-z0-9 _.,^\-]+", str(caught.value))
