"""Small hand-made histories: an honest one, and tools to make it lie."""

from __future__ import annotations

import copy
from typing import Any

Record = dict[str, Any]
SESSION, TOPIC, EPOCH = "s-1", "t", "e1"
ESTABLISHED = {"type": "connection_established"}
LOGS = ["session", "state:main", f"topic:{TOPIC}"]


class Story:
    """Story of one session with two clients, `a` and `b`, and an honest server behind them."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.revisions: list[Record] = []
        self.publications: list[Record] = []
        self.generations: dict[str, int] = {}
        self.places: dict[str, dict[str, Any]] = {}
        self.connections: list[Record] = []
        self.tokens: list[Record] = []
        self.reuses: list[str] = []
        self.told = 0

    def add(self, process: str, kind: str, **fields: Any) -> Record:
        record = {"i": len(self.records), "t": len(self.records) * 1000, "p": process, "type": kind, **fields}
        self.records.append(record)
        return record

    def start(self, process: str, **more: Any) -> None:
        self.add(process, "start", session=SESSION, group="g", topic=TOPIC, **more)
        self.places[process] = dict.fromkeys(LOGS)

    def head(self, log: str) -> list[Any]:
        entries = {"state:main": self.revisions, f"topic:{TOPIC}": self.publications}.get(log, [])
        return [EPOCH, len(entries), f"tag{len(entries)}" if entries else ""]

    def connect(self, process: str, **verdicts: Any) -> Record:
        """Connect, with an honest verdict for every log that `verdicts` does not name."""
        self.generations[process] = self.generations.get(process, 0) + 1
        asked = dict(self.places[process])
        told = {log: verdicts.get(log.partition(":")[0]) or self._verdict(log, asked[log]) for log in LOGS}
        for log, verdict in told.items():
            self.places[process][log] = verdict.get("position")
        frame = {"type": "connected", "logs": told, "last_seq": 0}
        self.attach(f"c_{process}", self.generations[process])
        return self.add(
            process, "connected", gen=self.generations[process], client=f"c_{process}", frame=frame, asked=asked
        )

    def attach(self, client: str, generation: int) -> None:
        """Let the database take an attachment, and close the one before."""
        for row in self.connections:
            row["open"] = row["open"] and row["client"] != client
        row = {"session": SESSION, "client": client, "generation": generation, "open": True}
        self.connections.append(row)
        self.told += 1

    def _verdict(self, log: str, asked: Any) -> Record:
        head = self.head(log)
        if asked is None or asked == head:
            return {"mode": "up_to_date", "position": head}
        return {"mode": "entries", "from": asked[1], "to": head[1], "position": asked}

    def invoke(self, process: str, op: str, seq: int, frame: Record, gen: int | None = None) -> Record:
        frame = {**frame, "seq": seq}
        gen = gen or self.generations[process.rstrip("!")]
        client = f"c_{process.rstrip('!')}"
        return self.add(process, "invoke", op=op, f=frame["type"], gen=gen, client=client, seq=seq, frame=frame)

    def update(self, process: str, op: str, seq: int, ops: list[Any], base: int | None = None, **more: Any) -> Record:
        frame = {"type": "update", "doc": "main", "strategy": "server_wins", "ops": ops}
        known = {} if base is None else {"base": base, "epoch": EPOCH}
        return self.invoke(process, op, seq, frame | known, **more)

    def publish(self, process: str, op: str, seq: int) -> Record:
        return self.invoke(process, op, seq, {"type": "publish", "topic": TOPIC, "data": {"v": op}})

    def revise(self, process: str, seq: int, ops: list[Any]) -> list[Any]:
        """Let the database take an update; give its position."""
        version = len(self.revisions) + 1
        revision = {"version": version, "tag": f"tag{version}", "client": f"c_{process}", "seq": seq, "ops": ops}
        self.revisions.append(revision)
        return self.head("state:main")

    def append(self, value: str) -> list[Any]:
        """Let the database take a publication; give its position."""
        offset = len(self.publications) + 1
        self.publications.append({"offset": offset, "tag": f"tag{offset}", "data": {"v": value}})
        return self.head(f"topic:{TOPIC}")

    def ok(self, process: str, op: str, seq: int, position: list[Any], **more: Any) -> Record:
        receipt = {"type": "receipt", "seq": seq, "ok": True, "position": position, **more}
        return self.add(process, "ok", op=op, gen=self.generations[process.rstrip("!")], receipt=receipt)

    def fail(self, process: str, op: str, seq: int, name: str = "conflict") -> Record:
        error = {"code": 240, "name": name, "temporary": False}
        receipt = {"type": "receipt", "seq": seq, "ok": False, "error": error}
        return self.add(process, "fail", op=op, gen=self.generations[process], receipt=receipt)

    def see(self, process: str, log: str, first: int, last: int, **more: Any) -> Record:
        """Give the client entries `first` to `last` as the database holds them."""
        if log == "state:main":
            rows = [[r["version"], r["tag"], {"ops": r["ops"]}] for r in self.revisions[first - 1 : last]]
        else:
            rows = [[p["offset"], p["tag"], p["data"]] for p in self.publications[first - 1 : last]]
        self.places[process][log] = [EPOCH, last, f"tag{last}"]
        frame = {"type": "entries", "log": log, "epoch": EPOCH, "entries": copy.deepcopy(rows), **more}
        return self.add(process, "entries", gen=self.generations[process], frame=frame)

    def snapshot(self, process: str, version: int, data: Any) -> Record:
        position = [EPOCH, version, f"tag{version}" if version else ""]
        self.places[process]["state:main"] = position
        frame = {"type": "snapshot", "log": "state:main", "position": position, "data": data}
        return self.add(process, "snapshot", gen=self.generations[process], frame=frame)

    def dump(self) -> Record:
        document = {"session": SESSION, "name": "main", "epoch": EPOCH, "oldest": 1, "revisions": self.revisions}
        stream = {"topic": TOPIC, "epoch": EPOCH, "oldest": 1, "publications": self.publications}
        return {
            "documents": [{**document, "version": len(self.revisions), "tag": self.head("state:main")[2]}],
            "streams": [{**stream, "head": len(self.publications), "tag": self.head(f"topic:{TOPIC}")[2]}],
            "clients": [],
            "tokens": self.tokens,
            "reuses": self.reuses,
            "connections": self.connections,
            "events": [
                {"session": SESSION, "seq": number, "tag": f"tag{number}", "data": {}, "pending": False, **ESTABLISHED}
                for number in range(1, self.told + 1)
            ],
            "pending": 0,
            "deliveries": [],
            "runs": [],
        }


def honest() -> Story:
    """Two clients, a kill in the middle, a retry, a conflict that is told, and everything delivered."""
    story = Story()
    topic = f"topic:{TOPIC}"
    for process in "ab":
        story.start(process)
        story.connect(process)
    story.update("a", "a-1", 1, [["set", "/x", "a-1"]], base=0)
    story.update("b", "b-1", 1, [["set", "/x", "b-1"], ["inc", "/n", 1]], base=0)
    first = story.revise("a", 1, [["set", "/x", "a-1"]])
    second = story.revise("b", 1, [["inc", "/n", 1]])
    for process in "ab":
        story.see(process, "state:main", 1, 2)
    story.ok("a", "a-1", 1, first)
    story.ok("b", "b-1", 1, second, dropped=["/x"])
    story.publish("a", "a-2", 2)
    story.publish("b", "b-2", 2)
    place = story.append("a-2")
    story.see("b", topic, 1, 1)
    story.add("nemesis", "kill", unanswered=2, ops=["a-2", "b-2"])
    story.add("a", "info", ops=["a-2"], gen=1, code=1006, name="")
    story.add("b", "info", ops=["b-2"], gen=1, code=1006, name="")
    story.add("nemesis", "ready")
    story.connect("a")
    story.see("a", topic, 1, 1, recovered=True)
    story.add("a", "again", op="a-2", gen=2, base=None)
    story.ok("a", "a-2", 2, place, replayed=True)
    story.connect("b")
    story.add("b", "again", op="b-2", gen=2, base=None)
    place = story.append("b-2")
    for process in "ab":
        story.see(process, topic, 2, 2)
    story.ok("b", "b-2", 2, place)
    story.update("a", "a-3", 3, [["set", "/x", "a-3"]], base=1)
    story.fail("a", "a-3", 3)
    return story
