"""One table of values, good and bad, that every transport is given in every place where it takes a value."""

from __future__ import annotations

import datetime
import decimal
import enum
import json
import math
from dataclasses import dataclass
from typing import Any

from tests.settings import DATABASE

# Small limits, so that a row over one of them is small too; the exact edges are in tests/documents/test_strict.py.
LIMITS = {"max_string_bytes": 2000, "max_key_bytes": 200, "max_keys": 60, "max_ops": 20}
DEPTH = 64
# Every place puts the value into one object, the document or the message.
ROOM = DEPTH - 1


class Nothing(enum.Enum):
    """``None`` is a value."""

    NOTHING = "nothing"


NOTHING = Nothing.NOTHING


@dataclass(frozen=True)
class Value:
    """``text`` as it stands in a frame or body, ``python`` as a caller hands it in; either may have no such form.

    ``error`` is what refuses it, ``python_error`` where Python is refused for another reason. Else ``kept`` is what is
    stored. ``by_place``: refused where a value is used, and not by the parser.
    """

    name: str
    text: bytes | None = None
    python: Any = NOTHING
    error: str | None = None
    kept: Any = NOTHING
    python_error: str | None = None
    by_place: bool = False


def good(name: str, text: bytes | str, kept: Any, python: Any = NOTHING) -> Value:
    return Value(
        name, text.encode() if isinstance(text, str) else text, kept if python is NOTHING else python, kept=kept
    )


def bad(
    name: str,
    text: bytes | str,
    error: str,
    python: Any = NOTHING,
    *,
    python_error: str | None = None,
    by_place: bool = False,
) -> Value:
    raw = text.encode() if isinstance(text, str) else text
    return Value(name, raw, python, error, python_error=python_error or error, by_place=by_place)


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def itself() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


class Colour(enum.IntEnum):
    RED = 1


class Text(str):
    pass


class Members(dict[str, Any]):
    pass


NUMBERS = [
    bad("NaN", "NaN", "invalid_json", math.nan, python_error="number_out_of_range"),
    bad("Infinity", "Infinity", "invalid_json", math.inf, python_error="number_out_of_range"),
    bad("-Infinity", "-Infinity", "invalid_json", -math.inf, python_error="number_out_of_range"),
    bad("1e400", "1e400", "number_out_of_range"),
    bad("-1e400", "-1e400", "number_out_of_range"),
    bad("exponent of ten digits", "1E4000000000", "number_out_of_range"),
    bad("4000 digits", "9" * 4000, "number_out_of_range", 10**4000),
    bad("5000 digits", "-" + "9" * 5000, "number_out_of_range", -(10**5000)),
    bad("2^53", str(2**53), "number_out_of_range", 2**53),
    bad("-2^53", str(-(2**53)), "number_out_of_range", -(2**53)),
    bad("2^53+1 as a float", "9007199254740993.0", "number_out_of_range", 9007199254740994.0),
    bad("2^64", str(2**64), "number_out_of_range", 2**64),
    bad("-2^63-1", str(-(2**63) - 1), "number_out_of_range", -(2**63) - 1),
    bad("1e16", "1e16", "number_out_of_range", 1e16),
    bad("1e20", "1e20", "number_out_of_range", 1e20),
    good("2^53-1", str(2**53 - 1), 2**53 - 1),
    good("-2^53+1", str(1 - 2**53), 1 - 2**53),
    good("1.0", "1.0", 1, 1.0),
    good("-0.0", "-0.0", 0, -0.0),
    good("-0", "-0", 0),
    good("1e15", "1e15", 10**15, 1e15),
    good("1e21", "1e21", 1e21),
    good("1e308", "1e308", 1e308),
    good("-1.5e300", "-1.5e300", -1.5e300),
    good("5e-324", "5e-324", 5e-324),
    good("1e-400", "1e-400", 0, 0.0),
    good("0.1", "0.1", 0.1),
    good("a fraction of 5000 digits", "0." + "1" * 5000, 0.1111111111111111),
    good("true is not 1", "true", True),
    good("null", "[null]", [None]),
]
TEXTS = [
    bad("high surrogate", '"\\ud800"', "invalid_json", "\ud800"),
    bad("low surrogate", '"x\\udfff"', "invalid_json", "x\udfff"),
    bad("surrogates in reverse", '"\\ude00\\ud83d"', "invalid_json", "\ude00\ud83d"),
    bad("surrogate in a key", '{"\\ud800":1}', "invalid_json", {"\ud800": 1}),
    bad("surrogate in a deep key", '[[{"x":{"\\udfff":1}}]]', "invalid_json", [[{"x": {"\udfff": 1}}]]),
    bad("NUL", '"\\u0000"', "invalid_json", "\0"),
    bad("NUL inside", '"a\\u0000b"', "invalid_json", "a\0b"),
    bad("NUL in a key", '{"\\u0000":1}', "invalid_json", {"\0": 1}),
    bad("tab as it is", '"\t"', "invalid_json"),
    bad("unknown escape", '"\\x41"', "invalid_json"),
    bad("long text", '"%s"' % ("s" * 2001), "string_too_long", "s" * 2001),
    bad("long in bytes", '"%s"' % ("é" * 1001), "string_too_long", "é" * 1001),
    good("text at the limit", '"%s"' % ("s" * 2000), "s" * 2000),
    good("escaped pair", '"\\ud83d\\ude00"', "😀"),
    good("astral", '"😀\U0001d4b3"', "😀\U0001d4b3"),
    good("separators", '"\u2028\u2029\\u0085"', "\u2028\u2029\x85"),
    good("noncharacters", '"\uffff\ufdd0\\u0001\x7f"', "\uffff\ufdd0\x01\x7f"),
    good("not normalised", '["e\u0301","é"]', ["e\u0301", "é"]),
    good("quotes and braces", '"\\"}{][\\\\\\","', '"}{][\\",'),
    good("markup", '"</script><!--\\u003c&"', "</script><!--<&"),
]
MANY = {f"k{n}": 0 for n in range(70)}
PATHS = {"/": 1, "~": 2, "~1": 3, "-": 4, "0": 5, "..": 6}
PROTOTYPES = {"constructor": {"prototype": 1}, "toString": 2, "hasOwnProperty": 3}

SHAPES = [
    bad("repeated key", '{"a":1,"a":2}', "invalid_json"),
    bad("repeated by an escape", '{"a":1,"\\u0061":1}', "invalid_json"),
    bad("repeated far inside", '[{"x":{"k":[],"k":[]}}]', "invalid_json"),
    bad("__proto__", '{"__proto__":{"polluted":1}}', "forbidden_key", {"__proto__": {"polluted": 1}}),
    bad("__proto__ by an escape", '{"__pr\\u006fto__":1}', "forbidden_key"),
    bad("__proto__ far inside", '[{"x":[{"__proto__":1}]}]', "forbidden_key", [{"x": [{"__proto__": 1}]}]),
    bad("long key", '{"%s":1}' % ("k" * 201), "key_too_long", {"k" * 201: 1}),
    bad("many keys", json.dumps(MANY), "too_many_keys", MANY, by_place=True),
    bad("many keys in pieces", json.dumps([{"k": 0}] * 70), "too_many_keys", [{"k": 0}] * 70, by_place=True),
    bad("one level too deep", b"[" * (ROOM + 1) + b"]" * (ROOM + 1), "too_deep", nested(ROOM + 1), by_place=True),
    bad("500 levels", b"[" * 500 + b"]" * 500, "too_deep", nested(500)),
    bad("100,000 levels", b"[" * 100_000 + b"]" * 100_000, "too_deep", nested(100_000)),
    bad("40,000 objects", b'{"k":' * 40_000 + b"1" + b"}" * 40_000, "too_deep"),
    bad("levels without end", b"[" * 100_000, "too_deep", itself()),
    good("as deep as allowed", b"[" * ROOM + b"]" * ROOM, nested(ROOM)),
    good("brackets in text", '"%s"' % ("[{" * 900), "[{" * 900),
    good("names of prototypes", json.dumps(PROTOTYPES), PROTOTYPES),
    good("empty key", '{"":{"":1}}', {"": {"": 1}}),
    good("keys that look like paths", json.dumps(PATHS), PATHS),
    good("key at the limit", '{"%s":1}' % ("k" * 200), {"k" * 200: 1}),
    good("empty ones", '[{},[],""]', [{}, [], ""]),
]
BROKEN = [
    "True",
    "01",
    "+1",
    ".5",
    "1.",
    "--1",
    "'a'",
    "/**/1",
    "[1,]",
    "{a:1}",
    '{"a"}',
    "\u0661",
    "",
    "1 2",
    '"a',
    "[1",
]
NO_JSON = [bad(f"text {text}", text, "invalid_json") for text in BROKEN]
PYTHON = [
    Value(name, None, value, "invalid_json", python_error="invalid_json")
    for name, value in (
        ("set", {1}),
        ("bytes", b"x"),
        ("object", object()),
        ("key that is a number", {1: 2}),
        ("key that is None", {None: 2}),
    )
] + [
    # Taken by their plain value, or encoded as Django encodes them.
    Value(name, None, value, kept=kept)
    for name, value, kept in (
        ("tuple", (1, 2), [1, 2]),
        ("Decimal", decimal.Decimal("1E+999999"), "1E+999999"),
        ("datetime", datetime.datetime(2026, 1, 1), "2026-01-01T00:00:00"),
        ("enum", Colour.RED, 1),
        ("str of another class", Text("x"), "x"),
        ("dict of another class", Members(a=1), {"a": 1}),
    )
]


def thin_out(rows: list[Value]) -> list[Value]:
    """Return all rows on SQLite, and one for each error on PostgreSQL: a parser refuses before a database is asked."""
    if DATABASE == "sqlite":
        return rows
    return list({(row.error, row.python_error, row.text is None): row for row in rows}.values())


VALUES = [*NUMBERS, *TEXTS, *SHAPES, *NO_JSON, *PYTHON]
AS_TEXT = [row for row in VALUES if row.text is not None]
GOOD = [row for row in AS_TEXT if row.error is None]
REFUSED = thin_out([row for row in AS_TEXT if row.error is not None])
# Where only the parser looks at a value.
UNREADABLE = thin_out(
    [row for row in [*NUMBERS, *TEXTS, *SHAPES] if row.text is not None and row.error and not row.by_place]
)
AS_PYTHON = [row for row in VALUES if row.python is not NOTHING]
PYTHON_REFUSED = thin_out([row for row in AS_PYTHON if row.kept is NOTHING])
PYTHON_GOOD = [row for row in AS_PYTHON if row.kept is not NOTHING]
