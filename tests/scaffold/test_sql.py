"""SQL by hand names its tables in one place, and gives many values as one parameter where the database can."""

from __future__ import annotations

import re
from pathlib import Path

from tests.docs.pages import ROOT

PACKAGE = ROOT / "session_mgmt"
SOURCES = [path for path in PACKAGE.rglob("*.py") if not {"migrations", "node_modules"} & set(path.parts)]
LITERAL_TABLE = re.compile(r"\b(?:FROM|INTO|UPDATE|JOIN)\s+session_mgmt_\w+")
# A part of an SQL text that names a constant but is no f-string.
UNFILLED_NAME = re.compile(r'^\s*"[^"]*\{tables\.', re.MULTILINE)
PLACEHOLDERS = re.compile(r"IN \(\{marks")


def find_matches(pattern: re.Pattern[str], *, besides: str) -> list[str]:
    found = []
    for path in SOURCES:
        if path != PACKAGE / besides and (match := pattern.search(path.read_text(encoding="utf-8"))):
            found.append(f"{path.relative_to(ROOT)}: {match[0].strip()}")
    return found


def test_no_table_name_is_written_in_sql() -> None:
    assert find_matches(LITERAL_TABLE, besides="models/tables.py") == []


def test_every_table_name_in_sql_is_filled_in() -> None:
    assert find_matches(UNFILLED_NAME, besides="models/tables.py") == []


def test_only_one_function_writes_a_placeholder_for_each_value() -> None:
    assert find_matches(PLACEHOLDERS, besides="models/sql.py") == []


def test_the_sources_are_found() -> None:
    assert Path("models/sql.py") in [path.relative_to(PACKAGE) for path in SOURCES]
