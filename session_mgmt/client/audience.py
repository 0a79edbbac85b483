"""Futures of calls that wait for an answer, and callbacks of the application by name."""

from __future__ import annotations

import asyncio
from typing import Any

from session_mgmt.client.effects import Abandon, Changed, Deliver, Following, Settle
from session_mgmt.client.errors import Refused, Stopped, Unsent
from session_mgmt.client.listeners import Listeners
from session_mgmt.client.logbook import TOPIC
from session_mgmt.client.waiters import Waiters
from session_mgmt.client.writing import SESSION_LOG

Receipt = dict[str, Any]


class Audience:
    """Waiting calls and callbacks of one client. Changes are named by documents, publications by topics."""

    def __init__(self) -> None:
        self.answers: Waiters[int, Receipt] = Waiters()
        # The result is True if no publication since the requested beginning is missing.
        self.follows: Waiters[str, bool] = Waiters()
        self.settled = asyncio.Event()
        self.first = asyncio.Event()
        self.events, self.messages, self.publications, self.changes = (Listeners() for _ in range(4))

    def notify_change(self, effect: Changed) -> None:
        self.changes.call_all(effect.doc, effect.before, effect.after)

    def deliver_entry(self, effect: Deliver) -> None:
        log, body = effect.log, effect.body
        if log.startswith(TOPIC):
            self.publications.call_all(log.removeprefix(TOPIC), body, effect.place)
        elif log == SESSION_LOG and body.get("type") == "message":
            self.messages.call_all("message", body.get("data"))
        elif log == SESSION_LOG:
            self.events.call_all(str(body.get("type")), body)

    def settle_write(self, effect: Settle) -> None:
        seq, receipt = effect.seq, effect.receipt
        if receipt["ok"]:
            self.answers.resolve(seq, receipt)
        else:
            self.answers.reject(seq, Refused(receipt["error"]))
            self.events.call_all("refused", {"seq": seq, **receipt["error"]})
        self.settled.set()

    def abandon_write(self, effect: Abandon) -> None:
        self.answers.reject(effect.frame["seq"], Unsent(effect.frame))
        self.events.call_all("unsent", effect.frame)
        self.settled.set()

    def answer_follow(self, effect: Following) -> None:
        if effect.verdict["mode"] == "denied":
            self.follows.reject(effect.log, Refused(effect.verdict.get("error") or {}))
        else:
            self.follows.resolve(effect.log, effect.verdict.get("complete", True))

    def dismiss(self, stopped: Stopped) -> None:
        """Fail all waiting calls with the reason why the client stopped, so that none of them waits for ever."""
        self.answers.reject_all(stopped)
        self.follows.reject_all(stopped)
        self.first.set()
        self.settled.set()
        self.events.call_all("stopped", {"code": stopped.code, "name": stopped.name})
