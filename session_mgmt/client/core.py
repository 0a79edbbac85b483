"""The client without its network: frames and calls go in, effects come out. No clock, no socket, no task."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from session_mgmt.client.backoff import Backoff, from_policy
from session_mgmt.client.effects import (
    Abandon,
    Advance,
    Changed,
    Effect,
    Fetch,
    Following,
    Hand,
    Leave,
    ResendAfter,
    Send,
    Settle,
    Tell,
)
from session_mgmt.client.storage import Saved
from session_mgmt.client.writing import STATE, Writing
from session_mgmt.protocol import position as positions
from session_mgmt.protocol.codes import CLIENT_OUT_OF_ORDER, Close, may_reconnect

AGENT = "python/0.1.0"
TOPIC = "topic:"
ACK_EVERY = 32
# Where the server names no wait: long enough for a snapshot to arrive, short enough to go unnoticed.
RESEND_SECONDS = 0.25

Frame = dict[str, Any]
Effects = Iterator[Effect]


class Core(Writing):
    """One client of one session. Every method that yields effects must be run to its end."""

    def __init__(self, saved: Saved, *, delayed: bool = False) -> None:
        super().__init__(saved, delayed=delayed)
        self.client_id = saved.client_id
        self.session: Frame = {}
        self.generation = 0
        self.heartbeat: Frame = {}
        self.backoff = Backoff()
        self._decided = 0
        self._told = 0
        self._next_id = 1
        self._asked: dict[int, str] = {}

    # What the application wants.

    def follow(self, log: str) -> Effects:
        """Follow a log from the position that is known, else from now; `Following` tells the outcome."""
        place = self.logs.setdefault(log, None)
        if self.ready:
            self._asked[self._next_id] = log
            yield Send({"type": "subscribe", "id": self._next_id, "log": log, "position": place and place.as_json()})
            self._next_id += 1

    def leave(self, log: str) -> Effects:
        """Stop following; its position is forgotten."""
        self.logs.pop(log, None)
        if self.ready:
            yield Send({"type": "unsubscribe", "id": self._next_id, "log": log})
            self._next_id += 1

    def synced(self, doc: str, answer: Frame) -> Effects:
        """Take the answer of a synchronisation over HTTP; what arrived by the connection meanwhile stays."""
        replica, place = self.replica(doc), positions.parse(answer["position"])
        if replica.fetching or place is None:
            return
        if answer["mode"] == "entries":
            yield from self._entries({"log": STATE + doc, "epoch": place.epoch, "entries": answer["entries"]})
        elif answer["mode"] == "snapshot":
            known = replica.position
            if known is None or known.epoch != place.epoch or known.offset < place.offset:
                yield from self._replace(doc, place, answer["data"])

    # The connection.

    def opening(self, token: str) -> Frame:
        """The `connect` frame of a new connection."""
        return {
            "type": "connect",
            "token": token,
            "client_id": self.client_id,
            "acked": self.outbox.acked,
            "logs": {log: place and place.as_json() for log, place in self.logs.items()},
            "capabilities": [],
            "agent": AGENT,
        }

    def disconnected(self) -> None:
        """The connection is gone: nothing is sent until the next `connected`."""
        self.ready = self._holding = False
        self._asked.clear()
        for doc, replica in self.replicas.items():
            if replica.fetching:  # its position would claim a body that never came
                replica.fetching, self.logs[STATE + doc] = False, None

    def receive(self, frame: Frame) -> Effects:
        """Take one frame of the server. Unknown types are ignored: they belong to a later version."""
        handler = _HANDLERS.get(str(frame.get("type")))
        if handler is not None:
            yield from handler(self, frame)

    def fetched(self, log: str, place: positions.Position, data: Any) -> Effects:
        """The body of a snapshot that came by HTTP, if it is still awaited and not older than what was announced."""
        replica, announced = self.replica(log.removeprefix(STATE)), self.logs.get(log)
        if not replica.fetching or announced is None:
            return
        if place.epoch != announced.epoch or place.offset < replica.awaited:
            yield Leave(CLIENT_OUT_OF_ORDER, "out_of_order", reconnect=True)
            return
        yield from self._replace(log.removeprefix(STATE), place, data)

    # Frames.

    def _connected(self, frame: Frame) -> Effects:
        self.client_id, self.generation = frame["client_id"], frame["generation"]
        self.session, self.limits, self.heartbeat = frame["session"], frame["limits"], frame["heartbeat"]
        self.backoff = from_policy(frame.get("retry") or {}, self.backoff)
        self._decided = frame["last_seq"]
        self.outbox.skip_to(self._decided)
        self.ready = True
        yield Tell("connected", frame)
        for log, verdict in frame["logs"].items():
            yield from self._verdict(log, verdict)
        yield from self.resend()

    def _verdict(self, log: str, verdict: Frame) -> Effects:
        mode = verdict["mode"]
        if mode == "denied":
            self.logs.pop(log, None)
            yield Tell("denied", {"log": log, "error": verdict.get("error")})
        elif mode == "gap":
            yield from self._gap({"log": log, **verdict})
        elif mode == "up_to_date" and verdict.get("position"):
            place = positions.parse(verdict["position"])
            self.logs[log] = place
            if log.startswith(STATE) and place and self.replica(log.removeprefix(STATE)).position is None:
                self.replica(log.removeprefix(STATE)).position = place
            yield from self._store(log)
        yield Following(log, verdict)

    def _reply(self, frame: Frame) -> Effects:
        log = self._asked.pop(frame["id"], None)
        if log is not None and log in self.logs and "verdict" in frame:
            yield from self._verdict(log, frame["verdict"])

    def _entries(self, frame: Frame) -> Effects:
        log = frame["log"]
        for offset, tag, body in frame["entries"]:
            known = self.logs.get(log)
            if log not in self.logs or (known and known.epoch == frame["epoch"] and offset <= known.offset):
                continue
            if known and (known.epoch != frame["epoch"] or offset != known.offset + 1):
                yield Leave(CLIENT_OUT_OF_ORDER, "out_of_order", reconnect=True)
                return
            self.logs[log] = place = positions.Position(frame["epoch"], offset, tag)
            if log.startswith(STATE):
                yield from self._revision(log.removeprefix(STATE), place, body)
            else:
                yield from self._store(log)
                yield Hand(log, body)

    def _revision(self, doc: str, place: positions.Position, body: Frame) -> Effects:
        replica = self.replica(doc)
        before = replica.view
        own = body.get("client_id") == self.client_id and body.get("seq") is not None
        replica.advance(place, body, own)
        if replica.view is not before:
            yield Changed(doc, before, replica.view)

    def _snapshot(self, frame: Frame) -> Effects:
        log, place = frame["log"], positions.parse(frame["position"])
        if place is None or log not in self.logs:
            return
        if "url" in frame:
            self.logs[log] = place
            self.replica(log.removeprefix(STATE)).await_body(place.offset)
            yield Fetch(log, frame["url"])
        else:
            yield from self._replace(log.removeprefix(STATE), place, frame["data"])

    def _replace(self, doc: str, place: positions.Position, data: Any) -> Effects:
        replica = self.replica(doc)
        before = replica.view
        replica.replace(place, data, self._decided)
        self.logs[STATE + doc] = replica.position
        if replica.view is not before:
            yield Changed(doc, before, replica.view)

    def _gap(self, frame: Frame) -> Effects:
        self.logs[frame["log"]] = positions.parse(frame["position"])
        yield from self._store(frame["log"])
        yield Tell("gap", {key: frame.get(key) for key in ("log", "from", "to", "reason")})

    def _store(self, log: str) -> Effects:
        place = self.logs.get(log)
        if place is not None and not log.startswith(STATE):
            yield Advance(log, place.as_json())

    def _receipt(self, frame: Frame) -> Effects:
        if not frame["ok"] and frame["error"].get("temporary"):
            yield from self._undecided(frame["seq"], frame["error"])
            return
        written = self.outbox.settle(frame["seq"])
        if written is None:
            return
        yield Settle(frame["seq"], frame)
        if written["type"] == "update":
            yield from self._answered(written)
            if report := {name: frame[name] for name in _CONFLICTS if frame.get(name)}:
                yield Tell("conflict", {"doc": written["doc"], "seq": frame["seq"], **report})
        if self.outbox.acked >= self._told + ACK_EVERY:
            self._told = self.outbox.acked
            yield Send({"type": "ack", "seq": self._told})

    def _answered(self, written: Frame) -> Effects:
        replica = self.replica(written["doc"])
        before = replica.view
        replica.forget(written["seq"])
        if replica.view is not before:
            yield Changed(written["doc"], before, replica.view)

    def _undecided(self, seq: int, error: Frame) -> Effects:
        """The number is not used up. Later ones are refused by `seq_gap` until it is decided, so they wait too."""
        if error.get("name") in _NEW_BASE:
            self._rebase_update(seq, error["name"])
        self._holding = True
        yield ResendAfter(error.get("retry_after") or RESEND_SECONDS)

    def _ping(self, frame: Frame) -> Effects:
        self._told = self.outbox.acked
        yield Send({"type": "pong", "ping": frame.get("ping"), "acked": self._told})
        if "rtt_ms" in frame:
            yield Tell("latency", frame["rtt_ms"])

    def _error(self, frame: Frame) -> Effects:
        log = self._asked.pop(frame.get("id", 0), None)
        if frame.get("seq") is not None:
            yield from self._receipt({"type": "receipt", "seq": frame["seq"], "ok": False, "error": frame})
        elif log is not None:
            yield from self._verdict(log, {"mode": "denied", "error": frame})
        else:
            yield Tell("error", frame)

    def _bye(self, frame: Frame) -> Effects:
        code, name = int(frame["code"]), str(frame.get("name") or "")
        reconnect = bool(frame.get("reconnect", may_reconnect(code)))
        if code == Close.CLIENT_FORGOTTEN:
            yield from self._forgotten()
            reconnect = True
        elif code == Close.TOKEN_EXPIRED:
            reconnect = False  # nothing here can refresh a token, and the same one would be refused for ever
        yield Leave(code, name, reconnect, frame.get("retry_after"))

    def _forgotten(self) -> Effects:
        """Unanswered writes go to the application: under a new name they might take effect a second time."""
        self.client_id, self._told, self.draft = None, 0, None
        for frame in self.outbox.abandon():
            if frame["type"] == "update":
                yield from self._answered(frame)
            yield Abandon(frame)

    def _recovery(self, frame: Frame) -> Effects:
        yield Tell("recovery", frame["receipt"])

    def _ephemeral(self, frame: Frame) -> Effects:
        yield Hand(TOPIC + str(frame["topic"]), frame.get("data"))


# What a receipt tells of others who had changed the same place.
_CONFLICTS = ("dropped", "overwrote", "conflicts", "more")
# Refused because of the version they name; the server sends what is missing, and the write goes again.
_NEW_BASE = frozenset({"unknown_version", "too_old", "epoch_changed"})

_HANDLERS: dict[str, Callable[[Core, Frame], Effects]] = {
    "connected": Core._connected,
    "reply": Core._reply,
    "entries": Core._entries,
    "snapshot": Core._snapshot,
    "gap": Core._gap,
    "receipt": Core._receipt,
    "ping": Core._ping,
    "error": Core._error,
    "bye": Core._bye,
    "recovery": Core._recovery,
    "ephemeral": Core._ephemeral,
}
