"""Logs that the core follows: verdicts, entries, snapshots, gaps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from session_mgmt.client.effects import (
    OUT_OF_ORDER,
    Changed,
    Deliver,
    Effect,
    Emit,
    Fetch,
    FollowAfter,
    Following,
    Place,
    Send,
    StorePosition,
)
from session_mgmt.client.replica import Replica
from session_mgmt.client.storage import Saved
from session_mgmt.client.writing import STATE, Writing
from session_mgmt.protocol import position as positions

TOPIC = "topic:"
# Seconds before a log is asked for again that the server had no room for: by default, and at most.
AGAIN_SECONDS, AGAIN_MOST = 1.0, 60.0

Frame = dict[str, Any]
Effects = Iterator[Effect]


class Logbook(Writing):
    """Followed logs of one client, and the position in each."""

    def __init__(self, saved: Saved, *, delayed: bool) -> None:
        super().__init__(saved, delayed=delayed)
        self.client_id = saved.client_id
        self._decided = 0
        self._next_id = 1
        # Logs that were asked for, with the position that was sent.
        self._asked: dict[int, tuple[str, positions.Position | None]] = {}
        # By log, the last offset that existed before the client followed the log on this connection.
        self._replayed: dict[str, int] = {}
        # By log, the number of temporary refusals in a row.
        self._refusals: dict[str, int] = {}

    def draw_id(self) -> int:
        """Return the id of the next frame that asks for a reply."""
        self._next_id += 1
        return self._next_id - 1

    # Wishes of the application.

    def follow_log(
        self, log: str, slow: str | None = None, since: Frame | None = None, only: Frame | None = None
    ) -> Effects:
        """Follow a log; the effect `Following` brings the outcome. It begins at the position in `since`, else at the
        known position, else at the time or number in `since`, else now.

        If a log is followed several times, the first call that names `slow` or `since` decides about it; `only` counts
        only in the first call.
        """
        if only is not None and log not in self.logs:
            self.filters[log] = only
        if slow is not None:
            self.ways.setdefault(log, slow)
        if since is not None:
            self.beginnings.setdefault(log, since)
        # The stored position of an earlier process counts only until the log is followed.
        stored = self._stored_places.pop(log, None)
        self.logs.setdefault(log, positions.parse((since or {}).get("position")) or stored)
        yield from self._subscribe(log)

    def _subscribe(self, log: str) -> Effects:
        if self.ready:
            place = self.logs[log]
            id_ = self.draw_id()
            self._asked[id_] = (log, place)
            wishes = {"slow": self.ways.get(log), "filter": self.filters.get(log), "since": self.beginnings.get(log)}
            given = {name: wish for name, wish in wishes.items() if wish is not None}
            yield Send({"type": "subscribe", "id": id_, "log": log, "position": place and place.as_json(), **given})

    def _ask_later(self, log: str, error: Frame) -> Effects:
        """Ask again for a log that the server has no room for, after longer and longer waits. Report only the first
        refusal.
        """
        refusals = self._refusals[log] = self._refusals.get(log, 0) + 1
        if refusals == 1:
            yield Emit("denied", {"log": log, "error": error})
        seconds = error.get("retry_after") or AGAIN_SECONDS
        yield FollowAfter(log, min(AGAIN_MOST, seconds * 2.0 ** min(refusals - 1, 10)))

    def follow_again(self, log: str) -> Effects:
        """Ask again for a log, unless a new connection has already done so."""
        if log in self._refusals and log in self.logs:
            yield from self._subscribe(log)

    def unfollow_log(self, log: str) -> Effects:
        """Stop following a log and forget the position in it."""
        self.logs.pop(log, None)
        self._refusals.pop(log, None)
        self.ways.pop(log, None)
        self.filters.pop(log, None)
        self.beginnings.pop(log, None)
        self._stored_places.pop(log, None)
        if self.ready:
            yield Send({"type": "unsubscribe", "id": self.draw_id(), "log": log})

    def leave_places(self, *, but_topics: bool) -> None:
        """Forget the positions in the logs of a session that is left; if `but_topics`, keep those in topics."""
        if not but_topics:
            self._stored_places.clear()
        for log in self.logs:
            if not (but_topics and log.startswith(TOPIC)):
                self.logs[log] = None
        for replica in self.replicas.values():
            replica.position = None
        self._lost.clear()

    def empty_documents(self) -> Effects:
        """Empty all documents, because they belong to another person."""
        for doc, replica in list(self.replicas.items()):
            self.replicas[doc] = Replica()
            if replica.view != {}:
                yield Changed(doc, replica.view, {})

    def apply_sync(self, doc: str, answer: Frame) -> Effects:
        """Apply the answer of a synchronisation over HTTP; keep newer entries that the connection brought meanwhile."""
        replica, place = self.open_replica(doc), positions.parse(answer["position"])
        # A snapshot is on its way, and it is newer than this answer.
        if replica.fetching or place is None:
            return
        if answer["mode"] == "entries":
            yield from self._handle_entries({"log": STATE + doc, "epoch": place.epoch, "entries": answer["entries"]})
        elif answer["mode"] == "snapshot":
            known, is_lost = replica.position, answer.get("reason") in _LOST
            if known is None or is_lost or known.epoch != place.epoch or known.offset < place.offset:
                self._note_lost_history(STATE + doc, True, answer.get("reason"))
                yield from self._replace_document(doc, place, answer["data"])

    def apply_fetched(self, log: str, place: positions.Position, data: Any) -> Effects:
        """Apply a snapshot that came over HTTP, if it is still awaited; reconnect if it is older than announced."""
        replica, announced = self.open_replica(log.removeprefix(STATE)), self.logs.get(log)
        if not replica.fetching or announced is None:
            return
        if place.epoch != announced.epoch or place.offset < replica.awaited:
            yield OUT_OF_ORDER
            return
        yield from self._replace_document(log.removeprefix(STATE), place, data)

    # Frames.

    def _apply_verdict(self, log: str, verdict: Frame) -> Effects:
        mode = verdict["mode"]
        self._replayed[log] = verdict.get("to") or 0
        self._note_lost_history(log, mode == "snapshot", verdict.get("reason"))
        error = verdict.get("error") or {}
        if mode == "denied" and error.get("temporary") and log in self.logs:
            yield from self._ask_later(log, error)
            return
        self._refusals.pop(log, None)
        if mode == "denied":
            # Used again if the log is followed again.
            self._stored_places[log] = self.logs.pop(log, self._stored_places.get(log))
            yield Emit("denied", {"log": log, "error": verdict.get("error")})
        elif mode == "gap":
            yield from self._handle_gap({"log": log, **verdict})
        elif mode == "entries" and self.logs.get(log) is None:
            # The position that the application asked for.
            self.logs[log] = positions.parse(verdict["position"])
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
        log, asked = self._asked.pop(frame["id"], ("", None))
        if log in self.logs and "verdict" in frame:
            verdict = frame["verdict"]
            is_old = self.logs[log] is not asked and self._has_passed(log, verdict)
            yield from [Following(log, verdict)] if is_old else self._apply_verdict(log, verdict)

    def _has_passed(self, log: str, verdict: Frame) -> bool:
        """Return True if entries that came in another way (a poll) have already brought a log to the position of a
        verdict.
        """
        at, place = self.logs[log], positions.parse(verdict.get("position"))
        if verdict["mode"] == "snapshot" or at is None or place is None:
            return False
        return at.epoch == place.epoch and at.offset >= place.offset

    def _handle_entries(self, frame: Frame) -> Effects:
        log, end = frame["log"], None
        if "prev" in frame:
            # The frame does not hold every entry of its range, so the range must not begin after this client's
            # position.
            at, end = self.logs.get(log), positions.parse(frame["position"])
            # It belongs to an earlier subscription: the verdict about the present one has not come.
            if at is None:
                return
            if at.epoch != frame["epoch"] or frame["prev"] > at.offset:
                yield OUT_OF_ORDER
                return
            if frame.get("conflated") and at and end and end.offset > at.offset:
                yield Emit("conflated", {"log": log, "from": frame["prev"] + 1, "to": end.offset})
        for offset, tag, body in frame["entries"]:
            known = self.logs.get(log)
            # Skip logs that were left meanwhile, and known entries: a replay may overlap the live entries.
            if log not in self.logs or (known and known.epoch == frame["epoch"] and offset <= known.offset):
                continue
            # A missing entry would never be noticed later; a new connection asks again from the known position.
            if known and (known.epoch != frame["epoch"] or (end is None and offset != known.offset + 1)):
                yield OUT_OF_ORDER
                return
            self.logs[log] = place = positions.Position(frame["epoch"], offset, tag)
            if log.startswith(STATE):
                yield from self._apply_revision(log.removeprefix(STATE), place, body)
            else:
                yield from self._store_position(log)
                # Deliver after the position was stored: an entry is not delivered again if the callback fails (promise
                # T3).
                yield Deliver(log, body, Place(place.epoch, offset, tag, live=offset > self._replayed.get(log, 0)))
        known = self.logs.get(log)
        if end is not None and known and known.offset < end.offset:
            self.logs[log] = end
            yield from self._store_position(log)

    def _apply_revision(self, doc: str, place: positions.Position, body: Frame) -> Effects:
        replica = self.open_replica(doc)
        before = replica.view
        # The view already shows its effect, as a pending write.
        own = body.get("client_id") == self.client_id and body.get("seq") is not None
        replica.advance(place, body, own)
        # Report only changes that the application can see; its own confirmed write changes nothing in the view.
        if replica.view is not before:
            yield Changed(doc, before, replica.view)

    def _handle_snapshot(self, frame: Frame) -> Effects:
        log, place = frame["log"], positions.parse(frame["position"])
        if place is None or log not in self.logs:
            return
        self._note_lost_history(log, True, frame.get("reason"))
        # The document is too large for a frame, so it comes over HTTP.
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
        """Judge pending updates by the values that they replaced, because the history of their base is gone."""
        self._lost.discard(doc)
        self.outbox.rebase_all(doc, place)
        if self._holding:
            yield from self.resend_writes()

    def _handle_gap(self, frame: Frame) -> Effects:
        self.logs[frame["log"]] = positions.parse(frame["position"])
        self._replayed.pop(frame["log"], None)
        yield from self._store_position(frame["log"])
        yield Emit("gap", {key: frame.get(key) for key in ("log", "from", "to", "reason")})

    def _store_position(self, log: str) -> Effects:
        place = self.logs.get(log)
        if place is not None and not log.startswith(STATE):
            yield StorePosition(log, place.as_json())


# Reasons of a snapshot after which no earlier version can be a base.
_LOST = frozenset({"history_lost", "epoch_changed"})
