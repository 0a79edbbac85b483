"""S1 and S6 by counting: the end of a document says how often each write took effect, whatever became of its log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.faults.check_state import Sum, not_applied, snapshots
from tests.faults.evidence import Evidence, Violation

Key = tuple[str, str]


def counters_count_each_write_once(evidence: Evidence) -> Iterator[Violation]:
    """Every `inc` that was acknowledged is in its number once; one without an answer at most once."""
    sure, possible = _expected(evidence)
    for key, value in ends(evidence).items():
        for path in sorted({*sure[key], *possible[key], *_counters(value)}):
            least, found = sure[key][path], _number(value, path)
            if found < least:
                yield Violation("S1", f"{key}: {path} is {found}, but {least} were acknowledged")
            elif found > least + possible[key][path]:
                yield Violation("S6", f"{key}: {path} is {found}, but only {least} were acknowledged")


def ends(evidence: Evidence) -> dict[Key, Any]:
    """Compute each document's end where that can be told: from the log, or from a snapshot and what followed."""
    given = snapshots(evidence)
    found = {}
    for key, document in evidence.documents.items():
        added = Sum(evidence.past[key])
        for record in given.get(key, ()):
            version = record["frame"]["position"][1]
            if version <= document["version"] and not added.reach(version):
                added.start_at(version, record["frame"]["data"])
        if added.reach(document["version"]):
            found[key] = added.value
    return found


def _expected(evidence: Evidence) -> tuple[dict[Key, Counter[str]], dict[Key, Counter[str]]]:
    sure: dict[Key, Counter[str]] = {key: Counter() for key in evidence.documents}
    possible: dict[Key, Counter[str]] = {key: Counter() for key in evidence.documents}
    for write in evidence.writes.values():
        key = (write.session, write.frame.get("doc", ""))
        if write.kind != "update" or write.refusal is not None or key not in sure or evidence.is_undone(write):
            continue
        gone = not_applied(write.ok["receipt"]) if write.ok else set()
        for op in write.frame["ops"]:
            if op[0] == "inc" and op[1] not in gone:
                (sure if write.ok else possible)[key][op[1]] += op[2]
    return sure, possible


def _counters(value: Any) -> Iterator[str]:
    """List the counters of a document of this workload."""
    for name, member in value.items():
        if isinstance(member, dict):
            yield from (f"/{name}/{key}" for key, one in member.items() if isinstance(one, int))
        elif isinstance(member, int):
            yield f"/{name}"


def _number(value: Any, path: str) -> Any:
    for token in path[1:].split("/"):
        value = value.get(token, 0) if isinstance(value, dict) else 0
    return value


CHECKS = [counters_count_each_write_once]
