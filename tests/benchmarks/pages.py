"""Tables of docs/topics/performance.md and the README's line of figures, written from the results of one run."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from tests.benchmarks import rivals
from tests.benchmarks.report import Row, Table
from tests.benchmarks.sides import ROOT

PERFORMANCE, README = ROOT / "docs/topics/performance.md", ROOT / "README.md"

# By benchmark: a heading, and the fact or the field of a row below it.
CORE = {"CPU second": "per_core", "x Channels": "core_ratio", "x Socket.IO": "x Socket.IO, core"}
SHARES = {"server %": "server cpu %", "load %": "load cpu %"}
COLUMNS: dict[str, dict[str, str]] = {
    "connects": {**CORE, "p99 ms": "p99_ms", "close us": "close us", **SHARES},
    "storm": {
        "first s": "first s",
        "s": "seconds",
        "CPU ms": "cpu ms",
        "x Socket.IO": "x Socket.IO",
        "lost": "missing of each",
        "doubled": "doubled",
        "waits": "asked to wait",
        "p99 quiet, storm": "update p99",
        "load %": "load cpu %",
    },
    "roundtrip": {**CORE, "p99 ms": "p99_ms", **SHARES},
    "idle": {"kB": "value", "x Channels": "ratio", "beats, % of a core": "beats cpu %"},
    "transports": {
        "connect": "connect ms",
        "resume": "resume ms",
        "storm": "storm ms",
        "x polls": "x Socket.IO's polls",
        "storm s": "storm s",
        "kB": "idle kB",
        "threads": "threads",
        "idle %": "idle cpu %",
        "p50 ms": "p50_ms",
        "load %": "load cpu %",
    },
    "page_turn": {"CPU second": "per_core", "x DRF": "core_ratio", "p50 ms": "p50_ms", "p99 ms": "p99_ms"},
    "filters": {
        "CPU second": "per_core",
        "x no filter": "core_ratio",
        "CPU ms": "cpu ms",
        "p50 ms": "p50_ms",
        "p99 ms": "p99_ms",
        "lost": "lost",
        **SHARES,
    },
    "allow_entry": {
        "CPU second": "per_core",
        "x nobody": "core_ratio",
        "CPU ms": "cpu ms",
        "p50 ms": "p50_ms",
        "p99 ms": "p99_ms",
        "lost": "lost",
        **SHARES,
    },
    "presence": {
        "CPU second": "per_core",
        "x plain": "core_ratio",
        "CPU ms": "cpu ms",
        "entries": "entries",
        "bytes": "bytes",
        "p99 ms": "p99_ms",
        "lost": "lost",
        **SHARES,
    },
    "scale": {
        "a second": "value",
        "CPU second": "per_core",
        "x one process": "core_ratio",
        "p50 ms": "p50_ms",
        "database us": "database us",
        "WAL bytes": "wal bytes",
        "batch": "mean batch",
    },
}
WIDTH = 100
# In the order of their tables.
DATABASES = ("SQLite", "PostgreSQL")


def write(results: dict[str, list[Table]]) -> None:
    """Replace the tables of every benchmark that was run, and the README's line if all of it was."""
    page = PERFORMANCE.read_text()
    for name, tables in results.items():
        if name in COLUMNS:
            page = replace_tables(page, name, [as_markdown(table, COLUMNS[name]) for table in tables])
    PERFORMANCE.write_text(page)
    line = describe(results)
    if line:
        README.write_text(replace_block(README.read_text(), "figures", textwrap.fill(line, WIDTH)))


def replace_tables(page: str, name: str, tables: Sequence[str]) -> str:
    """Put tables between two marks of a page; those of a database that was left out of this run stay."""
    # Each begins with the name of its database; a run of both has SQLite's first.
    before = re.split(rf"\n\n(?={'|'.join(DATABASES)})", find_block(page, name).strip())
    measured = tuple(map(_find_database, tables))
    kept = [table for table in before if table.startswith(DATABASES) and not table.startswith(measured)]
    every = sorted([*kept, *tables], key=lambda table: DATABASES.index(_find_database(table)))
    return replace_block(page, name, "\n\n".join(every))


def _find_database(table: str) -> str:
    return next(name for name in DATABASES if table.startswith(name))


def replace_block(page: str, name: str, text: str) -> str:
    """Put a text between two marks of a page. Raises ``ValueError`` where they are missing."""
    begin, end = _make_marks(name)
    return page.replace(f"{begin}{find_block(page, name)}{end}", f"{begin}\n\n{text}\n\n{end}")


def find_block(page: str, name: str) -> str:
    """Return what is between two marks of a page. Raises ``ValueError`` where they are missing."""
    found = re.findall("(.*?)".join(_make_marks(name)), page, flags=re.DOTALL)
    if len(found) != 1:
        raise ValueError(f"There is no place for {name}.")
    return str(found[0])


def _make_marks(name: str) -> tuple[str, str]:
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"


def as_markdown(table: Table, columns: dict[str, str]) -> str:
    used = {title: key for title, key in columns.items() if any(_cell(row, key) for row in table.rows)}
    lines = [["case", *used], ["---", *("---:" for _ in used)]]
    lines += [[row.case, *(_cell(row, key) for key in used.values())] for row in table.rows]
    rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    told = textwrap.fill(f"{table.settings['database']}; rounds: {table.settings['rounds']}.", WIDTH)
    return f"{told}\n\n{rows}"


def _cell(row: Row, key: str) -> str:
    if key == "update p99":
        quiet, storm = row.facts.get("update p99 quiet"), row.facts.get("update p99 storm")
        return "" if quiet is None else f"{_number(quiet)}, {_number(storm)}"
    if key == "cpu ms":
        return _number(1000 / row.per_core) if row.per_core else ""
    value = getattr(row, key) if key in {"value", "per_core", "ratio", "core_ratio"} else _fact(row, key)
    return "" if value is None else _number(value)


def _fact(row: Row, key: str) -> float | None:
    value: float | None = row.facts.get(key, row.facts.get(key.replace("_", " ")))
    return value


def _number(value: float | None) -> str:
    if value is None:
        return ""
    # From there on two digits would round it to a power of ten.
    return f"{value:,.0f}" if abs(value) >= 99.5 or value == int(value) else f"{value:.2g}"


def describe(results: dict[str, list[Table]]) -> str:
    """Write the line of figures; nothing where one of its benchmarks was not run with all peers."""
    try:
        connect = _ours(results["connects"][0].rows, "")
        storms = results["storm"][0].rows
        back = _ours([row for row in storms if row.case.startswith("one topic")], "")
        killed = _ours([row for row in storms if row.case.startswith("killed")], "")
        question, idle = _ours(results["roundtrip"][0].rows, ""), _ours(results["idle"][0].rows, ", 2 logs")
        lost = back.facts["missing of each"] + killed.facts["missing of each"]
        # How many came back is told by the run: shorter ones have fewer.
        everybody, half = re.findall(r"\d+", results["storm"][0].settings["load"])[:2]
        return (
            "In one run, one core each, SQLite, every commit durable: a client connects in"
            f" {1000 / (connect.per_core or 0):.2g} ms of CPU, {connect.core_ratio:.2g} times as fast as plain"
            " Channels;"
            f" {everybody} clients are back with 50 missed entries each in {back.facts['seconds']:.2g} s,"
            f" {back.facts['x Socket.IO']:.2g} times as fast as Socket.IO, {lost:.0f} lost;"
            f" {half} after a SIGKILL in {killed.facts['seconds']:.2g} s; a round trip costs"
            f" {1 / question.facts['x Socket.IO, core']:.1f} times the CPU of Socket.IO;"
            f" an idle connection has {idle.value:.0f} kB, {idle.ratio:.2g} of plain Channels'"
            " ([all figures](docs/topics/performance.md))."
        )
    except (KeyError, IndexError, ValueError, ZeroDivisionError, TypeError):
        return ""


def _ours(rows: Sequence[Row], ending: str) -> Row:
    """Find our fastest way: the last of ours with this ending."""
    return [row for row in rows if rivals.OURS in row.case and row.case.endswith(ending) and "back" not in row.case][-1]
