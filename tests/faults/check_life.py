"""L4, R6 and R7: who may write, what a refusal is called, and what the servers' logs say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.faults.evidence import Evidence, Record, Violation, Write

DOCS = Path(__file__).resolve().parents[2] / "docs"
ALARMS = ("Traceback (most recent call last)", "never retrieved", "was never awaited")


def only_the_newest_attachment_writes(evidence: Evidence) -> Iterator[Violation]:
    """L4: what is sent on a connection after a newer one of the same client was answered has no effect."""
    newest: dict[str, list[tuple[int, int]]] = {}
    for record in evidence.records:
        if record["type"] == "connected":
            newest.setdefault(record["client"], []).append((record["i"], record["gen"]))
    effects = _effects(evidence)
    for write in evidence.writes.values():
        later = _first_newer(write, newest.get(write.client, []))
        if later is None:
            continue
        if write.ok is not None:
            yield Violation(
                "L4", f"{write.op} was accepted under an old generation", (later, write.invoked, write.ok["i"])
            )
        elif write.op in effects:
            yield Violation(
                "L4", f"{write.op}, written under an old generation, is {effects[write.op]}", (later, write.invoked)
            )


def _first_newer(write: Write, connections: list[tuple[int, int]]) -> int | None:
    """Find the connection that had replaced this write's before each sending; None if one sending was in order."""
    found = None
    for sent, generation in write.sent:
        found = next((i for i, newer in connections if i < sent and newer > generation), None)
        if found is None:
            return None
    return found


def _effects(evidence: Evidence) -> dict[str, str]:
    """Find each label's places in the database."""
    found: dict[str, str] = {}
    for name, document in evidence.documents.items():
        for revision in document["revisions"]:
            for op in revision["ops"]:
                if op[0] == "set" and isinstance(op[2], str):
                    found[op[2]] = f"{name}@{revision['version']}"
    for stream in evidence.dump["streams"]:
        for publication in stream["publications"]:
            found[publication["data"].get("v")] = f"{stream['topic']}@{publication['offset']}"
    return found


def generations_rise(evidence: Evidence) -> Iterator[Violation]:
    """L4: each connection of a client has a higher number than the one before."""
    last: dict[str, Record] = {}
    for record in evidence.records:
        if record["type"] != "connected":
            continue
        before = last.get(record["client"])
        if before and record["gen"] <= before["gen"]:
            text = f"{record['client']}: generation {record['gen']} after {before['gen']}"
            yield Violation("L4", text, (before["i"], record["i"]))
        last[record["client"]] = record


def refusals_have_documented_names(evidence: Evidence, documented: frozenset[str]) -> Iterator[Violation]:
    """R6: each error, refusal and goodbye has a name that the documentation lists."""
    told: set[str] = set()
    for record in evidence.records:
        for name in _names(record):
            if name not in documented and name not in told:
                told.add(name)
                yield Violation("R6", f"{name!r} is in no table of the documentation", (record["i"],))


def _names(record: Record) -> Iterator[str]:
    if record["type"] in {"fail", "temporary"}:
        yield str(record["receipt"]["error"].get("name"))
    elif record["type"] in {"error", "bye"}:
        yield str(record["frame"].get("name"))


def logs_are_quiet(lines: Iterable[str]) -> Iterator[Violation]:
    """R7: no traceback and no forgotten exception, whatever was killed."""
    listed = list(lines)
    for number, line in enumerate(listed):
        if any(alarm in line for alarm in ALARMS):
            end = next((text for text in listed[number + 1 :] if text and not text.startswith(" ")), "")
            yield Violation("R7", f"log line {number + 1}: {line.strip()} {end.strip()[:200]}")


def documented_names() -> frozenset[str]:
    """Every word in code type on the two pages that list codes."""
    text = (DOCS / "PROTOCOL.md").read_text() + (DOCS / "reference" / "errors.md").read_text()
    return frozenset(re.findall(r"`([a-z_]+)`", text))


CHECKS = [only_the_newest_attachment_writes, generations_rise]
