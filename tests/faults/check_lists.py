"""T8, T4 and T5 of lists: what is shown at a place of the topic is what was told up to there, within the range of the
pages that were read; and in the end that is what the table holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.faults.evidence import Evidence, Record, Violation
from tests.faults.lists import LOG, TOPIC

Key = tuple[str, int]


def count(records: list[Record]) -> dict[str, int]:
    """Count what readers of lists have done, by the names of the demands."""
    return {"turns": sum(record["type"] == "page" and record["of"] != "first" for record in records)}


def lists_are_the_rows_of_their_range(evidence: Evidence) -> Iterator[Violation]:
    """T8: no row is missing, doubled or stale, in any page, nor in what is shown after any page and any entry."""
    shown = [record for record in evidence.records if record["type"] == "shows" and record["log"] == LOG]
    # Of its own: what a page has too much is in another one as well, and so is shown once.
    shown += [
        {**record, "place": record["position"][1], "whole": True}
        for record in evidence.records
        if record["type"] == "page" and record["exact"]
    ]
    told = iter(_list_told(evidence))
    ahead, rows = next(told, None), dict[int, str]()
    for record in sorted(shown, key=lambda one: one["place"]):
        while ahead is not None and ahead["offset"] <= record["place"]:
            _apply(rows, ahead["data"])
            ahead = next(told, None)
        if record["whole"]:
            yield from _compare(record, rows)
        elif record["last"]:
            yield Violation("T8", f"{record['p']} still waits for a page in the end", (record["i"],))


def _compare(record: Record, rows: dict[int, str]) -> Iterator[Violation]:
    wanted = [(pk, name) for name, pk in _order(rows, record) if _is_within((name, pk), record)]
    given: list[tuple[int, str]] = [(row["id"], row["name"]) for row in record["rows"]]
    if given == wanted:
        return
    known = Counter(pk for pk, _ in given)
    where = f"{record['p']} at {LOG}@{record['place']}{' in a page' if record['type'] == 'page' else ''}"
    if doubled := sorted(pk for pk, times in known.items() if times > 1):
        yield Violation("T8", f"{where} has {doubled} more than once", (record["i"],))
    if missing := sorted(pk for pk, _ in wanted if pk not in known):
        yield Violation("T8", f"{where} does not have {missing}", (record["i"],))
    if stale := sorted(pk for pk, name in given if (pk, name) not in wanted):
        yield Violation("T8", f"{where} has {stale}, which are not there, not so or of another page", (record["i"],))
    if sorted(given) == sorted(wanted):
        yield Violation("T8", f"{where} has rows in another order", (record["i"],))


def pages_are_exact(evidence: Evidence) -> Iterator[Violation]:
    """T8: every page says that all in it is of one moment."""
    for record in evidence.records:
        if record["type"] == "page" and not record["exact"]:
            yield Violation("T8", f"{record['p']} is given a page that is not exact", (record["i"],))


def the_table_is_what_was_told(evidence: Evidence) -> Iterator[Violation]:
    """T4, T5: in the end the changes that were told have made the rows that are there."""
    rows: dict[int, str] = {}
    for publication in _list_told(evidence):
        _apply(rows, publication["data"])
    held = {pk: name for pk, name in evidence.dump.get("rows", ())}
    if untold := sorted(pk for pk, name in held.items() if rows.get(pk) != name):
        yield Violation("T4", f"{TOPIC} has not told of {untold}")
    if invented := sorted(rows.keys() - held.keys()):
        yield Violation("T5", f"{TOPIC} tells of {invented}, which are not there")


def _list_told(evidence: Evidence) -> list[Record]:
    stream = evidence.streams.get(TOPIC)
    return stream["publications"] if stream else []


def _apply(rows: dict[int, str], body: Any) -> None:
    if body["op"] == "put":
        rows[body["row"]["id"]] = body["row"]["name"]
    else:
        rows.pop(int(body["pk"]), None)


def _order(rows: dict[int, str], record: Record) -> list[Key]:
    # The first ordering is the name's, the second always the primary key, forwards (PROTOCOL, "Live pages").
    by_pk = sorted((name, pk) for pk, name in rows.items())
    return sorted(by_pk, key=lambda key: key[0].encode(), reverse=record["descending"])


def _is_within(key: Key, record: Record) -> bool:
    # Names are unique, so that the primary key decides nothing.
    name, sign = key[0].encode(), -1 if record["descending"] else 1
    after, until = record["after"], record["until"]
    begins = after is None or _compare_bytes(name, after[0].encode()) * sign > 0
    return begins and (until is None or _compare_bytes(name, until[0].encode()) * sign <= 0)


def _compare_bytes(one: bytes, other: bytes) -> int:
    return (one > other) - (one < other)


CHECKS = [lists_are_the_rows_of_their_range, pages_are_exact, the_table_is_what_was_told]
