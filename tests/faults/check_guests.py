"""T1, T2, T4 and P1, P2 of guests: a part is the whole log filtered, a page of the past has no hole, and who is told to
be there wanted to be.

P1: presence tells of nobody who did not turn round, and each entry follows from those before it. P2: in the end those
are there who wanted to be, and nobody else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.faults.evidence import Evidence, Record, Violation

VISITS = "presence:visits:1"


def count(records: list[Record]) -> dict[str, int]:
    """Count what guests have done, by the names of the demands."""
    kinds = Counter(record["type"] for record in records)
    parts = sum(r["type"] == "entries" and "prev" in r["frame"] and bool(r["frame"]["entries"]) for r in records)
    return {"turned": kinds["turned"], "pages": kinds["past"], "parts": parts, "looks": kinds["members"]}


def parts_are_the_log_filtered(evidence: Evidence) -> Iterator[Violation]:
    """T2, T1: a frame of a part has exactly the entries of its range that its filter wants."""
    for process, records in evidence.seen():
        filters = evidence.home(process).get("filter", {})
        for record in records:
            frame = record.get("frame") or {}
            if record["type"] != "entries" or frame["log"] not in filters:
                continue
            if "prev" not in frame:
                yield Violation("T2", f"{process} is given all of {frame['log']} and not its part", (record["i"],))
                continue
            range_ = _find_rows(evidence, frame["log"], frame["prev"] + 1, frame["position"][1])
            wanted = [row[0] for row in range_ if _is_wanted(row[2], filters[frame["log"]])]
            given = [offset for offset, *_ in frame["entries"]]
            if missing := sorted(set(wanted) - set(given)):
                yield Violation("T2", f"{process} is not given {missing} of its part", (record["i"],))
            if foreign := sorted(set(given) - set(wanted)):
                yield Violation("T1", f"{process} is given {foreign}, which are not of its part", (record["i"],))


def pages_have_no_hole(evidence: Evidence) -> Iterator[Violation]:
    """T1, T2, T4: a page of the past is a run of entries, as the log holds them, up to where it was asked for."""
    heads = _Heads(evidence)
    for record in evidence.records:
        if record["type"] != "past":
            continue
        entries, log, before = record["frame"]["entries"], record["log"], record["before"]
        offsets = [entry[0] for entry in entries]
        first, last = (offsets[0], offsets[-1]) if offsets else (1, 0)
        if offsets and offsets != list(range(first, last + 1)):
            yield Violation("T2", f"{record['p']} reads {offsets} as a page of {log}", (record["i"],))
            continue
        held = _find_rows(evidence, log, first, last)
        if held != [entry[:3] for entry in entries]:
            yield Violation("T1", f"{record['p']} reads a page of {log} that is not its log's", (record["i"],))
        wanted = max(0, before[1] - 1) if before else heads.find(log, record["asked"])
        if last < wanted or (before and last > wanted):
            text = f"{record['p']} reads a page of {log} up to {last}, and not to {wanted}"
            yield Violation("T4", text, (record["asked"], record["i"]))
        if record["frame"]["more"] != (first > 1):
            yield Violation("T2", f"{record['p']} is told wrongly whether {log} has more", (record["i"],))


class _Heads:
    """How far each topic had come, by the answers that clients had until then."""

    def __init__(self, evidence: Evidence) -> None:
        self._told: dict[str, list[tuple[int, int]]] = {}
        for write in evidence.writes.values():
            if write.kind == "publish" and write.ok is not None:
                place = write.ok["i"], write.ok["receipt"]["position"][1]
                self._told.setdefault(write.log, []).append(place)

    def find(self, log: str, record: int) -> int:
        return max((offset for at, offset in self._told.get(log, ()) if at < record), default=0)


def presence_follows_from_turns(evidence: Evidence) -> Iterator[Violation]:
    """P1 and P2, by folding the log of presence as a client does."""
    stream = evidence.streams.get(VISITS)
    members = {record["member"]: record["p"] for record in evidence.records if record.get("member")}
    turns = Counter((record["p"], record["wish"]) for record in evidence.records if record["type"] == "turn")
    there: set[str] = set()
    told: Counter[tuple[str, bool]] = Counter()
    for publication in stream["publications"] if stream else ():
        joined, left = set(publication["data"]["joined"]), set(publication["data"]["left"])
        where = f"{VISITS}@{publication['offset']}"
        if (twice := joined & there) or (gone := left - there):
            yield Violation("P1", f"{where}: {sorted(twice or gone)} came or went a second time")
        there = (there | joined) - left
        if publication["data"]["count"] != len(there):
            yield Violation("P1", f"{where}: tells {publication['data']['count']} members, and not {len(there)}")
        told.update([(member, True) for member in joined] + [(member, False) for member in left])
    for (member, wish), times in told.items():
        process = members.get(member, "nobody")
        # A guest wants to be there at first.
        if times > turns[process, wish] + wish:
            yield Violation(
                "P1", f"{process} is told to have {'come' if wish else 'gone'} {times} times, and turned less"
            )
    yield from _compare_ends(evidence, members, there)


def members_are_the_log_folded(evidence: Evidence) -> Iterator[Violation]:
    """P1: who reads the members is told those of whom the log has told up to the place of the answer, which is not
    before the place that the reader knew.
    """
    there: set[str] = set()
    folded = {0: there}
    for publication in evidence.streams.get(VISITS, {"publications": []})["publications"]:
        there = (there | publication["data"]["joined"].keys()) - {*publication["data"]["left"]}
        folded[publication["offset"]] = there
    for record in evidence.records:
        if record["type"] != "members":
            continue
        place, members = record["frame"]["position"][1], set(record["frame"]["members"])
        if place < record["known"]:
            text = f"{record['p']} is told who was there at {place} of {VISITS}, and knows it up to {record['known']}"
            yield Violation("P1", text, (record["i"],))
        if members != folded.get(place) or record["frame"]["count"] != len(members):
            text = f"{record['p']} reads {sorted(members)} at {place} of {VISITS}, and not {folded.get(place)}"
            yield Violation("P1", text, (record["i"],))


def _compare_ends(evidence: Evidence, members: dict[str, str], there: set[str]) -> Iterator[Violation]:
    last = {r["p"]: r for r in evidence.records if r["type"] in {"turn", "turned"}}
    for member, process in members.items():
        turned = last[process]
        if turned["type"] == "turned" and turned["wish"] != (member in there):
            text = f"{process} {'is not' if turned['wish'] else 'is'} there in the end"
            yield Violation("P2", text, (turned["i"],))
    for member in sorted(there - members.keys()):
        yield Violation("P2", f"{member} is there in the end, and is nobody")


def _find_rows(evidence: Evidence, log: str, first: int, last: int) -> list[list[Any]]:
    stream = evidence.streams.get(log.removeprefix("topic:"))
    if stream is None:
        return []
    found = stream["publications"][max(0, first - stream["oldest"]) : max(0, last - stream["oldest"] + 1)]
    return [[publication["offset"], publication["tag"], publication["data"]] for publication in found]


def _is_wanted(body: Any, wanted: Record) -> bool:
    return all(body.get(key) == value for key, value in wanted.items())


CHECKS = [
    parts_are_the_log_filtered,
    pages_have_no_hole,
    presence_follows_from_turns,
    members_are_the_log_folded,
]
