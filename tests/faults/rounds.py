"""Rounds of all kinds of faults, in turn, until the time is over: what `make faults` runs."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from tests import programs
from tests.faults.check import INVALID, UNKNOWN, VALID
from tests.faults.run import Options, Outcome, execute, recovery_times, report
from tests.faults.sweep import POINTS

SHORT = Options(kills=5, calm=1.0, pause=1.0, hooks=True)
POSTGRES = replace(SHORT, database="postgres")
# By what is done to whom; a kind on PostgreSQL is left out where there is no PostgreSQL.
KINDS = {
    "kills, SQLite": SHORT,
    "kills, PostgreSQL": POSTGRES,
    "kills at every point, SQLite": replace(SHORT, kills=0, points=POINTS, transport="any"),
    "kills at every point, PostgreSQL": replace(POSTGRES, kills=0, points=POINTS, transport="any"),
    "kills while logs are trimmed, SQLite": replace(SHORT, trim=20, transport="any"),
    "kills while logs are trimmed, PostgreSQL": replace(POSTGRES, trim=20, transport="any"),
    "kills over HTTP, two servers, SQLite": replace(SHORT, servers=2, transport="http"),
    "kills over HTTP, two servers, PostgreSQL": replace(POSTGRES, servers=2, transport="http"),
    "kills while clients change transports, SQLite": replace(SHORT, servers=2, transport="any", switching=0.5),
    "kills while clients change transports, PostgreSQL": replace(POSTGRES, servers=2, transport="any", switching=0.5),
    "cuts on all transports, SQLite": replace(SHORT, kills=0, cuts=10, transport="any"),
    "cuts on all transports, PostgreSQL": replace(POSTGRES, kills=0, cuts=10, transport="any"),
    "servers that stand still, SQLite": replace(SHORT, kills=0, pauses=5, servers=2, transport="any"),
    "servers that stand still, PostgreSQL": replace(POSTGRES, kills=0, pauses=5, servers=2, transport="any"),
    "servers that stand still for longer than leases, SQLite": replace(
        SHORT, kills=0, pauses=3, servers=2, leases=4.0, transport="any"
    ),
    "servers that stand still for longer than leases, PostgreSQL": replace(
        POSTGRES, kills=0, pauses=3, servers=2, leases=4.0, transport="any"
    ),
    "kills of servers with different settings, SQLite": replace(SHORT, servers=2, mixed=True, transport="any"),
    "kills of servers with different settings, PostgreSQL": replace(POSTGRES, servers=2, mixed=True, transport="any"),
    "a restored backup, SQLite": replace(SHORT, kills=2, restore=True, transport="any"),
    "a restored backup, PostgreSQL": replace(POSTGRES, kills=2, restore=True, transport="any"),
    "kills while tokens are exchanged, SQLite": replace(SHORT, tokens=5.0, transport="any"),
    "kills while tokens are exchanged, PostgreSQL": replace(POSTGRES, tokens=5.0, transport="any"),
    "SQLite locked and without a disk": replace(SHORT, outages=True),
    "SQLite locked and without a disk, over HTTP, two servers": replace(
        SHORT, outages=True, servers=2, transport="http"
    ),
    "Redis and PostgreSQL taken away": replace(POSTGRES, scale=True, outages=True),
    "Redis and PostgreSQL taken away, over HTTP": replace(POSTGRES, scale=True, outages=True, transport="http"),
    "PostgreSQL with the doorbells taken away": replace(POSTGRES, servers=2, bell=True, outages=True),
}
WORDS = {VALID: "valid", INVALID: "INVALID", UNKNOWN: "UNKNOWN"}


@dataclass
class Sum:
    """What the rounds of one kind came to; `failed` are the random seeds of rounds that were not valid."""

    rounds: int = 0
    acknowledged: int = 0
    unanswered: int = 0
    faults: int = 0
    lost: int = 0
    doubled: int = 0
    longest: float = 0.0
    failed: list[int] = field(default_factory=list)

    def add(self, options: Options, outcome: Outcome) -> None:
        """Add a round."""
        records, violations = outcome.records, Counter(found.promise for found in outcome.verdict.violations)
        types = Counter(record["type"] for record in records)
        self.rounds += 1
        self.acknowledged += len({record["op"] for record in records if record["type"] == "ok"})
        self.unanswered += len({op for record in records if record["type"] == "kill" for op in record["ops"]})
        self.faults += types["kill"] + types["cut"] + types["outage"] + types["restore"] + types["pause"]
        self.lost += violations["S1"] + violations["T4"]
        self.doubled += violations["S6"] + violations["T3"]
        self.longest = max([self.longest, *recovery_times(records)])
        if outcome.verdict.code != VALID:
            self.failed.append(options.seed)


def list_rounds(kinds: Sequence[str], seed: int) -> Iterator[tuple[str, Options]]:
    """List rounds without end, each kind in its turn, and each turn with a random seed of its own."""
    for number in count(seed):
        for kind in kinds:
            yield kind, replace(KINDS[kind], seed=number)


def list_kinds() -> list[str]:
    """List the kinds for which this machine has the servers; say which are left out."""
    try:
        programs.postgres()
        programs.redis()
    except programs.Unavailable as reason:
        print(f"{reason} The kinds that need it are left out.", file=sys.stderr)
        return [kind for kind, options in KINDS.items() if options.database == "sqlite"]
    return list(KINDS)


def run(minutes: float, seed: int, keep: Path) -> dict[str, Sum]:
    """Run rounds until the time is over, the last one to its end, and print a line for each; Ctrl-C ends earlier.

    The evidence of a round that is not valid stays in the folder ``keep``.
    """
    sums: dict[str, Sum] = {}
    began = time.monotonic()
    try:
        for kind, options in list_rounds(list_kinds(), seed):
            passed = time.monotonic() - began
            if passed >= 60 * minutes:
                break
            print(f"{passed / 60:5.1f} min  {kind}, seed {options.seed} … ", end="", file=sys.stderr, flush=True)
            outcome = run_round(options, keep / f"{kind.replace(', ', '-').replace(' ', '_')}-{options.seed}")
            sums.setdefault(kind, Sum()).add(options, outcome)
            print(WORDS[outcome.verdict.code], file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print("ended early", file=sys.stderr)
    return sums


def run_round(options: Options, kept: Path) -> Outcome:
    """Run one round; show it in full, and keep its evidence, if it is not valid."""
    with tempfile.TemporaryDirectory(prefix="session-mgmt-round-") as name:
        folder = Path(name) / "evidence"
        outcome = execute(replace(options, keep=folder))
        if outcome.verdict.code != VALID:
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(folder, kept, dirs_exist_ok=True)
            print(f"\n{report(options, outcome)}\nkept in {kept}", file=sys.stderr)
    return outcome


def format_table(sums: dict[str, Sum]) -> str:
    """Write the sums as a table of Markdown."""
    heads = ["what is done", "rounds", "faults", "acknowledged", "unanswered at kills", "lost", "doubled"]
    heads += ["longest recovery", "not valid"]
    lines = [f"| {' | '.join(heads)} |", f"| --- |{' ---: |' * (len(heads) - 2)} --- |"]
    for kind, total in sums.items():
        cells = [kind, total.rounds, total.faults, total.acknowledged, total.unanswered, total.lost, total.doubled]
        cells += [
            f"{total.longest:.2f} s" if total.longest else "",
            ", ".join(f"seed {seed}" for seed in total.failed) or "none",
        ]
        lines.append(f"| {' | '.join(f'{cell:,}' if isinstance(cell, int) else str(cell) for cell in cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; the answer is 1 if a round was not valid, or none was run."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.rounds", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="when to begin no further round (30)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="random seed of the first turn")
    parser.add_argument("--keep", type=Path, default=Path("var/faults"), help="where evidence goes (var/faults)")
    parser.add_argument("--json", action="store_true", help="the sums as JSON in place of a table")
    given = parser.parse_args(arguments)
    sums = run(given.minutes, given.seed, given.keep)
    told: Any = {kind: vars(total) for kind, total in sums.items()}
    print(json.dumps(told) if given.json else format_table(sums))
    return 1 if not sums or any(total.failed for total in sums.values()) else 0


if __name__ == "__main__":
    programs.install_missing(list(programs.WHEELS))
    sys.exit(main())
