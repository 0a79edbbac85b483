"""L4, R1 and R5: attachments that the server made together stay each on its own, and nobody waits too long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.faults.evidence import SECOND_LIFE, Evidence, Record, Violation

ATTACHED = frozenset({"connection_established", "connection_restored"})


def a_refusal_hits_only_its_own(evidence: Evidence) -> Iterator[Violation]:
    """R5: who must be refused is refused by that name, and nobody beside it is sent away for good."""
    met: set[str] = set()
    for record in evidence.records:
        home = evidence.homes.get(record["p"])
        if home is None:
            continue
        wanted = home.get("refused")
        if record["type"] == "connected" and wanted:
            yield Violation("R5", f"{record['p']} was let in, and not refused by {wanted}", (record["i"],))
        elif record["type"] == "bye" and not record["frame"].get("reconnect", True):
            name = record["frame"]["name"]
            met.add(record["p"])
            # A replaced connection is no refusal: its own client came again.
            if name not in {wanted, "replaced"}:
                text = f"{record['p']} was refused by {name}, and not {'by ' + wanted if wanted else 'at all'}"
                yield Violation("R5", text, (record["i"],))
    for process, home in evidence.homes.items():
        if home.get("refused") and process not in met:
            yield Violation("R5", f"{process} was never told {home['refused']}", (home["i"],))


def an_attachment_is_whole(evidence: Evidence) -> Iterator[Violation]:
    """L4: each answered one has its row, each row its event, and only the newest of a client is open."""
    rows: dict[str, dict[int, Record]] = {}
    for row in evidence.dump["connections"]:
        rows.setdefault(row["client"], {})[row["generation"]] = row
    for record in _answered(evidence):
        # After a restored backup the server counts generations from where the backup stood.
        if record["gen"] % SECOND_LIFE not in rows.get(record["client"], {}):
            text = f"{record['client']}: there is no row of generation {record['gen']}, which was answered"
            yield Violation("L4", text, (record["i"],))
    for client, found in rows.items():
        open_ = sorted(generation for generation, row in found.items() if row["open"])
        if open_ not in ([], [max(found)]):
            yield Violation("L4", f"{client}: generations {open_} of {max(found)} are open")
    counted = Counter(row["session"] for row in evidence.dump["connections"])
    told = Counter(event["session"] for event in evidence.dump["events"] if event["type"] in ATTACHED)
    for session in counted.keys() | told.keys():
        if counted[session] != told[session]:
            text = f"{session}: {counted[session]} connections, of which the timeline tells {told[session]}"
            yield Violation("L4", text)


def _answered(evidence: Evidence) -> Iterator[Record]:
    """List the attachments that must be in the dump; a restored backup took earlier ones away."""
    back = evidence.restore.back if evidence.restore else -1
    return (record for record in evidence.records if record["type"] == "connected" and record["i"] > back)


def nobody_waits_too_long(evidence: Evidence) -> Iterator[Violation]:
    """R1: after a storm everybody stands where its topic stood, within the time that was promised."""
    storm = next((record for record in evidence.records if record["type"] == "storm"), None)
    if storm is None:
        return
    begun = max([storm, *(r for r in evidence.records if r["type"] == "ready" and r["i"] > storm["i"])], key=_number)
    waiting = set(storm["clients"])
    for record in evidence.records[storm["i"] :]:
        if record["p"] in waiting and _has_reached(record, storm["log"], storm["head"]):
            waiting.discard(record["p"])
            seconds = (record["t"] - begun["t"]) / 1e9
            if seconds > storm["bound"]:
                text = f"{record['p']} waited {seconds:.1f} s, and not {storm['bound']:.0f} s at most"
                yield Violation("R1", text, (begun["i"], record["i"]))
    for process in sorted(waiting):
        yield Violation("R1", f"{process} never came back to where it belongs", (storm["i"],))


def _number(record: Record) -> int:
    return int(record["i"])


def _has_reached(record: Record, log: str, head: int) -> bool:
    frame = record.get("frame") or {}
    if record["type"] == "connected":
        verdict = frame["logs"].get(log, {})
        return verdict.get("mode") != "entries" and (verdict.get("position") or [0, 0])[1] >= head
    if record["type"] == "entries":
        return bool(frame["log"] == log and frame["entries"][-1][0] >= head)
    return record["type"] == "gap" and frame["log"] == log and frame["position"][1] >= head


CHECKS = [a_refusal_hits_only_its_own, an_attachment_is_whole, nobody_waits_too_long]
