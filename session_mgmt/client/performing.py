"""Perform the effects of the core: send frames, save, fetch documents over HTTP, and call the application."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from session_mgmt.client.audience import Audience
from session_mgmt.client.batch import Sync
from session_mgmt.client.clock import Clock
from session_mgmt.client.core import Core
from session_mgmt.client.credentials import Credentials
from session_mgmt.client.effects import (
    OUT_OF_ORDER,
    Abandon,
    Changed,
    Deliver,
    Effect,
    Emit,
    Fetch,
    FollowAfter,
    Following,
    Leave,
    ResendAfter,
    Send,
    Settle,
    StorePosition,
)
from session_mgmt.client.entering import Wishes
from session_mgmt.client.errors import Stopped
from session_mgmt.client.link import Link
from session_mgmt.client.rest import Login, Rest
from session_mgmt.client.stats import Stats, Status
from session_mgmt.client.storage import Saved, Storage
from session_mgmt.client.transports.carrier import TransportName
from session_mgmt.client.transports.choosing import ALL

Receipt = dict[str, Any]
# Code and name of the reason for a status; the code is 0 if the client itself found it.
Reason = dict[str, Any]
HTTP_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a start; `base` ends with a slash."""

    base: str
    storage: Storage
    login: Login = field(default_factory=Login)
    wishes: Wishes = field(default_factory=Wishes)
    strategy: str | None = None
    sync: Sync | None = None
    transports: Sequence[TransportName] = ALL
    clock: Clock = field(default_factory=Clock)


class Performer:
    """Everything that the effects of one client change. The shell adds the link and the credentials."""

    _link: Link
    credentials: Credentials

    def __init__(self, options: Options) -> None:
        self._options, self._storage = options, options.storage
        self._saved = self._storage.load()
        if self._saved != Saved():
            # From now on this process owns the storage; another process that uses it stops.
            self._storage.save(self._saved)
        # Ignore the environment: a proxy for other programs must not receive the session's token.
        self._http = httpx.AsyncClient(timeout=HTTP_SECONDS, trust_env=False)
        self.rest = Rest(self._http, options.base, lambda: self._saved.token, options.login)
        self._stopped: Stopped | None = None
        self.reason: Reason | None = None
        self._resend: asyncio.TimerHandle | None = None
        # Timers of the logs that are asked for again.
        self._follows: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.stats = Stats()
        self.audience = Audience()
        self._told: tuple[Status, Reason | None] = (self.stats.state, None)
        self.events, self.publications = self.audience.events, self.audience.publications
        self.changes, self.messages = self.audience.changes, self.audience.messages
        self.core = Core(self._saved, delayed=options.sync is not None and options.sync.mode == "delayed")

    @property
    def stopped(self) -> Stopped | None:
        """Reason why the client has stopped; None while it has not."""
        return self._stopped

    def take_tokens(self) -> None:
        """Store the tokens before they are used."""
        self._save()

    def set_status(self, status: Status, reason: Reason | None) -> None:
        """Change the status, and report it unless status and reason are the same as in the last report."""
        shown = (status, reason)
        self.stats.state, self.reason = shown
        if shown != self._told:
            self._told = shown
            self.events.call_all("status", {"status": status, "reason": reason})

    def _track(self, add: Callable[[], tuple[int, list[Effect]]]) -> asyncio.Future[Receipt]:
        """Store a write before it is sent, so that after a crash it is sent again with the same number."""
        if self._stopped:
            return self.audience.answers.fail_at_once(self._stopped)
        seq, effects = add()
        answer = self.audience.answers.add(seq)
        # What cannot be stored is not sent. The answer has the error already.
        with contextlib.suppress(Stopped):
            self._save()
            self._perform(effects)
        return answer

    def _perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            _PERFORM[type(effect)](self, effect)

    def _send_frame(self, effect: Send) -> None:
        self._link.send_frame(effect.frame)

    def _store_position(self, effect: StorePosition) -> None:
        self._saved.positions[effect.log] = effect.position
        self._save()

    def _leave_connection(self, effect: Leave) -> None:
        self._link.departure = effect

    def _settle_write(self, effect: Settle) -> None:
        # Save before the caller gets the answer, because it may end the process at once.
        self._save()
        self.audience.settle_write(effect)

    def _abandon_write(self, effect: Abandon) -> None:
        self._save()
        self.audience.abandon_write(effect)

    def _emit_event(self, effect: Emit) -> None:
        event, data = effect.event, effect.data
        if event == "connected":
            is_switch = self.stats.state == "connected"
            self.stats.connections += 1
            self.credentials.name_session(self.core.session)
            self.take_tokens()
            self.set_status("connected", None)
            self.audience.first.set()
            if is_switch:
                return
        elif event == "latency":
            self.stats.add_latency(data)
        self.events.call_all(event, data)

    def _plan_resend(self, effect: ResendAfter) -> None:
        if self._resend is None:
            self._resend = asyncio.get_running_loop().call_later(effect.seconds, self._resend_writes)

    def _resend_writes(self) -> None:
        self._resend = None
        self._perform(self.core.resend_writes())

    def _plan_follow(self, effect: FollowAfter) -> None:
        """Ask again later, at a random moment, because other clients were given the same time."""
        wait = effect.seconds * (1 + random.random())
        timer = self._follows.get(effect.log)
        if timer is not None:
            timer.cancel()
        self._follows[effect.log] = self._options.clock.call_later(wait, lambda: self._follow_again(effect.log))

    def _follow_again(self, log: str) -> None:
        self._follows.pop(log, None)
        self._perform(self.core.follow_again(log))

    def _fetch_document(self, effect: Fetch) -> None:
        task = asyncio.create_task(self._load_document(effect.log, effect.url))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _load_document(self, log: str, url: str) -> None:
        """Fetch a large document; if that fails, reconnect, because a new connection brings a new verdict."""
        try:
            self._perform(self.core.apply_fetched(log, *await self.rest.fetch_document(url)))
        except (httpx.HTTPError, KeyError, ValueError) as error:
            self.events.call_all("error", {"name": "snapshot_failed", "message": _describe_failure(log, url, error)})
            self._leave_connection(OUT_OF_ORDER)
            await self._link.depart()

    def _save(self) -> None:
        self._saved.client_id = self.core.client_id
        self._saved.next_seq = self.core.outbox.next_seq
        self._saved.writes = list(self.core.outbox)
        self._storage.save(self._saved)


def _describe_failure(log: str, url: str, error: Exception) -> str:
    return f"{log} could not be fetched at {url} ({error!r}): the next connection tries again; proxies must pass ETag."


_PERFORM: dict[type[Effect], Callable[[Performer, Any], None]] = {
    Send: Performer._send_frame,
    StorePosition: Performer._store_position,
    Deliver: lambda performer, effect: performer.audience.deliver_entry(effect),
    Changed: lambda performer, effect: performer.audience.notify_change(effect),
    Settle: Performer._settle_write,
    Abandon: Performer._abandon_write,
    Following: lambda performer, effect: performer.audience.answer_follow(effect),
    Emit: Performer._emit_event,
    Fetch: Performer._fetch_document,
    ResendAfter: Performer._plan_resend,
    FollowAfter: Performer._plan_follow,
    Leave: Performer._leave_connection,
}
