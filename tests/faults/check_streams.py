"""T1 to T8: topics, the session's own log, and what all logs have in common."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from tests.faults.evidence import OF_THE_SERVER, Evidence, Position, Record, Violation, Write, told_lost
from tests.faults.walk import follow

Place = tuple[str, str, int, bool]


def a_place_has_one_value(evidence: Evidence) -> Iterator[Violation]:
    """T1: (log, epoch, offset) means the same entry to the database, to each receipt and to each reader."""
    known = _held_places(evidence)
    for process, records in evidence.seen():
        for record in records:
            if record["type"] != "entries":
                continue
            frame = record["frame"]
            key = evidence.key_of(process, frame["log"])
            for offset, tag, body in frame["entries"]:
                lost = evidence.is_lost(key, offset, record["i"])
                place, value = (key, frame["epoch"], offset, lost), (tag, _essence(frame["log"], body))
                first, where = known.setdefault(place, (value, record["i"]))
                if first != value:
                    text = f"{place} is {first} and {value}"
                    yield Violation("T1", text, tuple(i for i in (where, record["i"]) if i is not None))


def _held_places(evidence: Evidence) -> dict[Place, tuple[Any, int | None]]:
    known: dict[Place, tuple[Any, int | None]] = {}
    for key, epoch, rows, _ in evidence.held():
        for offset, tag, body in rows:
            known[key, epoch, offset, False] = ((tag, _essence(key.rpartition("/")[2], body)), None)
    epochs = _timeline_epochs(evidence)
    for event in evidence.dump["events"]:
        epoch = epochs.get(event["session"], "")
        known[f"{event['session']}/session", epoch, event["seq"], False] = ((event["tag"], event["type"]), None)
    return known


def _timeline_epochs(evidence: Evidence) -> dict[str, str]:
    """Find each timeline's epoch: the first that clients are told, which must then stay (T7); the dump has none."""
    found: dict[str, str] = {}
    for record in evidence.records:
        if record["type"] == "connected":
            position = record["frame"]["logs"]["session"].get("position")
            found.setdefault(evidence.home(record["p"])["session"], str(position[0]) if position else "")
    return found


def _essence(log: str, body: Any) -> Any:
    """Reduce an entry to what must be equal: a document's operations, a session event's type, a publication's data."""
    if log.startswith("state:"):
        return body["ops"]
    return body["type"] if log == "session" else body


def logs_are_dense(evidence: Evidence) -> Iterator[Violation]:
    """T1: the offsets of a stream are 1 to its head, and so are those of a session's log."""
    for stream in evidence.dump["streams"]:
        offsets = [publication["offset"] for publication in stream["publications"]]
        if offsets != list(range(stream["oldest"], stream["head"] + 1)):
            yield Violation("T1", f"{stream['topic']}: offsets are not {stream['oldest']}..{stream['head']}")
    last: dict[str, int] = {}
    for event in evidence.dump["events"]:
        if event["session"] in last and event["seq"] != last[event["session"]] + 1:
            yield Violation("T1", f"{event['session']}: event {event['seq']} follows {last[event['session']]}")
        last[event["session"]] = event["seq"]


def clients_see_every_entry_once(evidence: Evidence) -> Iterator[Violation]:
    """T2, T3, T6, T7, T8: from each position the next entry, or a word about what is missing."""
    tags = _tags(evidence)
    for process, records in evidence.seen():
        for log in _logs_of(records):
            lost = partial(_is_of_lost_history, evidence, tags, evidence.key_of(process, log))
            for _, found in follow(process, log, records, lost):
                yield from found


def _tags(evidence: Evidence) -> dict[tuple[str, int], str]:
    """List the tag of each entry in the end, by log and offset."""
    found = {(key, offset): tag for key, _, rows, _ in evidence.held() for offset, tag, _ in rows}
    return found | {(f"{one['session']}/session", one["seq"]): one["tag"] for one in evidence.dump["events"]}


def _is_of_lost_history(
    evidence: Evidence, tags: dict[tuple[str, int], str], key: str, asked: Position, record: int
) -> bool:
    """Tell whether a client that comes back stands in what a restored backup has undone."""
    restore = evidence.restore
    if restore is None or record < restore.back or asked[1] <= restore.heads.get(key, 0):
        return False
    return tags.get((key, asked[1])) != asked[2]


def _logs_of(records: list[Record]) -> list[str]:
    return sorted({log for record in records if record["type"] == "connected" for log in record["asked"]})


def no_value_comes_twice(evidence: Evidence) -> Iterator[Violation]:
    """T3: no reader sees the same publication at two offsets."""
    for process, records in evidence.seen():
        met: dict[Any, tuple[int, int]] = {}
        for record in records:
            frame = record.get("frame") or {}
            if any(log.startswith("topic:") for log in told_lost(record)):
                met.clear()
            if record["type"] != "entries" or not frame["log"].startswith("topic:"):
                continue
            for offset, _, body in () if _is_of_the_server(frame["log"]) else frame["entries"]:
                before, where = met.setdefault(body.get("v"), (offset, record["i"]))
                if before != offset:
                    text = f"{process} sees {body.get('v')} at {before} and at {offset}"
                    yield Violation("T3", text, (where, record["i"]))


def _is_of_the_server(log: str) -> bool:
    return log.removeprefix("topic:").startswith(OF_THE_SERVER)


def acknowledged_publications_are_there(evidence: Evidence) -> Iterator[Violation]:
    """T4: what was acknowledged is in the stream; a handled message has published; nothing waits in the outbox."""
    placed = {
        publication["data"].get("v"): (stream, publication)
        for stream in evidence.topics
        for publication in stream["publications"]
    }
    for write in _publishing(evidence):
        if write.ok is None or evidence.is_undone(write):
            continue
        if write.value not in placed:
            yield Violation("T4", f"{write.op} was acknowledged and is nowhere", (write.ok["i"],))
        elif write.kind == "publish":
            stream, publication = placed[write.value]
            there = [stream["epoch"], publication["offset"], publication["tag"]]
            if there != write.ok["receipt"]["position"]:
                told = write.ok["receipt"]["position"]
                yield Violation("T4", f"{write.op} is at {there}, the receipt says {told}", (write.ok["i"],))
    if evidence.dump["pending"]:
        yield Violation("T4", f"{evidence.dump['pending']} publications were never carried out")


def writes_keep_the_order_of_their_client(evidence: Evidence) -> Iterator[Violation]:
    """T2: what one client has written stands in each log in the order of its numbers; what its messages have caused
    does so, too, among itself.
    """
    newest: dict[tuple[str, str, str], Write] = {}
    for log, write in _list_placed(evidence):
        way = log, write.client, "send" if write.kind == "send" else "own"
        before = newest.setdefault(way, write)
        if before.seq > write.seq:
            text = f"{write.op} (number {write.seq}) is in {log} after {before.op} (number {before.seq})"
            yield Violation("T2", text, (before.invoked, write.invoked))
        newest[way] = write


def _list_placed(evidence: Evidence) -> Iterator[tuple[str, Write]]:
    """List the writes that are in logs, by log, in the order of their places."""
    for stream in evidence.topics:
        for publication in stream["publications"]:
            if write := evidence.writes.get(publication["data"].get("v")):
                yield f"topic:{stream['topic']}", write
    for (session, name), revisions in evidence.revisions():
        for revision in revisions:
            # A takeover may have given a number twice; which write this is, other checks find out.
            if len(writes := evidence.by_number.get((revision["client"], revision["seq"]), [])) == 1:
                yield f"{session}/state:{name}", writes[0]


def readers_reach_the_end(evidence: Evidence) -> Iterator[Violation]:
    """T4: in the end each client has been given everything up to the head."""
    for process, records in evidence.seen():
        if evidence.home(process).get("passing"):
            continue
        for log in _logs_of(records):
            head = _head(evidence, process, log)
            last = None
            for walk, _ in follow(process, log, records):
                last = walk
            reached = last.position[1] if last and last.position else 0
            if head is not None and reached < head:
                yield Violation("T4", f"{process} is at {reached} of {head} in {log}", (records[-1]["i"],))


def _head(evidence: Evidence, process: str, log: str) -> int | None:
    if log.startswith("topic:"):
        stream = evidence.streams.get(log.removeprefix("topic:"))
        return stream["head"] if stream else None
    session = evidence.home(process)["session"]
    document = evidence.documents.get((session, log.removeprefix("state:")))
    return document["version"] if document else None


def nothing_refused_is_published(evidence: Evidence) -> Iterator[Violation]:
    """T5, S2: each publication was sent by somebody, to this topic, and not refused."""
    for stream in evidence.topics:
        for publication in stream["publications"]:
            write = evidence.writes.get(publication["data"].get("v"))
            where = f"{stream['topic']}@{publication['offset']}"
            if write is None or write.log != f"topic:{stream['topic']}":
                yield Violation("T5", f"{where}: nobody published {publication['data']}")
            elif write.refusal is not None:
                yield Violation("T5", f"{where}: {write.op} was refused", (write.refusal["i"],))


def epochs_stay(evidence: Evidence) -> Iterator[Violation]:
    """T7: no log of this test ever loses history, so each keeps its epoch."""
    epochs: dict[str, tuple[str, int | None]] = {key: (epoch, None) for key, epoch, _, _ in evidence.held()}
    for process, records in evidence.seen():
        for record in records:
            for log, epoch in _epochs(record):
                key = evidence.key_of(process, log)
                first, where = epochs.setdefault(key, (epoch, record["i"]))
                if first != epoch:
                    numbers = tuple(i for i in (where, record["i"]) if i is not None)
                    yield Violation("T7", f"{key} has the epochs {first} and {epoch}", numbers)


def _epochs(record: Record) -> Iterator[tuple[str, str]]:
    frame = record.get("frame") or {}
    if record["type"] == "entries":
        yield frame["log"], frame["epoch"]
    elif record["type"] in {"snapshot", "gap"}:
        yield frame["log"], frame["position"][0]
    elif record["type"] == "connected":
        for log, verdict in frame["logs"].items():
            if verdict.get("position"):
                yield log, verdict["position"][0]


def _publishing(evidence: Evidence) -> Iterator[Write]:
    return (write for write in evidence.writes.values() if write.kind in {"publish", "send"})


CHECKS = [
    a_place_has_one_value,
    logs_are_dense,
    clients_see_every_entry_once,
    no_value_comes_twice,
    acknowledged_publications_are_there,
    writes_keep_the_order_of_their_client,
    readers_reach_the_end,
    nothing_refused_is_published,
    epochs_stay,
]
