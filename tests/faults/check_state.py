"""S1 to S6: documents and numbered writes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from tests.faults.evidence import Base, Evidence, Record, Violation, Write, strip, told_lost
from tests.faults.operations import advance, digest_value, touch


def versions_are_dense(evidence: Evidence) -> Iterator[Violation]:
    """S3: 1 to n without gap or repeat, and the head is the last of them."""
    for name, document in evidence.documents.items():
        numbers = [revision["version"] for revision in document["revisions"]]
        if numbers != list(range(document["oldest"], document["version"] + 1)):
            yield Violation("S3", f"{name}: revisions are not {document['oldest']}..{document['version']}")
        last = document["revisions"][-1]["tag"] if document["revisions"] else ""
        if last != document["tag"]:
            yield Violation("S3", f"{name}: the head's tag {document['tag']} is not the last revision's {last}")


def versions_follow_time(evidence: Evidence) -> Iterator[Violation]:
    """S3: a version acknowledged before another update was made is the lower one."""
    highest: dict[str, tuple[int, int]] = {}
    floor: dict[str, tuple[int, int]] = {}
    for record in evidence.records:
        if record["type"] == "restore":
            highest, floor = {}, {}
        write = evidence.writes.get(record.get("op", ""))
        if write is None or write.kind != "update":
            continue
        log = evidence.key_of(write.process, write.log)
        if record["type"] == "invoke" and log in highest:
            floor[write.op] = highest[log]
        elif record["type"] == "ok" and _made_version(record["receipt"]):
            version = record["receipt"]["position"][1]
            if version <= floor.get(write.op, (0, 0))[0]:
                known, where = floor[write.op]
                yield Violation(
                    "S3", f"{write.op} got version {version} after {known} was acknowledged", (where, record["i"])
                )
            highest[log] = max(highest.get(log, (0, 0)), (version, record["i"]))


def _made_version(receipt: Record) -> bool:
    return not receipt.get("unchanged") and not receipt.get("replayed")


def acknowledged_updates_are_there(evidence: Evidence) -> Iterator[Violation]:
    """S1: the version that the receipt names holds this client's write under this number, unless it was trimmed and
    nobody had seen it: then the counters must tell (`check_counts`).
    """
    for write in _updates(evidence):
        answer = write.ok
        if answer is None or answer["receipt"].get("unchanged") or evidence.is_undone(write):
            continue
        epoch, version, tag = answer["receipt"]["position"]
        document, revision = _revision(evidence, write, version)
        if revision is None and document is not None and version < document["oldest"]:
            continue
        if revision is None or document is None or document["epoch"] != epoch:
            yield Violation("S1", f"{write.op}: acknowledged version {version} is not in the database", (answer["i"],))
        elif (revision["client"], revision["seq"]) != (write.client, write.seq):
            yield Violation("S1", f"{write.op}: version {version} belongs to somebody else", (answer["i"],))
        elif revision["tag"] != tag:
            yield Violation(
                "S1", f"{write.op}: version {version} has the tag {revision['tag']}, not {tag}", (answer["i"],)
            )


def nothing_unsent_appears(evidence: Evidence) -> Iterator[Violation]:
    """S2: each revision is a write that was sent and not refused, with no operation that was not in it."""
    for name, revisions in evidence.revisions():
        for revision in revisions:
            writes = evidence.by_number.get((revision["client"], revision["seq"]), [])
            where = f"{name}@{revision['version']}"
            fitting = [write for write in writes if _is_part(revision["ops"], write)]
            if not fitting:
                yield Violation("S2", f"{where}: nobody sent this", tuple(write.invoked for write in writes))
            refused = [write for write in fitting if write.refusal is not None]
            # A replaced connection's write has the same number, and what is left of the two may look the same.
            if refused and refused == fitting:
                numbers = tuple(write.refusal["i"] for write in refused if write.refusal)
                yield Violation("S2", f"{where}: {refused[0].op} was refused", numbers)


def _is_part(ops: list[Any], write: Write) -> bool:
    if write.kind != "update":
        return False
    rest = iter(write.frame["ops"])
    return all(any(op == sent for sent in rest) for op in ops)


def nobody_overwrites_unseen(evidence: Evidence) -> Iterator[Violation]:
    """S4: of two updates from one base that touch the same path, the later one drops the operation or is refused."""
    for name, revisions in evidence.revisions():
        by_version = {revision["version"]: revision for revision in revisions}
        for revision in revisions:
            for write in evidence.by_number.get((revision["client"], revision["seq"]), []):
                if not write.bases or not _is_part(revision["ops"], write):
                    continue
                seen = _seen(evidence, name, write, revision["version"])
                known = _known(write)
                for version in range(seen + 1, revision["version"]):
                    other = by_version.get(version)
                    later = [by_version[n] for n in range(version, revision["version"]) if n in by_version]
                    if other and other["client"] != revision["client"] and _clash(revision, later, known):
                        text = f"{name}: {write.op} on base {seen} became {revision['version']} over {version}"
                        text += f" ({revision['ops']} over {other['ops']}; sent as {write.bases})"
                        yield Violation("S4", text, (write.invoked,))


def no_base_of_a_lost_history_is_taken(evidence: Evidence) -> Iterator[Violation]:
    """S4: a version that a restored backup undid is refused as a base; only digests tell what its client had seen."""
    for write in _updates(evidence):
        base = _deciding_base(evidence, write)
        past = evidence.past.get((write.session, write.frame["doc"]), {})
        if write.ok is not None and base is not None and base.digests is None and not _is_of(past, base):
            text = f"{write.op} was accepted on base {base.version} with the tag {base.tag} of a lost history"
            yield Violation("S4", text, (base.sent, write.ok["i"]))


def _deciding_base(evidence: Evidence, write: Write) -> Base | None:
    """Find the base of the sending that was accepted after the restore: a connection answers in the order of sending,
    and a call before the next one is sent.

    None where that cannot be told: the first answer was lost, and this one is a repeated one.
    """
    ok, restore = write.ok, evidence.restore
    if ok is None or restore is None or ok["i"] < restore.back or ok["receipt"].get("replayed"):
        return None
    sent = [number for number, generation in write.sent if generation == ok["gen"]]
    answers = [answer["i"] for answer in write.answers if answer["gen"] == ok["gen"]]
    by_calls = evidence.is_by_calls(write.client, ok["gen"])
    deciding = max(number for number in sent if number < ok["i"]) if by_calls else sent[answers.index(ok["i"])]
    return next((base for base in write.bases if base.sent == deciding), None)


def _seen(evidence: Evidence, name: tuple[str, str], write: Write, version: int) -> int:
    """Return the base that its client had seen; for a write by digests the oldest, as later ones prove nothing.

    A version that a restored backup undid is no base: of it the client had seen what the backup holds, and no more.
    """
    restore, bases = evidence.restore, write.bases
    if restore is None:
        seen = [base.version for base in bases]
    else:
        head = restore.heads.get(f"{name[0]}/state:{name[1]}", 0)
        later = [base for base in bases if (base.sent > restore.back) == (version > head)]
        past = evidence.past[name]
        seen = [base.version if _is_of(past, base) else min(head, base.version) for base in later]
    return min(seen, default=0) if write.by_digests else max(seen, default=0)


def _is_of(past: dict[int, Record], base: Base) -> bool:
    return base.version == 0 or (base.version in past and past[base.version]["tag"] == base.tag)


def _known(write: Write) -> set[tuple[str, str | None]]:
    """List the values, by path and digest, that a write by digests says it replaces: its client had seen them.

    After a restored backup one write may come again under its label, and so be both in the lost history and in this.
    """
    return {pair for base in write.bases for pair in (base.digests or {}).items()}


def _clash(mine: Record, later: list[Record], known: set[tuple[str, str | None]]) -> bool:
    """Tell whether a revision touches the first of the ``later`` ones, which its client had not seen.

    What stood there before a value that the client knew is no concern of it: it replaced just that value.
    """
    replaced = {
        op[1] for other in later for op in other["ops"] if op[0] == "set" and (op[1], digest_value(op[2])) in known
    }
    return any(
        touch(one, other) and one[1] not in replaced and other[1] not in replaced
        for one in mine["ops"]
        for other in later[0]["ops"]
    )


def versions_never_go_back(evidence: Evidence) -> Iterator[Violation]:
    """S5: what one client is given of a document only moves forward."""
    for process, records in evidence.seen():
        highest: dict[str, tuple[str, int, int]] = {}
        for record in records:
            for log in told_lost(record):
                highest.pop(log, None)
            for log, epoch, offset in _shown(record):
                known = highest.get(log)
                if log.startswith("state:") and known and known[0] == epoch and offset < known[1]:
                    yield Violation("S5", f"{process}: {log} went from {known[1]} to {offset}", (known[2], record["i"]))
                highest[log] = (epoch, offset, record["i"])


def _shown(record: Record) -> Iterator[tuple[str, str, int]]:
    frame = record.get("frame") or {}
    if record["type"] == "entries" and frame["entries"]:
        yield frame["log"], frame["epoch"], frame["entries"][0][0]
        yield frame["log"], frame["epoch"], frame["entries"][-1][0]
    elif record["type"] == "snapshot":
        yield frame["log"], frame["position"][0], frame["position"][1]
    elif record["type"] == "connected":
        for log, verdict in frame["logs"].items():
            if verdict["mode"] == "up_to_date":
                yield log, verdict["position"][0], verdict["position"][1]


def a_retry_gets_the_same_answer(evidence: Evidence) -> Iterator[Violation]:
    """S6: all final answers to one write are equal but for the mark `replayed`."""
    for write in evidence.writes.values():
        final = [answer for answer in write.answers if answer["type"] in {"ok", "fail"}]
        for answer in final[1:]:
            if strip(answer["receipt"]) != strip(final[0]["receipt"]):
                yield Violation("S6", f"{write.op} was answered in two ways", (final[0]["i"], answer["i"]))


def a_write_has_one_effect(evidence: Evidence) -> Iterator[Violation]:
    """S6: one number of a client makes at most one version, and one label at most one publication."""
    made: dict[tuple[str, int], str] = {}
    for name, revisions in evidence.revisions():
        for revision in revisions:
            key, here = (revision["client"], revision["seq"]), f"{name}@{revision['version']}"
            if key in made and revision["seq"] is not None:
                where = tuple(write.invoked for write in evidence.by_number.get(key, []))
                yield Violation("S6", f"{key} made {made[key]} and {here}", where)
            made[key] = here
    labels: dict[Any, int] = {}
    for stream in evidence.topics:
        for publication in stream["publications"]:
            label = publication["data"].get("v")
            write = evidence.writes.get(label)
            if label in labels:
                text = f"{label} is at {labels[label]} and {publication['offset']} of {stream['topic']}"
                yield Violation("S6", text, (write.invoked,) if write else ())
            labels[label] = publication["offset"]


def what_was_dropped_is_told(evidence: Evidence) -> Iterator[Violation]:
    """S6: an operation that did not take effect is named in the receipt."""
    for write in _updates(evidence):
        if write.ok is None or evidence.is_undone(write):
            continue
        receipt = write.ok["receipt"]
        _, revision = _revision(evidence, write, receipt["position"][1])
        applied = [] if receipt.get("unchanged") or revision is None else revision["ops"]
        missing = {op[1] for op in write.frame["ops"] if op not in applied} - not_applied(receipt)
        if missing and revision is not None:
            yield Violation("S6", f"{write.op}: {sorted(missing)} dropped without a word", (write.ok["i"],))


def not_applied(receipt: Record) -> set[str]:
    """List the paths that an answer says did not take effect."""
    return {*receipt.get("dropped", ()), *(found["path"] for found in receipt.get("conflicts", ()))}


def snapshots_are_the_sum_of_the_log(evidence: Evidence) -> Iterator[Violation]:
    """T8, S2: a snapshot at version n is what versions 1 to n make of an empty document."""
    for key, records in snapshots(evidence).items():
        yield from _compare(key, evidence.documents.get(key), Sum(evidence.past.get(key, {})), records)


def snapshots(evidence: Evidence) -> dict[tuple[str, str], list[Record]]:
    """By document, the snapshots that clients were given, in the order of their versions."""
    found: dict[tuple[str, str], list[Record]] = {}
    for process, records in evidence.seen():
        for record in records:
            if record["type"] == "snapshot" and "data" in record["frame"]:
                log, offset = record["frame"]["log"], record["frame"]["position"][1]
                if not evidence.is_lost(evidence.key_of(process, log), offset, record["i"]):
                    session = evidence.home(process)["session"]
                    found.setdefault((session, log.removeprefix("state:")), []).append(record)
    return {key: sorted(records, key=lambda one: one["frame"]["position"][1]) for key, records in found.items()}


class Sum:
    """Document added up from its known past; where that has a hole, from the next snapshot on."""

    def __init__(self, past: dict[int, Record]) -> None:
        self._past = past
        self.version = 0
        self._holder: Record = {"": {}}

    @property
    def value(self) -> Any:
        return self._holder[""]

    def reach(self, version: int) -> bool:
        while self.version < version:
            if self.version + 1 not in self._past:
                return False
            self.version += 1
            advance(self._holder, self._past[self.version]["ops"])
        return True

    def start_at(self, version: int, value: Any) -> None:
        self.version, self._holder = version, {"": copy.deepcopy(value)}


def _compare(key: tuple[str, str], document: Record | None, added: Sum, records: list[Record]) -> Iterator[Violation]:
    head = document["version"] if document else 0
    for record in records:
        version, data = record["frame"]["position"][1], record["frame"]["data"]
        if version > head:
            yield Violation("S2", f"{key}: snapshot of version {version}, which does not exist", (record["i"],))
        elif not added.reach(version):
            added.start_at(version, data)
        elif added.value != data:
            yield Violation("T8", f"{key}: the snapshot of {version} is not what its log adds up to", (record["i"],))


def _updates(evidence: Evidence) -> Iterator[Write]:
    return (write for write in evidence.writes.values() if write.kind == "update")


def _revision(evidence: Evidence, write: Write, version: int) -> tuple[Record | None, Record | None]:
    document = evidence.documents.get((write.session, write.frame["doc"]))
    if document is None:
        return None, None
    return document, evidence.past[write.session, write.frame["doc"]].get(version)


CHECKS = [
    versions_are_dense,
    versions_follow_time,
    acknowledged_updates_are_there,
    nothing_unsent_appears,
    nobody_overwrites_unseen,
    no_base_of_a_lost_history_is_taken,
    versions_never_go_back,
    a_retry_gets_the_same_answer,
    a_write_has_one_effect,
    what_was_dropped_is_told,
    snapshots_are_the_sum_of_the_log,
]
