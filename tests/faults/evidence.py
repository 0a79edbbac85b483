"""History and dump of a run, indexed for the checks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

Record = dict[str, Any]
Position = list[Any]

NEMESIS = "nemesis"
LOST = frozenset({"history_lost", "epoch_changed", "unreadable_position"})

# Added to the generations after a restored backup: the database gives some of them a second time.
SECOND_LIFE = 1_000_000

# Topics to which the server itself publishes (`check_guests`, `check_lists`, `check_hooks`).
OF_THE_SERVER = ("presence:", "rows:", "handled:")

SEEN = frozenset({"connected", "entries", "snapshot", "gap", "recovery", "info"})


@dataclass(frozen=True, slots=True)
class Violation:
    """Broken promise, with the numbers of the records that show it."""

    promise: str
    text: str
    records: tuple[int, ...] = ()

    def __str__(self) -> str:
        where = f"  records {', '.join(map(str, self.records))}" if self.records else ""
        return f"{self.promise}: {self.text}{where}"


@dataclass(frozen=True, slots=True)
class Base:
    """Version that one sending of a write named as its base; `digests` of what the write replaces, if it had them."""

    sent: int
    version: int
    tag: str | None
    digests: dict[str, str | None] | None


@dataclass(frozen=True, slots=True)
class Restore:
    """Backup and its return, by the numbers of their records; `heads`: the last offset of each log in the copy."""

    backup: int
    back: int
    heads: dict[str, int]


@dataclass(slots=True)
class Write:
    """Write of a client, from its invocation to all the answers it got."""

    op: str
    kind: str
    process: str
    session: str
    client: str
    seq: int
    frame: Record
    invoked: int
    sent: list[tuple[int, int]]
    bases: list[Base]
    answers: list[Record] = field(default_factory=list)

    @property
    def by_digests(self) -> bool:
        return any(base.digests is not None for base in self.bases)

    @property
    def ok(self) -> Record | None:
        return next((answer for answer in self.answers if answer["type"] == "ok"), None)

    @property
    def refusal(self) -> Record | None:
        return next((answer for answer in self.answers if answer["type"] == "fail"), None)

    @property
    def log(self) -> str:
        """Name the log that it appends to, as on the wire."""
        if self.kind == "update":
            return f"state:{self.frame['doc']}"
        return f"topic:{self.frame['topic'] if self.kind == 'publish' else self.frame['data']['topic']}"

    @property
    def value(self) -> Any:
        """Give the value that a publish or a handled message puts into its topic."""
        return self.frame["data"]["v"]


class Evidence:
    """`writes` by label; `by_number` by (client, seq); `documents` and `streams` of the dump by name; `past` by
    document and version: what the dump holds, and what a client was given before a compaction took it away.
    """

    def __init__(self, records: list[Record], dump: Record) -> None:
        self.restore = _find_restore(records)
        self.records, self.dump = [*_renumber(records, self.restore)], dump
        self.homes: dict[str, Record] = {r["p"]: r for r in self.records if r["type"] == "start"}
        self.writes: dict[str, Write] = {}
        self.by_number: dict[tuple[str, int], list[Write]] = {}
        self._collect()
        self.documents: dict[tuple[str, str], Record] = {(d["session"], d["name"]): d for d in dump["documents"]}
        self.streams: dict[str, Record] = {s["topic"]: s for s in dump["streams"]}
        self.past = {key: {r["version"]: r for r in found["revisions"]} for key, found in self.documents.items()}
        self._transports = {
            (r["client"], r["gen"]): r.get("transport") for r in self.records if r["type"] == "connected"
        }
        self._remember()

    def _collect(self) -> None:
        for record in self.records:
            kind = record["type"]
            if kind == "invoke":
                self._invoke(record)
            elif kind == "again":
                write = self.writes[record["op"]]
                write.sent.append((record["i"], record["gen"]))
                write.bases += _bases(record, record)
            elif kind in {"ok", "fail", "temporary"} and not _is_forgotten(record):
                self.writes[record["op"]].answers.append(record)

    def _invoke(self, record: Record) -> None:
        frame = record["frame"]
        write = Write(
            record["op"],
            record["f"],
            record["p"],
            self.home(record["p"])["session"],
            record["client"],
            record["seq"],
            frame,
            record["i"],
            [(record["i"], record["gen"])],
            _bases(record, frame),
        )
        self.writes[write.op] = write
        self.by_number.setdefault((write.client, write.seq), []).append(write)

    def _remember(self) -> None:
        for record in self.records:
            log = (record.get("frame") or {}).get("log", "")
            if record["type"] != "entries" or not log.startswith("state:"):
                continue
            key = (self.home(record["p"])["session"], log.removeprefix("state:"))
            oldest = self.documents[key]["oldest"] if key in self.documents else 0
            for version, tag, body in record["frame"]["entries"]:
                # From there on the dump is whole, and what is not in it was lost.
                if version < oldest:
                    revision = {"version": version, "tag": tag, "ops": body["ops"]}
                    author = {"client": body.get("client_id"), "seq": body.get("seq")}
                    self.past[key].setdefault(version, revision | author)

    def is_by_calls(self, client: str, generation: int) -> bool:
        """Tell whether an attachment sent its writes by calls, one after the other; it may outlive a restore."""
        before = self._transports.get((client, generation - SECOND_LIFE))
        return self._transports.get((client, generation), before) in {"sse", "longpoll"}

    @property
    def topics(self) -> list[Record]:
        """List the streams to which clients publish."""
        return [stream for stream in self.dump["streams"] if not stream["topic"].startswith(OF_THE_SERVER)]

    def is_lost(self, key: str, offset: int, record: int) -> bool:
        """Tell whether what a record says of a place in a log was undone when a backup was put back later."""
        restore = self.restore
        return restore is not None and record < restore.back and offset > restore.heads.get(key, 0)

    def is_undone(self, write: Write) -> bool:
        """Tell whether an acknowledged write may be gone: it was not in the backup, or nobody can say that it was."""
        if self.restore is None or write.ok is None or not self.restore.backup < write.ok["i"] < self.restore.back:
            return False
        position = write.ok["receipt"].get("position")
        return position is None or self.is_lost(self.key_of(write.process, write.log), position[1], write.ok["i"])

    def revisions(self) -> Iterator[tuple[tuple[str, str], list[Record]]]:
        """By document, every version that is known, oldest first."""
        for key, found in self.past.items():
            yield key, [found[version] for version in sorted(found)]

    def home(self, process: str) -> Record:
        """Find the `start` record of a client; a `!` marks the connection that it replaced."""
        return self.homes[process.rstrip("!")]

    def key_of(self, process: str, log: str) -> str:
        """Name a log of any client once: documents and timelines belong to sessions, topics to all."""
        return log if log.startswith("topic:") else f"{self.home(process)['session']}/{log}"

    def seen(self) -> Iterator[tuple[str, list[Record]]]:
        """By client, in order, what it saw of logs."""
        found: dict[str, list[Record]] = {}
        for record in self.records:
            if record["type"] in SEEN and record["p"] in self.homes:
                found.setdefault(record["p"], []).append(record)
        yield from found.items()

    def held(self) -> Iterator[tuple[str, str, Iterable[tuple[int, str, Any]], Record]]:
        """List the logs of the dump: name, epoch, (offset, tag, body) in order, and the row of the head."""
        for document in self.dump["documents"]:
            rows = [(r["version"], r["tag"], r) for r in document["revisions"]]
            yield f"{document['session']}/state:{document['name']}", document["epoch"], rows, document
        for stream in self.dump["streams"]:
            entries = [(p["offset"], p["tag"], p["data"]) for p in stream["publications"]]
            yield f"topic:{stream['topic']}", stream["epoch"], entries, stream


def _find_restore(records: list[Record]) -> Restore | None:
    """Find the restored backup of a run; there is at most one."""
    moments = {record["type"]: record for record in records if record["type"] in {"backup", "restore"}}
    if "restore" not in moments:
        return None
    return Restore(moments["backup"]["i"], moments["restore"]["i"], moments["restore"]["heads"])


def _renumber(records: list[Record], restore: Restore | None) -> Iterator[Record]:
    for record in records:
        again = restore is not None and record["i"] > restore.back and "gen" in record
        yield {**record, "gen": record["gen"] + SECOND_LIFE} if again else record


def _bases(record: Record, terms: Record) -> list[Base]:
    if terms.get("base") is None:
        return []
    return [Base(record["i"], terms["base"], terms.get("tag"), terms.get("digests"))]


def _is_forgotten(record: Record) -> bool:
    """Tell a repeated write that overtook its own confirmation: the server has rightly forgotten the answer."""
    error = record["receipt"].get("error") or {}
    return error.get("name") == "receipt_gone" and bool(record.get("confirmed"))


def told_lost(record: Record) -> Iterator[str]:
    """List the logs of which a client learns that their history is gone: as it attaches, or by a poll."""
    frame = record.get("frame") or {}
    if record["type"] in {"snapshot", "gap"} and frame.get("reason") in LOST:
        yield frame["log"]
    if record["type"] == "connected":
        for log, verdict in record["frame"]["logs"].items():
            if verdict.get("reason") in LOST and record["asked"].get(log) is not None:
                yield log


def strip(receipt: Record) -> Record:
    """Remove the mark that an answer is a repeated one."""
    return {key: value for key, value in receipt.items() if key not in {"replayed", "type"}}
