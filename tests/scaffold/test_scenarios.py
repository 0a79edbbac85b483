"""Each of the 52 scenarios of identity has a test that is named by its number: ``test_s07_…``, or ``(7)`` in the SDK.

The scenarios: logins, logouts, claims, stolen tokens and lost answers, as docs/topics/identity.md explains them.
"""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
OF_THE_SDK = TESTS.parent / "session_mgmt" / "js" / "tests"
ALL = set(range(1, 53))
# One number in the name of a function; several may be in the title of a group of tests.
_FUNCTION = re.compile(r"\bdef test_s(\d\d)_")
_TITLE = re.compile(r"\b(?:describe|test)\b[^\"'`\n]*[\"'`][^\"'`\n]*\((\d+(?:, \d+)*)\)[\"'`]")


def find_in_python() -> set[int]:
    """Return the numbers of all scenarios that a Python test names."""
    texts = (path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py"))
    return {int(number) for text in texts for number in _FUNCTION.findall(text)}


def find_in_sdk() -> set[int]:
    """Return the numbers of all scenarios that a title of the SDK's tests names."""
    titles = (title for path in OF_THE_SDK.glob("*.test.ts") for title in _TITLE.findall(path.read_text("utf-8")))
    return {int(number) for title in titles for number in title.split(", ")}


def test_every_scenario_has_a_test() -> None:
    assert ALL - find_in_python() - find_in_sdk() == set()


def test_no_test_names_a_scenario_that_is_not_there() -> None:
    assert (find_in_python() | find_in_sdk()) - ALL == set()


def test_titles_are_read_as_they_are_written() -> None:
    assert _TITLE.findall('describe("the next person (1, 2, 7)", () => {') == ["1, 2, 7"]
    assert _TITLE.findall('  test("a cart (3)", async () => {') == ["3"]
    assert _TITLE.findall('test("waits (at most)", async () => {') == []
    assert _FUNCTION.findall("async def test_s07_nothing() -> None:") == ["07"]
