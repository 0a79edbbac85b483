"""Dispatch of incoming frames: a table from frame types to handlers."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import orjson

from session_mgmt.actions import checking, limits, notify
from session_mgmt.actions.sessions import refreshing
from session_mgmt.actions.topics import subscriptions
from session_mgmt.bridge import bridge
from session_mgmt.conf import settings
from session_mgmt.consumers import log_requests
from session_mgmt.consumers.connection import Connection
from session_mgmt.consumers.log_requests import Handler
from session_mgmt.consumers.writes import Refused, build_text_digest, find_unscoped
from session_mgmt.exceptions import (
    FrameTooLarge,
    InvalidFrame,
    PermissionDenied,
    SessionMgmtError,
    TooManyRequests,
)
from session_mgmt.models import clock
from session_mgmt.protocol import frames, scopes
from session_mgmt.protocol.codes import Close
from session_mgmt.protocol.fields import is_count
from session_mgmt.protocol.frames import (
    Ack,
    Configure,
    Connect,
    Disconnect,
    Frame,
    Ping,
    Pong,
    Publish,
    Refresh,
    Send,
    Update,
)
from session_mgmt.protocol.logs import TOPIC
from session_mgmt.protocol.numbers import find_number
from session_mgmt.writes import verbs

BURST_SECONDS = limits.FRAME_BURST_SECONDS
NOT_UTF8 = 1007


def decode(payload: bytes, *, most: int | None = None) -> Any:
    """Decode a frame of strict JSON, at most ``most`` bytes or the limit of a frame. Raises ``SessionMgmtError``."""
    most = settings().max_frame_bytes if most is None else min(most, settings().max_frame_bytes)
    # Before the text is parsed, so that its size limits the work for a hostile text.
    if len(payload) > most:
        raise FrameTooLarge(limit=most)
    return checking.parse_json(payload, most)


class Commands:
    """Requests of a connected client, one frame after the other."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._tokens = settings().max_frames_per_second * BURST_SECONDS
        self._read_time = asyncio.get_running_loop().time
        self._filled_at = self._read_time()

    def receive(self, payload: bytes) -> None:
        """Handle one text message. Every refusal is answered, and none raises."""
        now = self._read_time()
        self._connection.count_message(len(payload), now)
        # Also before the text is parsed, so that a flood costs no more than its bytes.
        if not self._take_token_at(now):
            # Send the error before the close code, because it explains the reason.
            error = TooManyRequests(retry_after=1.0)
            self._connection.push_error(error)
            self._connection.note_refusal(error, "frames")
            self._connection.stop(Close.TOO_MANY_REQUESTS, retry_after=BURST_SECONDS)
            return
        message = None
        try:
            message = decode(payload)
            frame = frames.parse(message)
        except SessionMgmtError as refusal:
            self._refuse_frame(message, payload, refusal)
            return
        HANDLERS[type(frame)](self._connection, frame)

    def receive_decoded(self, message: Any) -> None:
        """Handle a frame from a body that was parsed as a whole."""
        payload = orjson.dumps(message)
        self._connection.count_message(len(payload), self._read_time())
        try:
            frame = frames.parse(message)
        except SessionMgmtError as refusal:
            self._refuse_frame(message, payload, refusal)
            return
        HANDLERS[type(frame)](self._connection, frame)

    def take_token(self) -> bool:
        """Take a token from a bucket that fills at the allowed rate; return False if it is empty."""
        return self._take_token_at(self._read_time())

    def _take_token_at(self, now: float) -> bool:
        rate = settings().max_frames_per_second
        self._tokens = min(rate * BURST_SECONDS, self._tokens + (now - self._filled_at) * rate)
        self._filled_at = now
        # Also if none is left, so that a client that continues to send must wait longer.
        self._tokens -= 1
        return self._tokens >= 0

    def _refuse_frame(self, message: Any, payload: bytes, error: SessionMgmtError) -> None:
        """Refuse a numbered frame with its number, so that the client can continue with the next one."""
        try:
            text = payload.decode()
        except UnicodeDecodeError:
            # Only if this process reads the bytes itself; a server's own class has checked them already.
            self._connection.outlet.fail(NOT_UTF8)
            text = payload.decode(errors="replace")
        if message is None:
            seq = find_number(text)
        else:
            seq = message.get("seq") if isinstance(message, dict) and message.get("type") in frames.NUMBERED else None
        if is_count(seq, 1):
            self._connection.writes.take(Refused(seq, error, build_text_digest(text)))
            return
        # A client could not match the answer to an id that is not a number.
        request = {"id": message["id"]} if isinstance(message, dict) and is_count(message.get("id")) else {}
        self._connection.push_error(error, **request)


def _take_write(connection: Connection, frame: Update | Publish | Send) -> None:
    connection.mark_active()
    if isinstance(frame, Publish) and frame.seq is None:
        _take_ephemeral(connection, frame)
    else:
        connection.writes.take(frame)


def _take_ephemeral(connection: Connection, frame: Publish) -> None:
    """Send an ephemeral message to all followers: at once if the answers are known, so that messages that come together
    are sent together.
    """
    unscoped = find_unscoped(connection.attachment.restriction, frame)
    if unscoped is not None:
        connection.push_error(unscoped)
        connection.note_refusal(unscoped, "publish", TOPIC + frame.topic)
        return
    followed = connection.followings.get(TOPIC + frame.topic)
    # While the application is asked about one message, the next ones must not overtake it.
    if followed is None or connection.asked_ephemeral or not connection.writes.may_publish(frame.topic):
        connection.asked_ephemeral += 1
        connection.side_work.start_request(partial(_publish_ephemeral, connection, frame))
        return
    try:
        notify.send_ephemeral(followed.feed.row.key, frame.topic, verbs.check_data(frame.data))
    except SessionMgmtError as error:
        connection.push_error(error)


async def _publish_ephemeral(connection: Connection, frame: Publish) -> None:
    try:
        data, session = verbs.check_data(frame.data), connection.attachment.session
        asked = session.as_model(), frame.topic, data, connection.attachment.claim
        await bridge().run_user_code(session.pk, subscriptions.publish_ephemeral, *asked)
        connection.writes.note_publishable(frame.topic)
    except SessionMgmtError as error:
        connection.refuse_request(error, "publish", TOPIC + frame.topic)
    finally:
        connection.asked_ephemeral -= 1


def _take_ack(connection: Connection, frame: Ack) -> None:
    connection.report.confirm(frame.seq)


def _answer_ping(connection: Connection, frame: Ping) -> None:
    now = clock.timestamp_as_text(connection.lifetime.read_server_timestamp())
    connection.outlet.push(f'{{"type":"pong","id":{frame.id},"server_time":"{now}"}}')


def _take_pong(connection: Connection, frame: Pong) -> None:
    connection.take_pong(frame.ping)
    if frame.acked is not None:
        connection.report.confirm(frame.acked)


def _configure_connection(connection: Connection, frame: Configure) -> None:
    try:
        config = connection.configure(frame.wishes)
    except SessionMgmtError as error:
        connection.push_error(error, id=frame.id)
        return
    connection.push({"type": "reply", "id": frame.id, "config": config.as_dict()})


def _take_refresh(connection: Connection, frame: Refresh) -> None:
    connection.side_work.start_request(partial(_refresh_tokens, connection, frame))


async def _refresh_tokens(connection: Connection, frame: Refresh) -> None:
    session = connection.attachment.session.pk
    try:
        refresh = partial(refreshing.refresh_tokens, session=session)
        refreshed = await bridge().call(refresh, frame.token, frame.nonce)
    except SessionMgmtError as error:
        connection.push_error(error, id=frame.id)
        return
    connection.lifetime.note_refresh(refreshed.expires_in)
    connection.push({"type": "reply", "id": frame.id, **refreshed.as_dict()})


def _take_disconnect(connection: Connection, frame: Disconnect) -> None:
    # Remember it, because the transport may be cut before the close frame, and the client has left in any case.
    connection.left = True
    connection.stop(Close.NORMAL)


def _refuse_second_connect(connection: Connection, frame: Connect) -> None:
    connection.push_error(InvalidFrame("connect is the first frame, and comes once."))
    connection.stop(Close.INVALID_FRAME)


def refuse_unmapped(connection: Connection, frame: Frame) -> None:
    """Refuse a frame that is not in the table of scopes."""
    connection.push_error(PermissionDenied())


_HANDLERS: dict[type, Handler] = {
    Connect: _refuse_second_connect,
    Update: _take_write,
    Publish: _take_write,
    Send: _take_write,
    **log_requests.HANDLERS,
    Ack: _take_ack,
    Ping: _answer_ping,
    Pong: _take_pong,
    Configure: _configure_connection,
    Refresh: _take_refresh,
    Disconnect: _take_disconnect,
}


def map_frames(handlers: dict[type, Handler]) -> dict[type, Handler]:
    """Return the handlers, with a refusal for each frame that is not in the table of scopes.

    This is done once, so it costs nothing per frame: a frame that was forgotten in the table is not allowed.
    """
    return {k: one if k.__name__.lower() in scopes.FRAMES else refuse_unmapped for k, one in handlers.items()}


HANDLERS = map_frames(_HANDLERS)
