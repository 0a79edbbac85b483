"""W1, W2, W3 of webhooks and H1, H2 of durable handlers: what other services and the application learn of events.

W1: each event is delivered to each endpoint, and nothing else is. W2: the deliveries of a session come to an endpoint
in order. W3: a delivery that comes again has the same id and body, and another one has another id. H1: each durable
handler has had its effect once for each event, and for nothing else. H2: in the order of the events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.faults.evidence import Evidence, Record, Violation

# Topic to which the durable handlers publish (tests/faults/subject/apps.py), and those that do.
HANDLED = "handled:all"
HANDLERS = ("write_down", "stumble")
# A handler that sometimes fails is tried again later than others.
IN_ORDER = "write_down"
CONFIRMED = frozenset({"ok", "late"})
MESSAGE = "message"


def count(records: list[Record]) -> dict[str, int]:
    """Count what the service was sent, by the names of the demands."""
    sent = [record for record in records if record["type"] == "delivery"]
    return {"deliveries": len(sent), "delivered_again": len(sent) - len({record["id"] for record in sent})}


def deliveries_are_of_events(evidence: Evidence) -> Iterator[Violation]:
    """W1: each event has a delivery for each endpoint, each that counts as sent was confirmed, and none is foreign."""
    endpoints = {record["endpoint"] for record in evidence.records if record["type"] == "endpoint"}
    known = {row["id"] for row in evidence.dump["deliveries"]}
    confirmed = {r["id"] for r in evidence.records if r["type"] == "delivery" and r["done"] in CONFIRMED}
    is_over = _is_given_up(evidence)
    for row in evidence.dump["deliveries"]:
        if row["id"] not in confirmed and (is_over or row["state"] != "waiting"):
            yield Violation(
                "W1", f"{row['event']} of {row['session']}, {row['state']}, was never confirmed: {row['id']}"
            )
    events = {(e["session"], e["seq"]): e["type"] for e in evidence.dump["events"] if e["type"] != MESSAGE}
    rows = Counter((row["session"], row["seq"], row["endpoint"], row["event"]) for row in evidence.dump["deliveries"])
    wanted = {(session, seq, one, type_) for (session, seq), type_ in events.items() for one in endpoints}
    for row in sorted(wanted - rows.keys()):
        yield Violation("W1", f"{row[3]} {row[1]} of {row[0]} has no delivery for endpoint {row[2]}")
    for row, times in rows.items():
        if row not in wanted or times > 1:
            yield Violation("W1", f"{row[3]} {row[1]} of {row[0]} has {times} deliveries for endpoint {row[2]}")
    for record in _list_deliveries(evidence):
        if record["id"] not in known:
            yield Violation("W1", f"{record['id']} was delivered, and no event is of it", (record["i"],))


def deliveries_come_in_order(evidence: Evidence) -> Iterator[Violation]:
    """W2: what an endpoint has not confirmed comes only after all that it should have confirmed before."""
    done: dict[tuple[str, str], int] = {}
    for record in _list_deliveries(evidence):
        place, sequence = (record["path"], record["body"]["session_id"]), record["body"]["sequence"]
        before = done.get(place, 0)
        if sequence > before + 1:
            text = f"{record['path']} is sent {sequence} of {place[1]}, and has confirmed {before}"
            yield Violation("W2", text, (record["i"],))
        if record["done"] in CONFIRMED:
            done[place] = max(before, sequence)


def deliveries_can_be_recognised(evidence: Evidence) -> Iterator[Violation]:
    """W3: one id for each place of a session and endpoint, one body for each id, and a signature on each."""
    ids: dict[Any, tuple[Any, Record]] = {}
    for record in _list_deliveries(evidence):
        body = record["body"]
        place = record["path"], body["session_id"], body["sequence"]
        for key, value in ((place, record["id"]), (record["id"], (place, record["digest"]))):
            first = ids.setdefault(key, (value, record))
            if first[0] != value:
                text = f"{key} was delivered as {first[0]}, and later as {value}"
                yield Violation("W3", text, (first[1]["i"], record["i"]))
        if body["id"] != record["id"] or not record["signed"]:
            yield Violation("W3", f"{record['id']} is not signed, or has another id in its body", (record["i"],))


def handlers_ran_once(evidence: Evidence) -> Iterator[Violation]:
    """H1: an event that waits for no handler has had each of them once."""
    effects = Counter((d["session"], d["seq"], d["type"], d["handler"]) for d in _list_handled(evidence))
    if not effects:
        return
    left = {(session, seq, handler.rpartition(".")[2]) for session, seq, handler in evidence.dump["runs"]}
    is_over = _is_given_up(evidence)
    wanted = set()
    for event in evidence.dump["events"]:
        for name in HANDLERS:
            mark = event["session"], event["seq"], event["type"], name
            wanted.add(mark)
            waits = not is_over and (event["pending"] or (event["session"], event["seq"], name) in left)
            if effects[mark] != 1 and not (waits and not effects[mark]):
                text = f"{name} has had its effect {effects[mark]} times for {mark[2]} {mark[1]} of {mark[0]}"
                yield Violation("H1", text)
    for mark in sorted(effects.keys() - wanted):
        yield Violation("H1", f"{mark[3]} has had its effect for {mark[2]} {mark[1]} of {mark[0]}, which is not there")


def handlers_ran_in_order(evidence: Evidence) -> Iterator[Violation]:
    """H2: of one session, where one server runs them and its database is never away."""
    is_alone = len({r["server"] for r in evidence.records if r["type"] == "serves"}) == 1
    if not is_alone or any(record["type"] == "outage" for record in evidence.records):
        return
    last: dict[str, int] = {}
    for data in _list_handled(evidence):
        session, seq = data["session"], data["seq"]
        if data["handler"] == IN_ORDER and seq <= last.get(session, 0):
            yield Violation("H2", f"{IN_ORDER} has handled {seq} of {session} after {last[session]}")
        if data["handler"] == IN_ORDER:
            last[session] = seq


def _is_given_up(evidence: Evidence) -> bool:
    """Return whether the run has waited in vain for what still waits."""
    return any(record["type"] == "told" and record["waits"] for record in evidence.records)


def _list_deliveries(evidence: Evidence) -> Iterator[Record]:
    return (record for record in evidence.records if record["type"] == "delivery")


def _list_handled(evidence: Evidence) -> list[Record]:
    stream = evidence.streams.get(HANDLED)
    return [publication["data"] for publication in stream["publications"]] if stream else []


CHECKS = [
    deliveries_are_of_events,
    deliveries_come_in_order,
    deliveries_can_be_recognised,
    handlers_ran_once,
    handlers_ran_in_order,
]
