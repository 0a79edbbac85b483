"""Polls of clients over HTTP, and streams, which are polls with a long answer.

A poll proves itself, checks its logs like a resume, and follows them as usual until its answer is sent. No state of it
stays: the client knows its positions, and the next poll may come to any process.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from session_mgmt.actions.sessions import calls, permits, receipts
from session_mgmt.actions.sessions.attachments import Attachment
from session_mgmt.actions.sessions.calls import Call, Proved
from session_mgmt.bridge import bridge
from session_mgmt.conf import settings
from session_mgmt.consumers.connection import Connection
from session_mgmt.consumers.http_outlets import KEEP_ALIVE, Basket, Stream
from session_mgmt.consumers.http_requests import Request, build_frames
from session_mgmt.consumers.hub import Hub, hub, pick_delay
from session_mgmt.consumers.judging import deny_crowds
from session_mgmt.consumers.outlet import Outlet
from session_mgmt.consumers.rechecks import find_interval
from session_mgmt.consumers.recovery import complete_when_replayed, send_receipt
from session_mgmt.exceptions import Busy, Draining, SessionMgmtError, TopicDenied
from session_mgmt.protocol.calls import NONE, Poll, read_poll
from session_mgmt.protocol.logs import STATE, TOPIC
from session_mgmt.protocol.recovery import Mode

# A poll that need not wait still waits this long for reads that it has started.
READ_SECONDS = 2.0
PING_SECONDS = 1.0
QUIET_SECONDS = 15.0
# Proxies cut streams after a minute, so end them earlier, at random, so that clients of a storm come back separately.
LONGEST_STREAM = 50.0
STREAM_SPREAD = 0.1
# Seconds in which the peer of a stream must accept its first bytes, and its last frames.
LAST_SECONDS = 5.0
# Seconds between the polls of a client that this process has no room to hold.
FULL_SECONDS = (5.0, 10.0)


class HeldPoll(Connection):
    """Connection that lasts for one answer."""

    holds_lease = False

    def __init__(self, outlet: Outlet, proved: Proved, at: Hub, request: Request, poll: Poll, *, streams: bool) -> None:
        found, path = proved.attachment, request.script_name
        super().__init__(outlet, found, at, script_name=path, address=request.address, slow=poll.slow)
        self._proved = proved
        self.recovers = poll.recovery is not None and poll.recovery == str(found.connection)
        self._owed = self._find_owed() if self.recovers else frozenset()
        self._streams = streams

    def starts_behind(self, log: str) -> bool:
        """Return True if entries may be left out: a stream's outlet may be full, but promised entries are sent."""
        return not self._streams and log not in self._owed

    def tells_recovered(self, log: str) -> bool:
        """Return True if the entries of a log include some that ``connected`` has promised."""
        return log in self._owed

    def _find_owed(self) -> frozenset[str]:
        """Return the logs that have not reached the position that ``connected`` promised."""
        promised = receipts.find_promised(self._proved.receipt)
        return frozenset(
            name
            for name, log in self.attachment.logs.items()
            if (log.verdict.mode is Mode.ENTRIES and log.asked is not None and log.asked.offset < promised.get(name, 0))
            or (log.verdict.mode is Mode.LOST and name.startswith(STATE))
        )

    def begin(self) -> list[asyncio.Task[bool]]:
        """Follow all logs; return the running replays."""
        older = self.hub.serving.clients.get(self.attachment.client)
        if isinstance(older, HeldPoll) and older.attachment.generation == self.attachment.generation:
            older.give_way()
        self.hub.serving.add_connection(self)
        if self.closed_with is not None:
            return []
        deny_crowds(self.hub.serving, self.attachment)
        for name, error in self.attachment.denied.items():
            self.push_error(error, log=name)
            self.note_refusal(error, "poll", name)
            self.end_presence(name, error)
        followings = [self.followings.join(log) for log in self.attachment.logs.values()]
        for following in followings:
            following.tell_loss()
        if self.recovers and not self._owed:
            # Before entries that were not promised; after them it might never fit into an answer while more are
            # written.
            self._complete_recovery()
        replays = {f.log.name: replay for f in followings if (replay := f.start()) is not None}
        if owed := [replay for name, replay in replays.items() if name in self._owed]:
            self.side_work.start(partial(complete_when_replayed, owed, self._complete_recovery))
        elif self._owed:
            self._complete_recovery()
        return list(replays.values())

    def give_way(self) -> None:
        """End with the present frames, because the client has begun another poll."""
        self.outlet.close(1000, "polled again")

    def _complete_recovery(self) -> None:
        found = self.attachment
        lost = self.followings.list_lost()
        receipt = receipts.complete_receipt(self._proved.receipt, found.connection, lost, found.at)
        if receipt is not None:
            send_receipt(self, receipt)


async def prove_poll(request: Request, poll: Poll) -> tuple[Proved, dict[str, str]]:
    """Return a poll's attachment with its logs, and new grants for topics that the application was asked about."""
    call = Call(request.find_token(), poll.claim, poll.logs, poll.grants, poll.slow, poll.filters)
    if hub().draining:
        raise Draining(retry_after=pick_delay())
    proved = await hub().proofs.prove(call)
    if not proved.unpermitted:
        return proved, {}
    question = hub().arrivals.grants.ask(proved.attachment.session, proved.unpermitted)
    await hub().arrivals.grants.wait([question])
    granted, late = question.tell()
    allowed = {name: poll.logs[name] for name in proved.unpermitted if name.removeprefix(TOPIC) in granted}
    denied: dict[str, SessionMgmtError] = {
        name: late.get(name, TopicDenied()) for name in proved.unpermitted if name not in allowed
    }
    if allowed:
        look = partial(calls.look_at_permitted, gate=bridge().gate)
        session = proved.attachment.session.pk
        proved = await bridge().take_turn(session, look, proved, allowed, poll.slow, poll.filters)
    attachment = proved.attachment
    proved = replace(proved, attachment=replace(attachment, denied={**attachment.denied, **denied}))
    return proved, {name: make_grant(proved.attachment, name) for name in allowed if name in proved.attachment.logs}


def make_grant(attachment: Attachment, name: str) -> str:
    """Make the grant for a topic, which is valid as long as a right is kept without asking again."""
    lifetime, topic = timedelta(seconds=find_interval(name)), name.removeprefix(TOPIC)
    return permits.make_permit(attachment.holder, topic, now=attachment.at, lifetime=lifetime)


async def answer_poll(request: Request, *, may_hold: bool = True, most_seconds: float | None = None) -> bytes:
    """Answer a long poll. Raises ``SessionMgmtError``."""
    poll = read_poll(request.parse_body())
    proved, grants = await prove_poll(request, poll)
    visitor = hub().visitors.hear(proved.attachment, acked=poll.acked)
    is_full = hub().held >= settings().max_held
    seconds = 0.0 if is_full or not may_hold or proved.transport == NONE else _read_hold(poll, most_seconds)
    basket = Basket()
    held = HeldPoll(Outlet(basket.send, settings().max_outbound_bytes), proved, hub(), request, poll, streams=False)
    hub().held += 1
    try:
        if grants:
            held.push({"type": "grants", "grants": grants})
        replays = held.begin()
        if replays:
            await basket.wait_beside(replays, max(seconds, READ_SECONDS))
        await basket.wait(seconds)
        held.followings.tell_places()
    finally:
        hub().held -= 1
        hub().visitors.add_figures(visitor, held.report)
        held.release()
    visitor.empty_polls = 0 if basket.frames else visitor.empty_polls + 1
    next_in = random.uniform(*FULL_SECONDS) if is_full else 0.0 if may_hold else _choose_pause(visitor.empty_polls)
    return build_frames(basket.frames, next_in=round(next_in, 1))


def _read_hold(poll: Poll, most_seconds: float | None) -> float:
    wanted = settings().heartbeat_interval if poll.hold is None else float(poll.hold)
    return wanted if most_seconds is None else min(wanted, most_seconds)


def _choose_pause(empty_polls: int) -> float:
    """Return the seconds until the next poll if none is held: fewer while frames come."""
    return float(min(3 + 3 * max(empty_polls - 1, 0), 15))


async def stream_poll(request: Request, send: Any, headers: list[tuple[bytes, bytes]]) -> None:
    """Answer a stream. Raises ``SessionMgmtError`` before its first byte."""
    poll = read_poll(request.parse_body())
    proved, grants = await prove_poll(request, poll)
    if hub().held >= settings().max_held:
        raise Busy(retry_after=random.uniform(*FULL_SECONDS))
    visitor = hub().visitors.hear(proved.attachment, acked=poll.acked)
    stream = Stream(send)
    outlet = Outlet(stream.send, settings().max_outbound_bytes)
    held = HeldPoll(outlet, proved, hub(), request, poll, streams=True)
    hub().held += 1
    try:
        async with asyncio.timeout(LAST_SECONDS):
            await stream.begin(headers)
        if grants:
            held.push({"type": "grants", "grants": grants})
        held.begin()
        await _keep_talking(held, stream)
        async with asyncio.timeout(LAST_SECONDS):
            await outlet.wait_until_sent()
            await stream.finish()
    except TimeoutError:
        # The peer no longer reads; the logs hold the rest.
        pass
    finally:
        hub().held -= 1
        hub().visitors.add_figures(visitor, held.report)
        held.release()


async def _keep_talking(held: HeldPoll, stream: Stream) -> None:
    loop = asyncio.get_running_loop()
    longest = min(2 * settings().heartbeat_interval, LONGEST_STREAM) * random.uniform(1 - STREAM_SPREAD, 1)
    ends_at = loop.time() + longest
    # Soon after the first bytes, so that a client behind a proxy that holds small chunks back notices that nothing
    # comes.
    await asyncio.wait([stream.over], timeout=PING_SECONDS)
    if not stream.over.done():
        held.push({"type": "ping", "ping": 0, "rtt_ms": None})
    while not stream.over.done() and (now := loop.time()) < ends_at:
        await asyncio.wait([stream.over], timeout=max(min(stream.sent_at + QUIET_SECONDS, ends_at) - now, 0.01))
        if loop.time() >= stream.sent_at + QUIET_SECONDS:
            held.followings.tell_places()
        if loop.time() >= stream.sent_at + QUIET_SECONDS and held.outlet.is_idle:
            held.outlet.push(KEEP_ALIVE)
    if not stream.over.done():
        held.followings.tell_places()
        held.push({"type": "again"})
