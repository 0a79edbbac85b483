"""The reference says what the code does. ``make reference`` writes its tables anew."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from session_mgmt.protocol.events import EVENT_TYPES
from tests.docs import tables
from tests.docs.tables import OPENAPI, REFERENCE, ROOT

EVENT = re.compile(
    r"^## `(\w+)`\n.+?^- Recorded by `([\w/.]+)`\n- Test: `(\w+)`\s+in\s+`([\w/.]+)`$", re.MULTILINE | re.DOTALL
)


@pytest.mark.parametrize("name", tables.TABLES)
def test_every_table_has_its_place_in_a_page(name: str) -> None:
    assert any(f"<!-- table: {name} -->" in page.read_text(encoding="utf-8") for page in tables.pages())


@pytest.mark.parametrize("page", tables.pages(), ids=lambda page: page.stem)
def test_the_tables_of_a_page_are_those_of_the_code(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == tables.filled(text), "run: make reference"


def test_the_openapi_file_is_that_of_the_code() -> None:
    assert OPENAPI.read_text(encoding="utf-8") == tables.openapi_text(), "run: make reference"


# An answer for addresses that do not exist, and a page for people.
UNTOLD = ("nothing", "schema-page")


def test_the_schema_holds_every_address_of_the_app() -> None:
    from session_mgmt.urls import urlpatterns

    routes = [str(entry.pattern) for entry in urlpatterns if getattr(entry, "name", "") not in UNTOLD]
    plain = {
        re.sub(r"<\w+:(\w+)>", lambda part: "{" + part[1].replace("pk", "id") + "}", "/" + route) for route in routes
    }
    assert plain == set(tables.openapi()["paths"])


def test_errors_have_numbers_and_names_of_their_own() -> None:
    from session_mgmt.exceptions import list_errors

    found = list_errors()
    assert len({error.number for error in found}) == len({error.name for error in found}) == len(found)


def test_the_twelve_events_are_described_each_with_who_records_it_and_its_test() -> None:
    found = EVENT.findall((REFERENCE / "events.md").read_text(encoding="utf-8"))
    assert [name for name, *_ in found] == list(EVENT_TYPES)
    for name, recorder, test, test_file in found:
        assert name.upper() in (ROOT / recorder).read_text(encoding="utf-8")
        assert f"def {test}(" in (ROOT / test_file).read_text(encoding="utf-8")


def test_everything_that_survives_names_its_test() -> None:
    page = (ROOT / "docs" / "topics" / "delivery.md").read_text(encoding="utf-8")
    part = page.partition("## What survives what")[2].partition("\n## ")[0]
    named = re.findall(r"\(`(\w+)`\s+in\s+`([\w/.]+)`\)", part)
    assert len(named) == part.count("\n- **")
    for test, test_file in named:
        assert f"def {test}(" in (ROOT / test_file).read_text(encoding="utf-8")
