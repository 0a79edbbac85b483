"""The tables of the documentation are written from results, each in its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks import pages, rivals
from tests.benchmarks.__main__ import read
from tests.benchmarks.report import Row, Table


def make_results() -> dict[str, list[Table]]:
    """Make one run of all that the README's line needs."""
    core = {"x Socket.IO, core": 2.0, "x Socket.IO": 2.0, "seconds": 0.5, "missing of each": 0}
    settings = {"database": "SQLite", "rounds": "3", "load": "300 clients (150 with a kill), 50 entries"}

    def table(*names: str) -> Table:
        rows = [Row(name, [20.0], 0.7, 1000.0, 4.0, dict(core)) for name in names]
        return Table("connects on SQLite", "connects", settings, rows)

    own = f"{rivals.OURS}, own class"
    return {
        "connects": [table(rivals.PLAIN, own, f"{own}, back")],
        "storm": [table(f"one topic: {own}", f"killed: {own}")],
        "roundtrip": [table(own)],
        "idle": [table(f"{own}, 2 logs", f"{own}, no log")],
    }


def test_a_table_has_only_the_columns_that_say_something() -> None:
    page = "before\n<!-- connects: begin -->\nold\n<!-- connects: end -->\nafter"
    (table,) = make_results()["connects"]
    text = pages.as_markdown(table, pages.COLUMNS["connects"])
    assert "| CPU second |" in text and "| 1,000 | 4 | 2 |" in text
    assert "p99" not in text
    done = pages.replace_block(page, "connects", text)
    assert "old" not in done and done.startswith("before") and done.endswith("after")
    assert pages.replace_block(done, "connects", text) == done


def test_tables_of_a_database_that_was_left_out_of_a_run_stay() -> None:
    page = "<!-- idle: begin -->\nstale\n<!-- idle: end -->"
    old, new, other = "SQLite 3.\n\n| old |", "SQLite 3.\n\n| new |", "PostgreSQL 15.\n\n| other |"
    page = pages.replace_tables(pages.replace_block(page, "idle", old), "idle", [other])
    assert pages.find_block(page, "idle").strip() == f"{old}\n\n{other}"
    page = pages.replace_tables(page, "idle", [new])
    assert pages.find_block(page, "idle").strip() == f"{new}\n\n{other}"
    assert pages.replace_tables(page, "idle", [new, other]) == page


def test_a_page_without_a_place_is_left_alone() -> None:
    with pytest.raises(ValueError, match="no place for idle"):
        pages.replace_block("nothing", "idle", "text")


def test_the_line_of_figures_is_written_only_from_a_run_of_all() -> None:
    results = make_results()
    line = pages.describe(results)
    assert "1 ms of CPU, 4 times" in line and "in 0.5 s, 2 times as fast as Socket.IO, 0 lost" in line
    assert " 300 clients are back" in line and " 150 after a SIGKILL" in line
    for name in results:
        assert pages.describe({key: tables for key, tables in results.items() if key != name}) == ""


def test_a_table_is_the_same_after_it_was_printed_and_read(tmp_path: Path) -> None:
    (table,) = make_results()["connects"]
    printed = tmp_path / "run.jsonl"
    printed.write_text(json.dumps({"name": "connects", **table.as_json()}))
    assert list(read(printed)) == [("connects", table)]


def test_every_table_has_its_place() -> None:
    for name in pages.COLUMNS:
        assert f"<!-- {name}: begin -->" in pages.PERFORMANCE.read_text()
    assert "<!-- figures: begin -->" in pages.README.read_text()
