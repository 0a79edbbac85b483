"""The pages read as one: lines of at most 100 characters, and few sentences that lean on a what-clause."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT

WIDTH = 100
MOST_WHAT = 3
HISTORY = re.compile(r"\bseed\b|original interface", re.IGNORECASE)


def read_prose(page: Path) -> list[str]:
    """Return the lines of a page outside fenced blocks."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return text.splitlines()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_lines_of_a_page_are_no_longer_than_a_hundred(page: Path) -> None:
    # A long address or code span cannot be broken.
    assert [line for line in read_prose(page) if len(line) > WIDTH and len(line.split()) > 3] == []


def test_the_pages_say_things_without_what_clauses() -> None:
    words = re.findall(r"[A-Za-z']+", " ".join(line for page in PAGES for line in read_prose(page)))
    assert sum(word.lower() == "what" for word in words) * 1000 <= MOST_WHAT * len(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_speaks_of_the_app_as_it_is_and_not_of_its_history(page: Path) -> None:
    assert HISTORY.findall("\n".join(read_prose(page))) == []
