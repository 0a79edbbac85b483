"""``python -m tests.benchmarks [NAME ...] [--quick] [--json]``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tests.benchmarks import (
    cleanup,
    connects,
    creation,
    documents,
    fanout,
    filters,
    hostile,
    idle,
    page_turn,
    pages,
    patches,
    presence,
    processes,
    reconnects,
    roundtrip,
    storm,
    transports,
)
from tests.benchmarks.report import Table
from tests.benchmarks.scale import FULL, QUICK, TINY, Scale

BENCHMARKS = {
    "creation": creation.run,
    "patches": patches.run,
    "fanout": fanout.run,
    "documents": documents.run,
    "reconnects": reconnects.run,
    "hostile": hostile.run,
    "cleanup": cleanup.run,
    "connects": connects.run,
    "storm": storm.run,
    "roundtrip": roundtrip.run,
    "idle": idle.run,
    "transports": transports.run,
    "scale": processes.run,
    "page_turn": page_turn.run,
    "filters": filters.run,
    "allow_entry": filters.run_allow_entry,
    "presence": presence.run,
}
SCALES = {"full": FULL, "quick": QUICK, "tiny": TINY}


def run(names: Sequence[str], scale: Scale) -> Iterator[tuple[str, Table]]:
    """Run benchmarks, and give each table as soon as it is there."""
    for name in names:
        for table in BENCHMARKS[name](scale):
            yield name, table


def read(source: Path) -> Iterator[tuple[str, Table]]:
    """Give the tables that a run has printed as JSON."""
    for line in source.read_text().splitlines():
        told = json.loads(line)
        yield told["name"], Table.from_json(told)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.benchmarks", description="Ratios against baselines of the same run.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all by default")
    parser.add_argument("--list", action="store_true", help="name the benchmarks and end")
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of tables")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/topics/performance.md")
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="FILE", help="read what --json printed; run nothing"
    )
    parser.add_argument("--ws", metavar="CLASS", help="uvicorn's class for WebSockets: a name or module:Class")
    parser.add_argument("--quick", dest="scale", action="store_const", const="quick", help="shorter rounds")
    parser.add_argument("--scale", choices=SCALES, help="tiny only shows that all of it runs")
    parser.add_argument("--clients", type=int, metavar="N", help="that many in idle, storm and transports")
    parser.set_defaults(scale="full")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - BENCHMARKS.keys()
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    if arguments.list:
        print("\n".join(BENCHMARKS))
        return 0
    os.environ |= {"BENCHMARK_WS": arguments.ws} if arguments.ws else {}
    names = arguments.names or list(BENCHMARKS)
    scale = SCALES[arguments.scale]
    scale = replace(scale, guests=arguments.clients or scale.guests)
    results: dict[str, list[Table]] = {}
    for name, table in read(arguments.source) if arguments.source else run(names, scale):
        results.setdefault(name, []).append(table)
        line = json.dumps({"name": name, **table.as_json()}) if arguments.json else table.as_text() + "\n"
        print(line, flush=True)
    if arguments.write:
        pages.write(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
