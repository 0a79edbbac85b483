"""Frames of clients over HTTP: a call contains the frames that a socket would bring one by one, and gets their answers.

The call names the positions of the documents that it changes. Their entries come before the receipts, as on a socket,
so that a receipt need not wait for a poll.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from session_mgmt.actions import limits
from session_mgmt.actions.sessions.calls import Call, Proved
from session_mgmt.actions.sessions.looking import Log
from session_mgmt.conf import settings
from session_mgmt.consumers import verdicts
from session_mgmt.consumers.commands import Commands
from session_mgmt.consumers.connection import Connection
from session_mgmt.consumers.http_outlets import MOST_BYTES, Basket
from session_mgmt.consumers.http_polls import make_grant
from session_mgmt.consumers.http_requests import Request, build_frames
from session_mgmt.consumers.hub import Hub, hub, pick_delay
from session_mgmt.consumers.outlet import Outlet
from session_mgmt.exceptions import (
    Busy,
    Detached,
    Disconnected,
    Draining,
    InternalError,
    InvalidFrame,
    LoginCheck,
    Replaced,
    SessionExpired,
    SessionMgmtError,
    SessionTerminated,
    TokenExpired,
    TooManyRequests,
    Unavailable,
)
from session_mgmt.protocol.calls import Exchange, read_exchange
from session_mgmt.protocol.codes import Close
from session_mgmt.protocol.configuration import Configuration
from session_mgmt.protocol.fields import is_count
from session_mgmt.protocol.frames import Subscribe
from session_mgmt.protocol.logs import STATE, TOPIC

# A handler may take longer; then the answer to its message is `busy`, and the client asks again.
ANSWER_SECONDS = 20.0
_SEQ_OF_RECEIPT = re.compile(r'\{"type":"receipt","seq":([0-9]+),')
_REFUSALS: dict[Close, type[SessionMgmtError]] = {
    Close.REPLACED: Replaced,
    Close.DETACHED: Detached,
    Close.NORMAL: Disconnected,
    Close.LOGIN_CHECK: LoginCheck,
    Close.TOKEN_EXPIRED: TokenExpired,
    Close.SESSION_EXPIRED: SessionExpired,
    Close.SESSION_TERMINATED: SessionTerminated,
    Close.INVALID_FRAME: InvalidFrame,
    Close.INTERNAL_ERROR: InternalError,
    Close.TOO_MANY_REQUESTS: TooManyRequests,
}


class Exchanging(Connection):
    """Connection that lasts for the frames of one call."""

    holds_lease = False

    def __init__(self, outlet: Outlet, proved: Proved, at: Hub, request: Request) -> None:
        super().__init__(outlet, proved.attachment, at, script_name=request.script_name, address=request.address)
        self.reason = ""
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def tells_recovered(self, log: str) -> bool:
        """Return False, because promised entries come with polls."""
        return False

    def require_room(self) -> None:
        """Check that one more page may be sent; the client reads nothing before the answer is sent. Raises ``Busy``."""
        if self.outlet.bytes >= MOST_BYTES:
            raise Busy(retry_after=0.1)

    def answer_subscribe(self, frame: Subscribe, log: Log) -> None:
        """Send the verdict on one more log, with its grant. Its entries come with the poll, which says ``slow`` and
        ``filter`` again.
        """
        grant = {"grant": make_grant(self.attachment, log.name)} if log.name.startswith(TOPIC) else {}
        verdict = {**verdicts.build_verdict(log), **grant}
        self.push({"type": "reply", "id": frame.id, "verdict": verdict, **verdicts.describe_reading(frame)})

    def stop(self, code: Close, *, retry_after: float | None = None, reason: str = "") -> None:
        """End the call; it is refused as a whole."""
        if self.closed_with is None:
            self.closed_with = code
            self.reason = reason
            self._ended.set_result(None)

    def configure(self, wishes: Mapping[str, float]) -> Configuration:
        """Only check the values: polls replace beats here, and this connection ends with its call. Raises
        ``InvalidField``.
        """
        self.judge_wishes(wishes)
        return self.read_config()

    async def work_off(self, frames: list[Any]) -> None:
        """Handle frames in their order, until all are answered or the call must end."""
        commands = Commands(self)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                for frame in frames:
                    await self.wait_for_room()
                    commands.receive_decoded(frame)
                await self._wait_for_answers()
        except TimeoutError:
            return
        if self.is_fenced:
            # Wait for the end of this call, which gives the reason.
            await self._ended

    async def _wait_for_answers(self) -> None:
        await self.slot.wait()
        await self.inbox.wait_until_empty()
        for following in list(self.followings.values()):
            await following.wait_for_replay()
            if following.has_parked:
                # The receipt is about entries that another process has written.
                following.feed.catch_up()
                await following.feed.wait_for_read()
                await following.wait_for_replay()


async def answer_frames(request: Request) -> bytes:
    """Answer a call with frames. Raises ``SessionMgmtError``."""
    exchange = read_exchange(request.parse_body())
    documents = {name: place for name, place in exchange.logs.items() if name.startswith(STATE)}
    call = Call(request.find_token(), exchange.claim, documents)
    if hub().draining:
        raise Draining(retry_after=pick_delay())
    proved = await hub().proofs.prove(call)
    limits.admit_frames(proved.attachment.client, len(exchange.frames))
    visitor = hub().visitors.hear(proved.attachment, acked=exchange.acked)
    basket = Basket(most_bytes=None)
    working = Exchanging(Outlet(basket.send, settings().max_outbound_bytes), proved, hub(), request)
    try:
        for log in proved.attachment.logs.values():
            working.followings.join(log).start()
        await working.work_off(exchange.frames)
        _push_unanswered(working, exchange, basket)
    finally:
        hub().visitors.add_figures(visitor, working.report)
        if (confirmed := working.report.take_confirmed()) is not None:
            visitor.acked = max(visitor.acked, confirmed.seq)
        working.release()
    if working.closed_with is not None:
        raise _build_refusal(working.closed_with, working.reason)
    return build_frames(basket.frames)


def _push_unanswered(working: Exchanging, exchange: Exchange, basket: Basket) -> None:
    """Answer messages whose handlers still run; all other frames without an answer are sent again."""
    answered = {int(found[1]) for text in basket.frames if (found := _SEQ_OF_RECEIPT.match(text))}
    for frame in exchange.frames:
        seq = frame.get("seq")
        # A frame without a number was answered with an error.
        if frame.get("type") == "send" and is_count(seq, 1) and seq not in answered:
            error = Busy(retry_after=1.0)
            working.push({"type": "receipt", "seq": seq, "ok": False, "error": error.as_dict()})


def _build_refusal(code: Close, reason: str) -> SessionMgmtError:
    facts: dict[str, Any] = {"reason": reason} if reason else {}
    return _REFUSALS.get(code, Unavailable)(**facts)
