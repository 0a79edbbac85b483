"""The page of errors says of each error what to do, and lists each field that an error can have."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from session_mgmt.exceptions import ERRORS_BY_NAME
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs/reference/errors.md").read_text(encoding="utf-8")
# They have a place of their own in every error.
FIXED = {"retry_after", "detail"}
CLASSES = {error.__name__ for error in ERRORS_BY_NAME.values()}


def read_heads(heading: str) -> list[str]:
    """Return the names before the colons of a section's list."""
    section = PAGE.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    heads = re.findall(r"^- ((?:`\w+`,?\s+)*`\w+`):|\. `(\w+)`: ", section, re.MULTILINE)
    return [name for head in heads for name in re.findall(r"\w+", " ".join(head))]


def list_given_fields() -> Iterator[str]:
    """Yield the names with which the code of the server makes its errors."""
    for path in ROOT.glob("session_mgmt/**/*.py"):
        if not {"js", "client"} & set(path.parts):
            for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(call, ast.Call) and ast.unparse(call.func) in CLASSES:
                    yield from (named.arg for named in call.keywords if named.arg)


def test_each_error_says_what_to_do() -> None:
    heads = read_heads("What to do")
    assert sorted(heads) == sorted(ERRORS_BY_NAME)


def test_each_field_of_an_error_is_explained() -> None:
    # These two come as a dictionary.
    given = {*list_given_fields(), "reason", "path"} - FIXED
    assert len(given) > 10 and set(read_heads("Further fields")) == given
