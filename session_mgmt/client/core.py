"""The client without its network: frames and calls go in, effects come out. It has no clock, socket or task."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from session_mgmt.client.backoff import Backoff, read_policy
from session_mgmt.client.effects import (
    Abandon,
    Changed,
    Deliver,
    Effect,
    Emit,
    Fetch,
    Following,
    Leave,
    ResendAfter,
    Send,
    Settle,
    StorePosition,
)
from session_mgmt.client.storage import Saved
from session_mgmt.client.writing import SESSION_LOG, STATE, Writing
from session_mgmt.protocol import position as positions
from session_mgmt.protocol.codes import CLIENT_OUT_OF_ORDER, Close, may_reconnect

AGENT = "python/0.1.0"
TOPIC = "topic:"
# Beats confirm as well; this bounds the receipts of a client that writes without a pause.
ACK_EVERY = 32
# Wait where the server names none: long enough for a snapshot to arrive, short enough to go unnoticed.
RESEND_SECONDS = 0.25

Frame = dict[str, Any]
Effects = Iterator[Effect]


class Core(Writing):
    """Protocol state of one client. Run every method that yields effects to its end."""

    def __init__(self, saved: Saved, *, delayed: bool = False) -> None:
        super().__init__(saved, delayed=delayed)
        self.client_id = saved.client_id
        self.session: Frame = {}
        self.expired_session: str | None = None
        self.generation = 0
        self.heartbeat: Frame = {}
        self.backoff = Backoff()
        self._decided = 0
        self._told = 0
        self._next_id = 1
        self._asked: dict[int, str] = {}

    # Wishes of the application.

    def follow_log(self, log: str) -> Effects:
        """Follow a log from the known position, or from now on; the effect `Following` brings the outcome."""
        # The position of an earlier process counts only until the log is followed.
        place = self.logs.setdefault(log, self._stored_places.pop(log, None))
        if self.ready:
            self._asked[self._next_id] = log
            yield Send({"type": "subscribe", "id": self._next_id, "log": log, "position": place and place.as_json()})
            self._next_id += 1

    def unfollow_log(self, log: str) -> Effects:
        """Stop following a log and forget the position in it."""
        self.logs.pop(log, None)
        self._stored_places.pop(log, None)
        if self.ready:
            yield Send({"type": "unsubscribe", "id": self._next_id, "log": log})
            self._next_id += 1

    def apply_sync(self, doc: str, answer: Frame) -> Effects:
        """Apply the answer of a synchronisation over HTTP; keep newer entries that the connection brought meanwhile."""
        replica, place = self.open_replica(doc), positions.parse(answer["position"])
        # A snapshot is on its way already, and is newer than this answer.
        if replica.fetching or place is None:
            return
        if answer["mode"] == "entries":
            yield from self._handle_entries({"log": STATE + doc, "epoch": place.epoch, "entries": answer["entries"]})
        elif answer["mode"] == "snapshot":
            known, is_lost = replica.position, answer.get("reason") in _LOST
            if known is None or is_lost or known.epoch != place.epoch or known.offset < place.offset:
                self._note_lost_history(STATE + doc, True, answer.get("reason"))
                yield from self._replace_document(doc, place, answer["data"])

    # The connection.

    def belong_to(self, saved: Saved) -> None:
        """Take the name and the positions of the session that the storage holds now."""
        self.client_id = saved.client_id
        self._take_places(saved)

    def build_connect(self, token: str) -> Frame:
        """Return the `connect` frame of a new connection."""
        return {
            "type": "connect",
            "token": token,
            "client_id": self.client_id,
            "acked": self.outbox.acked,
            "logs": {log: place and place.as_json() for log, place in self.logs.items()},
            "capabilities": [],
            "agent": AGENT,
        }

    def mark_disconnected(self) -> None:
        """Send nothing until the next `connected`: the connection is gone."""
        self.ready = self._holding = False
        self._asked.clear()
        for doc, replica in self.replicas.items():
            # Without its body, the announced position would claim a document that never came.
            if replica.fetching:
                replica.fetching, self.logs[STATE + doc] = False, None

    def receive_frame(self, frame: Frame) -> Effects:
        """Handle one frame of the server; ignore unknown types, which belong to a later version."""
        handler = _HANDLERS.get(str(frame.get("type")))
        if handler is not None:
            yield from handler(self, frame)

    def apply_fetched(self, log: str, place: positions.Position, data: Any) -> Effects:
        """Apply a snapshot that came over HTTP, if it is still awaited; reconnect if it is older than announced."""
        replica, announced = self.open_replica(log.removeprefix(STATE)), self.logs.get(log)
        if not replica.fetching or announced is None:
            return
        if place.epoch != announced.epoch or place.offset < replica.awaited:
            yield Leave(CLIENT_OUT_OF_ORDER, "out_of_order", reconnect=True)
            return
        yield from self._replace_document(log.removeprefix(STATE), place, data)

    # Frames.

    def _handle_connected(self, frame: Frame) -> Effects:
        self.client_id, self.generation = frame["client_id"], frame["generation"]
        self.session, self.limits, self.heartbeat = frame["session"], frame["limits"], frame["heartbeat"]
        self.backoff = read_policy(frame.get("retry") or {}, self.backoff)
        self._decided = frame["last_seq"]
        # After a restored backup the server may have decided numbers that this client did not give out.
        self.outbox.skip_to(self._decided)
        self.ready = True
        yield Emit("connected", frame)
        for log, verdict in frame["logs"].items():
            yield from self._apply_verdict(log, verdict)
        # After the verdicts: they tell which bases are lost.
        yield from self.resend_writes()

    def _apply_verdict(self, log: str, verdict: Frame) -> Effects:
        mode = verdict["mode"]
        self._note_lost_history(log, mode == "snapshot", verdict.get("reason"))
        if mode == "denied":
            # The place counts again if the log is followed anew.
            self._stored_places[log] = self.logs.pop(log, self._stored_places.get(log))
            yield Emit("denied", {"log": log, "error": verdict.get("error")})
        elif mode == "gap":
            yield from self._handle_gap({"log": log, **verdict})
        elif mode == "up_to_date" and verdict.get("position"):
            place = positions.parse(verdict["position"])
            self.logs[log] = place
            if log.startswith(STATE) and place and self.open_replica(log.removeprefix(STATE)).position is None:
                self.open_replica(log.removeprefix(STATE)).position = place
            yield from self._store_position(log)
        yield Following(log, verdict)

    def _note_lost_history(self, log: str, snapshot_comes: bool, reason: str | None) -> None:
        doc = log.removeprefix(STATE)
        if not snapshot_comes:
            self._lost.discard(doc)
        elif log.startswith(STATE) and reason in _LOST:
            self._lost.add(doc)

    def _handle_reply(self, frame: Frame) -> Effects:
        log = self._asked.pop(frame["id"], None)
        if log is not None and log in self.logs and "verdict" in frame:
            yield from self._apply_verdict(log, frame["verdict"])

    def _handle_entries(self, frame: Frame) -> Effects:
        log = frame["log"]
        for offset, tag, body in frame["entries"]:
            known = self.logs.get(log)
            # Left meanwhile, or known: a replay may overlap the live entries.
            if log not in self.logs or (known and known.epoch == frame["epoch"] and offset <= known.offset):
                continue
            # A hole would never be noticed later; a new connection asks from the known position on.
            if known and (known.epoch != frame["epoch"] or offset != known.offset + 1):
                yield Leave(CLIENT_OUT_OF_ORDER, "out_of_order", reconnect=True)
                return
            self.logs[log] = place = positions.Position(frame["epoch"], offset, tag)
            if log.startswith(STATE):
                yield from self._apply_revision(log.removeprefix(STATE), place, body)
            else:
                yield from self._store_position(log)
                # After its position is stored: an entry is not delivered again if the callback fails (promise T3).
                yield Deliver(log, body)

    def _apply_revision(self, doc: str, place: positions.Position, body: Frame) -> Effects:
        replica = self.open_replica(doc)
        before = replica.view
        # Its effect is in the view already, as a pending write.
        own = body.get("client_id") == self.client_id and body.get("seq") is not None
        replica.advance(place, body, own)
        # The application hears of changes that it can see, and an own write changes nothing any more.
        if replica.view is not before:
            yield Changed(doc, before, replica.view)

    def _handle_snapshot(self, frame: Frame) -> Effects:
        log, place = frame["log"], positions.parse(frame["position"])
        if place is None or log not in self.logs:
            return
        self._note_lost_history(log, True, frame.get("reason"))
        # Too large for a frame: the body comes over HTTP.
        if "url" in frame:
            self.logs[log] = place
            self.open_replica(log.removeprefix(STATE)).await_body(place.offset)
            yield Fetch(log, frame["url"])
        else:
            yield from self._replace_document(log.removeprefix(STATE), place, frame["data"])

    def _replace_document(self, doc: str, place: positions.Position, data: Any) -> Effects:
        replica = self.open_replica(doc)
        before = replica.view
        replica.replace(place, data, self._decided)
        self.logs[STATE + doc] = replica.position
        if replica.view is not before:
            yield Changed(doc, before, replica.view)
        if doc in self._lost:
            yield from self._leave_lost_history(doc, place)

    def _leave_lost_history(self, doc: str, place: positions.Position) -> Effects:
        """Judge pending updates by the values that they replaced: their base belongs to a history that is gone."""
        self._lost.discard(doc)
        self.outbox.rebase_all(doc, place)
        if self._holding:
            yield from self.resend_writes()

    def _handle_gap(self, frame: Frame) -> Effects:
        self.logs[frame["log"]] = positions.parse(frame["position"])
        yield from self._store_position(frame["log"])
        yield Emit("gap", {key: frame.get(key) for key in ("log", "from", "to", "reason")})

    def _store_position(self, log: str) -> Effects:
        place = self.logs.get(log)
        if place is not None and not log.startswith(STATE):
            yield StorePosition(log, place.as_json())

    def _handle_receipt(self, frame: Frame) -> Effects:
        # The number is still undecided, so the write stays in the outbox.
        if not frame["ok"] and frame["error"].get("temporary"):
            yield from self._retry_later(frame["seq"], frame["error"])
            return
        # None: a receipt that was repeated, after the write was sent twice.
        written = self.outbox.settle(frame["seq"])
        if written is None:
            return
        yield Settle(frame["seq"], frame)
        if written["type"] == "update":
            yield from self._forget_write(written)
            if report := {name: frame[name] for name in _CONFLICTS if frame.get(name)}:
                yield Emit("conflict", {"doc": written["doc"], "seq": frame["seq"], **report})
        if self.outbox.acked >= self._told + ACK_EVERY:
            self._told = self.outbox.acked
            yield Send({"type": "ack", "seq": self._told})

    def _forget_write(self, written: Frame) -> Effects:
        replica = self.open_replica(written["doc"])
        before = replica.view
        replica.forget(written["seq"])
        if replica.view is not before:
            yield Changed(written["doc"], before, replica.view)

    def _retry_later(self, seq: int, error: Frame) -> Effects:
        """Hold all writes back for a while: the number is undecided, and `seq_gap` would refuse the later ones."""
        if error.get("name") in _NEW_BASE:
            self._rebase_update(seq, error["name"])
        self._holding = True
        yield ResendAfter(error.get("retry_after") or RESEND_SECONDS)

    def _handle_ping(self, frame: Frame) -> Effects:
        # The beat's answer carries the confirmation, and no frame of its own is needed.
        self._told = self.outbox.acked
        yield Send({"type": "pong", "ping": frame.get("ping"), "acked": self._told})
        if "rtt_ms" in frame:
            yield Emit("latency", frame["rtt_ms"])

    def _handle_error(self, frame: Frame) -> Effects:
        # Without an id the server has left a log whose rights have changed.
        log = self._asked.pop(frame["id"], None) if "id" in frame else frame.get("log")
        if frame.get("name") == "session_expired":
            self.expired_session = frame.get("session_id")
        if frame.get("seq") is not None:
            yield from self._handle_receipt({"type": "receipt", "seq": frame["seq"], "ok": False, "error": frame})
        elif log is not None:
            yield from self._apply_verdict(log, {"mode": "denied", "error": frame})
        else:
            yield Emit("error", frame)

    def _handle_bye(self, frame: Frame) -> Effects:
        code, name = int(frame["code"]), str(frame.get("name") or "")
        reconnect = bool(frame.get("reconnect", may_reconnect(code)))
        # The server knows neither the name nor its numbers any more.
        if code == Close.CLIENT_FORGOTTEN:
            yield from self.start_anew()
            reconnect = True
        yield Leave(code, name, reconnect, frame.get("retry_after"))

    def start_anew(self) -> Effects:
        """Become a new client, and give unanswered writes back: under a new name they could take effect twice."""
        self.client_id, self._told, self.draft = None, 0, None
        for frame in self.outbox.abandon():
            if frame["type"] == "update":
                yield from self._forget_write(frame)
            yield Abandon(frame)

    def enter_successor(self, saved: Saved) -> Effects:
        """Become a client of another session: its documents and its own log are other logs, topics are the same."""
        yield from self.start_anew()
        for log in self.logs:
            # The positions in documents and in the own log mean nothing in another session.
            if not log.startswith(TOPIC):
                self.logs[log] = None
        for replica in self.replicas.values():
            replica.position = None
        self._lost.clear()
        self.expired_session = None
        self.logs[SESSION_LOG] = positions.parse(saved.positions.get(SESSION_LOG))

    def _handle_recovery(self, frame: Frame) -> Effects:
        yield Emit("recovery", frame["receipt"])

    def _handle_ephemeral(self, frame: Frame) -> Effects:
        yield Deliver(TOPIC + str(frame["topic"]), frame.get("data"))


# Fields of a receipt that name changes of others to the same place.
_CONFLICTS = ("dropped", "overwrote", "conflicts", "more")
# Reasons of a snapshot that make every earlier version meaningless as a base.
_LOST = frozenset({"history_lost", "epoch_changed"})
# Errors about the base of an update: the server sends the missing entries, and the update is sent again.
_NEW_BASE = frozenset({"unknown_version", "too_old", "epoch_changed"})

_HANDLERS: dict[str, Callable[[Core, Frame], Effects]] = {
    "connected": Core._handle_connected,
    "reply": Core._handle_reply,
    "entries": Core._handle_entries,
    "snapshot": Core._handle_snapshot,
    "gap": Core._handle_gap,
    "receipt": Core._handle_receipt,
    "ping": Core._handle_ping,
    "error": Core._handle_error,
    "bye": Core._handle_bye,
    "recovery": Core._handle_recovery,
    "ephemeral": Core._handle_ephemeral,
}
