"""Client without its network: it takes frames and calls, and yields effects. It has no clock, socket or task."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from session_mgmt.client.backoff import Backoff, read_policy
from session_mgmt.client.effects import (
    OUT_OF_ORDER,
    Abandon,
    Changed,
    Deliver,
    Effect,
    Emit,
    Leave,
    ResendAfter,
    Send,
    Settle,
)
from session_mgmt.client.logbook import TOPIC, Logbook
from session_mgmt.client.storage import Saved
from session_mgmt.client.writing import SESSION_LOG, STATE
from session_mgmt.protocol import position as positions
from session_mgmt.protocol.codes import Close, may_reconnect

AGENT = "python/0.1.0"
# Pongs confirm receipts as well; this limits the unconfirmed receipts of a client that writes without a pause.
ACK_EVERY = 32
# Wait if the server names none: long enough for a snapshot to arrive, short enough not to be noticed.
RESEND_SECONDS = 0.25

Frame = dict[str, Any]
Effects = Iterator[Effect]


class Core(Logbook):
    """Protocol state of one client. Run every method that yields effects to its end."""

    def __init__(self, saved: Saved, *, delayed: bool = False) -> None:
        super().__init__(saved, delayed=delayed)
        self.session: Frame = {}
        self.expired_session: str | None = None
        self.generation = 0
        self.heartbeat: Frame = {}
        # Configuration that the application wants; the server is asked for it again on each connection.
        self.wishes: Frame = {}
        self.backoff = Backoff()
        self._told = 0

    # The connection.

    def build_connect(self, token: str) -> Frame:
        """Return the `connect` frame of a new connection."""
        wishes: dict[str, dict[str, Any]] = {**self.list_wishes(), "since": self.beginnings}
        asked = {name: {log: wish for log, wish in of.items() if log in self.logs} for name, of in wishes.items()}
        return {
            "type": "connect",
            "token": token,
            "client_id": self.client_id,
            "acked": self.outbox.acked,
            "logs": {log: place and place.as_json() for log, place in self.logs.items()},
            **{name: of for name, of in asked.items() if of},
            "capabilities": [],
            "agent": AGENT,
        }

    def list_wishes(self) -> dict[str, dict[str, Any]]:
        """Return how the client wants to read its logs: by log, what to do if the client is slow, and the filters of
        topics.
        """
        return {"slow": dict(self.ways), "filter": self.filters}

    def mark_disconnected(self) -> None:
        """Send nothing until the next `connected`, because the connection is gone."""
        self.ready = self._holding = False
        self._asked.clear()
        for doc, replica in self.replicas.items():
            # The document has not arrived, so the next connection must not claim its announced position.
            if replica.fetching:
                replica.fetching, self.logs[STATE + doc] = False, None

    def receive_frame(self, frame: Frame) -> Effects:
        """Handle one frame of the server; ignore unknown types, which belong to a later version."""
        handler = _HANDLERS.get(str(frame.get("type")))
        if handler is not None:
            yield from handler(self, frame)

    # Frames.

    def _handle_connected(self, frame: Frame) -> Effects:
        self.client_id, self.generation = frame["client_id"], frame["generation"]
        self.session, self.limits, self.heartbeat = frame["session"], frame["limits"], frame["heartbeat"]
        self.backoff = read_policy(frame.get("retry") or {}, self.backoff)
        self._decided = frame["last_seq"]
        # After a backup was restored, the server may have decided numbers that this client has not used.
        self.outbox.skip_to(self._decided)
        self.ready = True
        yield Emit("connected", frame)
        for log, verdict in frame["logs"].items():
            yield from self._apply_verdict(log, verdict)
        # After the verdicts, because they say which bases are lost.
        yield from self.resend_writes()
        if self.wishes:
            yield Send({"type": "configure", "id": self.draw_id(), **self.wishes})

    def _handle_reply(self, frame: Frame) -> Effects:
        if "config" in frame:
            self.heartbeat = frame["config"]
        else:
            yield from super()._handle_reply(frame)

    def _handle_receipt(self, frame: Frame) -> Effects:
        # The write stays in the outbox, because its number is still undecided.
        if not frame["ok"] and frame["error"].get("temporary"):
            yield from self._retry_later(frame["seq"], frame["error"])
            return
        # None if the receipt is a repetition, because the write was sent twice.
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
        """Hold all writes back for a while, because the server refuses writes after an undecided one (`seq_gap`)."""
        if error.get("name") == "seq_gap" and seq == self.outbox.acked + 1:
            # No earlier write is left that could close the gap: the server has lost numbers that it had decided, and
            # learns from the next `connect` how many.
            yield OUT_OF_ORDER
            return
        if error.get("name") in _NEW_BASE:
            self._rebase_update(seq, error["name"])
        self._holding = True
        yield ResendAfter(error.get("retry_after") or RESEND_SECONDS)

    def _handle_ping(self, frame: Frame) -> Effects:
        # The pong also confirms receipts, so it replaces an `ack` frame.
        self._told = self.outbox.acked
        yield Send({"type": "pong", "ping": frame.get("ping"), "acked": self._told})
        if "rtt_ms" in frame:
            yield Emit("latency", frame["rtt_ms"])

    def _handle_error(self, frame: Frame) -> Effects:
        # An error without an id says that the server has left a log, because the client's rights have changed.
        log, _ = self._asked.pop(frame["id"], (None, None)) if "id" in frame else (frame.get("log"), None)
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
        # The server knows neither the client's name nor its numbers any more.
        if code == Close.CLIENT_FORGOTTEN:
            yield from self.start_anew()
            reconnect = True
        yield Leave(code, name, reconnect, frame.get("retry_after"), str(frame.get("reason") or ""))

    def start_anew(self, *, is_told: bool = True) -> Effects:
        """Become a new client, and give unanswered writes back: under a new name they could take effect twice.

        If `is_told` is False, the writes are only dropped, because another person wrote them.
        """
        self.client_id, self._told, self.draft = None, 0, None
        for frame in self.outbox.abandon():
            if frame["type"] == "update":
                yield from self._forget_write(frame)
            if is_told:
                yield Abandon(frame)

    def enter_session(self, saved: Saved, *, is_same_person: bool, is_told: bool = True) -> Effects:
        """Become a client of another session, which has other documents and another log of its own.

        For the same person, topics continue at their positions. Another person sees nothing of what was there before.
        """
        yield from self.start_anew(is_told=is_told)
        self.leave_places(but_topics=is_same_person)
        if not is_same_person:
            yield from self.empty_documents()
        self.expired_session = None
        self.logs[SESSION_LOG] = positions.parse(saved.positions.get(SESSION_LOG))

    def _handle_recovery(self, frame: Frame) -> Effects:
        yield Emit("recovery", frame["receipt"])

    def _handle_ephemeral(self, frame: Frame) -> Effects:
        yield Deliver(TOPIC + str(frame["topic"]), frame.get("data"))


# Fields of a receipt that report changes of others at the same place.
_CONFLICTS = ("dropped", "overwrote", "conflicts", "more")
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
