"""Checker: histories and a dump in, violations out. It knows PROTOCOL.md and the tables, and no line of the server.

python -m tests.faults.check FOLDER      # 0 valid, 1 invalid, 2 unknown: too little happened to say anything
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from tests.faults import (
    check_counts,
    check_groups,
    check_guests,
    check_hooks,
    check_life,
    check_lists,
    check_state,
    check_streams,
    check_tokens,
    history,
)
from tests.faults.evidence import Evidence, Record, Violation, told_lost

VALID, INVALID, UNKNOWN = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Demands:
    """How much must have happened for silence to mean anything."""

    kills: int = 0
    cuts: int = 0
    pauses: int = 0
    outages: int = 0
    switches: int = 0
    unanswered_at_kill: int = 0
    acknowledged: int = 0
    takeovers: int = 0
    retries: int = 0
    trimmed: int = 0
    by_digests: int = 0
    told_lost: int = 0
    outlived: int = 0
    cut_off: int = 0
    told_again: int = 0
    turned: int = 0
    pages: int = 0
    parts: int = 0
    looks: int = 0
    turns: int = 0
    deliveries: int = 0
    delivered_again: int = 0


@dataclass(slots=True)
class Verdict:
    """`doubts` say why a run without violations still proves nothing."""

    violations: list[Violation] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)

    @property
    def code(self) -> int:
        return INVALID if self.violations else UNKNOWN if self.doubts else VALID


def check(
    records: list[Record], dump: Record, log_lines: Iterable[str] = (), demands: Demands | None = None
) -> Verdict:
    """Every check over one run."""
    evidence = Evidence(records, dump)
    verdict = Verdict(doubts=list(_doubts(evidence, demands or Demands())))
    groups = (check_groups, check_guests, check_lists, check_hooks)
    rooms = (check_state, check_counts, check_streams, check_tokens, check_life, *groups)
    for one in (one for room in rooms for one in room.CHECKS):
        verdict.violations += one(evidence)
    verdict.violations += check_life.refusals_have_documented_names(evidence, check_life.documented_names())
    verdict.violations += check_life.logs_are_quiet(log_lines)
    return verdict


def _doubts(evidence: Evidence, demands: Demands) -> Iterable[str]:
    """Say why silence would mean nothing: too little was tried, or too little can be told."""
    kills = [record for record in evidence.records if record["type"] == "kill"]
    few = [record["unanswered"] for record in kills if record["unanswered"] < demands.unanswered_at_kill]
    told = len({record["p"] for record in evidence.records if [*told_lost(record)]})
    uncounted = evidence.documents.keys() - check_counts.ends(evidence).keys()
    trimmed = sum(document["oldest"] - 1 for document in evidence.documents.values())
    yield from list_shortages(evidence.records, trimmed, demands)
    if told < demands.told_lost:
        yield f"{told} clients were told of a lost history, of {demands.told_lost}"
    told_again = check_tokens.count_told_again(evidence.records)
    if told_again < demands.told_again:
        yield f"{told_again} pairs were told again after a kill, of {demands.told_again}"
    if uncounted:
        yield f"nobody was given the end of {sorted(uncounted)}"
    if len(kills) < demands.kills:
        yield f"{len(kills)} kills of {demands.kills}"
    cuts = [record for record in evidence.records if record["type"] == "cut" and record["met"]]
    if len(cuts) < demands.cuts:
        yield f"{len(cuts)} cuts of {demands.cuts} met somebody"
    moved = [record for record in evidence.records if record["type"] == "resume" and record["moved"]]
    if len(moved) < demands.pauses:
        yield f"during {len(moved)} pauses of {demands.pauses} somebody moved"
    outages = [record for record in evidence.records if record["type"] == "outage"]
    met = [record for record in outages if record["unanswered"] >= demands.unanswered_at_kill]
    if len(met) < demands.outages:
        yield f"{len(met)} outages of {demands.outages} met {demands.unanswered_at_kill} requests unanswered"
    if few:
        yield f"{len(few)} kills with fewer than {demands.unanswered_at_kill} requests unanswered"


def list_shortages(records: list[Record], trimmed: int, demands: Demands) -> Iterable[str]:
    """List what has happened too seldom so far, and will have happened often enough once the clients work longer.

    It is asked again and again while they work, so it only counts.
    """
    answers = Counter(record["op"] for record in records if record["type"] in {"ok", "fail", "temporary"})
    accepted = {record["op"] for record in records if record["type"] == "ok"}
    told_digests = {
        record["op"] for record in records if record["type"] == "again" and record.get("digests") is not None
    }
    found = {
        "acknowledged writes": (len(accepted), demands.acknowledged),
        "writes on replaced connections": (sum(bool(record.get("zombie")) for record in records), demands.takeovers),
        "changes of the transport": (count_switches(records), demands.switches),
        "retries of answered writes": (sum(count > 1 for count in answers.values()), demands.retries),
        "trimmed versions": (trimmed, demands.trimmed),
        "writes on a base that was gone": (len(told_digests & accepted), demands.by_digests),
    }
    visits = check_guests.count(records) | check_lists.count(records) | check_hooks.count(records)
    found |= {name: (times, getattr(demands, name)) for name, times in visits.items()}
    for name, (count, wanted) in found.items():
        if count < wanted:
            yield f"{count} {name} of {wanted}"
    if demands.outlived or demands.cut_off:
        yield from check_tokens.list_shortages(records, demands.outlived, demands.cut_off)


def count_switches(records: list[Record]) -> int:
    """Count how often a client attached by another transport than before."""
    last: dict[str, str] = {}
    count = 0
    for record in records:
        if record["type"] == "connected" and "transport" in record:
            before = last.setdefault(record["p"], record["transport"])
            count += before != record["transport"]
            last[record["p"]] = record["transport"]
    return count


def main() -> int:
    folder = Path(sys.argv[1])
    dump = orjson.loads((folder / "dump.json").read_bytes())
    lines = [line for path in sorted(folder.glob("*.log")) for line in path.read_text(errors="replace").splitlines()]
    verdict = check(history.read(folder / "history.jsonl"), dump, lines)
    for violation in verdict.violations:
        print(violation)
    print(f"{len(verdict.violations)} violations")
    return verdict.code


if __name__ == "__main__":
    sys.exit(main())
