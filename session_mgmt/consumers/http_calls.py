"""Calls of clients over HTTP for Django's views: each waits on its thread for the loop that serves the clients."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import orjson

from session_mgmt.actions import notify
from session_mgmt.actions.sessions import incidents
from session_mgmt.actions.sessions.attachments import Attachment
from session_mgmt.actions.sessions.calls import Call
from session_mgmt.bridge import bridge
from session_mgmt.conf import settings
from session_mgmt.consumers import verdicts
from session_mgmt.consumers.greetings import build_connected
from session_mgmt.consumers.http_frames import answer_frames
from session_mgmt.consumers.http_polls import answer_poll, make_grant
from session_mgmt.consumers.http_requests import Request, build_frames
from session_mgmt.consumers.hub import hub, pick_delay
from session_mgmt.exceptions import AuthError, Draining, HeartbeatLost, SessionMgmtError
from session_mgmt.protocol.calls import NONE, read_attach, read_leave
from session_mgmt.protocol.configuration import Configuration
from session_mgmt.protocol.logs import TOPIC

logger = logging.getLogger(__name__)


def serve_attach(request: Request) -> bytes:
    """Answer ``connections/``. Raises ``SessionMgmtError``."""
    return _serve(_attach, request)


def serve_frames(request: Request) -> bytes:
    """Answer ``connections/frames/``. Raises ``SessionMgmtError``."""
    return _serve(answer_frames, request)


def serve_leave(request: Request) -> bytes:
    """Answer ``connections/leave/``. Raises ``SessionMgmtError``."""
    return _serve(_leave, request)


def serve_poll(request: Request, *, has_loop: bool) -> bytes:
    """Answer ``connections/poll/`` if none of our ASGI applications does; a held poll occupies a thread.

    ``has_loop`` is True if the server is an ASGI server. Raises ``SessionMgmtError``.
    """
    may_hold = has_loop or settings().wsgi_hold > 0
    most = None if has_loop else settings().wsgi_hold
    return _serve(partial(answer_poll, may_hold=may_hold, most_seconds=most), request)


def _serve(answer: Callable[[Request], Coroutine[Any, Any, bytes]], request: Request) -> bytes:
    return bridge().run_at_home(partial(_answer_and_record, answer, request), _stop_hub)


async def _stop_hub() -> None:
    await hub().stop()


async def _answer_and_record(answer: Callable[[Request], Coroutine[Any, Any, bytes]], request: Request) -> bytes:
    try:
        return await answer(request)
    except AuthError as error:
        await record_refusal(request, error)
        raise


async def record_refusal(request: Request, error: AuthError) -> None:
    """Record a refused token in its session's log or in the audit trail; an error in this changes no answer."""
    try:
        await bridge().call(incidents.record_refusal, request.find_token(), error, ip=request.address)
    except SessionMgmtError:
        logger.debug("A refused call had no token that could be noted")


async def _attach(request: Request) -> bytes:
    if hub().draining:
        raise Draining(retry_after=pick_delay())
    # Refuse the call before any work if too many clients wait already.
    with hub().arrivals.admission.admit():
        call = read_attach(request.parse_body(), request.find_token())
        await hub().late_writes.wait_until_left(call.connect.client_id)
        attachment = await hub().arrivals.attach(call.connect, call.transport)
    # An earlier poll or socket of this client may be held here.
    hub().serving.stop_fenced(attachment.client, attachment.generation)
    hub().visitors.hear(attachment, acked=call.connect.acked)
    greeting = _greet(attachment, call.transport, request.script_name)
    return build_frames([orjson.dumps(greeting).decode()])


def _greet(attachment: Attachment, transport: str, script_name: str) -> dict[str, Any]:
    """Build ``connected``, with the rights to topics and the name of the recovery."""
    judged = verdicts.judge_attachment(attachment)
    beats = Configuration(settings().heartbeat_interval, settings().heartbeat_missed_limit, 0.0)
    greeting = build_connected(attachment, *judged, config=beats, script_name=script_name)
    for name in attachment.logs:
        if name.startswith(TOPIC):
            greeting["logs"][name]["grant"] = make_grant(attachment, name)
    recovers = not attachment.is_new and transport != NONE
    return {**greeting, "recovery": str(attachment.connection) if recovers else None}


async def _leave(request: Request) -> bytes:
    claim = read_leave(request.parse_body())
    try:
        proved = await hub().proofs.prove(Call(request.find_token(), claim))
    except HeartbeatLost:
        # It is closed: by an earlier call whose answer was lost, or at the end of its lease.
        return b""
    await hub().visitors.leave(proved.attachment)
    # The poll may be held by any process.
    await bridge().call(notify.tell_departure, proved.attachment.client, proved.attachment.generation)
    return b""
