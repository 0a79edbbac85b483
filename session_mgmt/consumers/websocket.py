"""WebSocket transport: a Channels consumer whose loop only moves frames.

Channels' own dispatch changes the thread for every message (37 to 56 % of a consumer's time, measured) and keeps a
channel layer for every connection. This one does neither; otherwise it is an ordinary consumer: ``as_asgi()``,
``scope``, and ``WebsocketCommunicator`` in tests.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, TypeAlias

import orjson
from channels.consumer import AsyncConsumer

from session_mgmt.actions import addresses, ends, limits
from session_mgmt.actions.sessions import incidents
from session_mgmt.actions.sessions.attachments import Attachment
from session_mgmt.bridge import bridge
from session_mgmt.conf import settings
from session_mgmt.consumers import origins
from session_mgmt.consumers.commands import decode
from session_mgmt.consumers.connection import Connection
from session_mgmt.consumers.cookie_proof import prove_connect
from session_mgmt.consumers.greetings import build_bye
from session_mgmt.consumers.hub import hub, pick_delay
from session_mgmt.consumers.intake import ABNORMAL, Intake, encode_text
from session_mgmt.consumers.outlet import Outlet
from session_mgmt.consumers.prefix import find_script_name
from session_mgmt.exceptions import AuthError, InvalidFrame, OriginDenied, SessionMgmtError, TooManyRequests
from session_mgmt.protocol import frames
from session_mgmt.protocol.codes import Close
from session_mgmt.protocol.frames import Connect, Ping

logger = logging.getLogger(__name__)

Refusal: TypeAlias = Close | SessionMgmtError | None

SUBPROTOCOL = "session-mgmt.v1"
# Memory for a client that has proved nothing. It is enough for all positions of a session at its limits.
CONNECT_BYTES = 64 * 1024
# A ping before ``connect`` needs no more bytes.
PROBE_BYTES = 100


class SessionConsumer(AsyncConsumer):
    """WebSocket consumer. Mount it with ``as_asgi()``; a project may subclass it and override ``may_open``."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        await self._serve(receive, send)

    async def may_open(self) -> Refusal:
        """Return the reason why this handshake is refused, or None.

        The page's origin must be the host's own or in ``allowed_origins``, and the host one of ``ALLOWED_HOSTS``.
        """
        try:
            origins.check_origin(self.scope)
        except OriginDenied as error:
            logger.warning("A WebSocket was refused. %s", error)
            return error
        return None if SUBPROTOCOL in self.scope.get("subprotocols", ()) else Close.UNSUPPORTED_VERSION

    async def _serve(self, receive: Callable[[], Awaitable[Any]], send: Any) -> None:
        event = await receive()
        if event["type"] != "websocket.connect":
            return
        # Find them once, because each is needed several times while a connection opens.
        self._address, self._hub = addresses.read_scope(self.scope), hub()
        address, serving = self._address, self._hub.serving
        # Sockets without an address (Unix domain sockets) have no client address that could have too many.
        if address and not serving.add_socket(address):
            self._hub.denials.note(TooManyRequests(), "handshake", address=address)
            await self._serve_socket(receive, send, Close.TOO_MANY_REQUESTS)
            return
        try:
            await serving.crowd.openings.take()
            await self._serve_socket(receive, send, await self._find_refusal())
        finally:
            if address:
                serving.remove_socket(address)

    async def _find_refusal(self) -> Refusal:
        refusal = await self.may_open()
        if isinstance(refusal, SessionMgmtError):
            self._hub.denials.note(refusal, "handshake", address=self._address)
        return Close.DRAINING if refusal is None and self._hub.draining else refusal

    async def _serve_socket(
        self, receive: Callable[[], Awaitable[Any]], send: Any, refusal: Close | SessionMgmtError | None
    ) -> None:
        offered = SUBPROTOCOL if SUBPROTOCOL in self.scope.get("subprotocols", ()) else None
        # Accept first, because a browser reports a refused handshake as 1006, which says nothing.
        await send({"type": "websocket.accept", "subprotocol": offered})
        outlet = Outlet(send, settings().max_outbound_bytes)
        _tell_way(outlet.own_protocol is not None)
        if outlet.guard is not None:
            # The limit is removed when the client has proved a session.
            outlet.guard.limit_bytes(CONNECT_BYTES)
        attached = None if refusal else await self._attach(receive, outlet)
        if attached is None:
            if isinstance(refusal, SessionMgmtError):
                _send_refusal(outlet, refusal)
            elif refusal:
                _send_bye(outlet, refusal, retry_after=pick_delay() if refusal.reconnect else None)
            # The server drops frames that are not written when the consumer returns.
            await outlet.wait_until_sent()
            return
        path = find_script_name(self.scope)
        attachment, slow = attached
        connection = Connection(outlet, attachment, self._hub, script_name=path, address=self._address, slow=slow)
        await self._run_connection(connection, receive)

    async def _attach(
        self, receive: Callable[[], Awaitable[Any]], outlet: Outlet
    ) -> tuple[Attachment, Mapping[str, Any]] | None:
        """Wait for the first frame, which must come in time and be a ``connect`` that proves a session; return also the
        ways to go on that it asks for.
        """
        try:
            # A socket that proves nothing uses memory and a descriptor, so it has a deadline.
            async with asyncio.timeout(settings().connect_timeout):
                event = await _receive_first(receive, outlet)
        except TimeoutError:
            _send_bye(outlet, Close.CONNECT_TIMEOUT)
            return None
        if event["type"] != "websocket.receive":
            return None
        frame = caller = None
        try:
            # Refuse the client before any work if too many wait already.
            with self._hub.arrivals.admission.admit():
                frame = frames.parse(decode(encode_text(event.get("text") or ""), most=CONNECT_BYTES))
                if not isinstance(frame, Connect):
                    raise InvalidFrame("The first frame is connect.")
                frame = prove_connect(frame, self.scope)
                caller = limits.Caller(self._address, frame.token)
                # Before any query, because guessed tokens must not reach the database.
                limits.admit_caller(caller)
                await self._hub.late_writes.wait_until_left(frame.client_id)
                return await self._hub.arrivals.attach(frame), frame.slow
        except SessionMgmtError as error:
            _send_refusal(outlet, error)
            if caller is not None:
                # A refused token counts more against its caller than an accepted one.
                limits.fine_caller(caller, error)
                self._hub.denials.note(error, "connect", address=caller.address)
            if isinstance(error, AuthError) and isinstance(frame, Connect):
                await self._record_refusal(frame.token, error)
        except Exception:
            logger.exception("A connection could not be opened")
            _send_bye(outlet, Close.INTERNAL_ERROR)
        return None

    async def _record_refusal(self, token: str, error: AuthError) -> None:
        """Record a refused token in its session's log or in the audit trail; an error in this changes no answer."""
        try:
            await bridge().call(incidents.record_refusal, token, error, ip=self._address)
        except SessionMgmtError:
            logger.warning("A refused token could not be noted")

    async def _run_connection(self, connection: Connection, receive: Callable[[], Awaitable[Any]]) -> None:
        connection.set_hang_up(asyncio.current_task())
        code = ABNORMAL
        try:
            connection.open()
            code = await Intake(connection).run(receive)
        except asyncio.CancelledError:
            if connection.closed_with is None:
                # The server cancelled the task, not our own hang-up.
                raise
            # The peer did not answer the goodbye, so the connection was hung up.
        finally:
            connection.set_hang_up(None)
            # Also after a failure; otherwise the row would stay open until its lease ends.
            await connection.end(code)


async def _receive_first(receive: Callable[[], Awaitable[Any]], outlet: Outlet) -> Any:
    """Return the first message that is not only a ping. One ping is answered: it tests whether sockets work here, and
    proves nothing.
    """
    event = await receive()
    text = event.get("text") if event["type"] == "websocket.receive" else None
    if text is None or len(text) > PROBE_BYTES:
        return event
    with suppress(SessionMgmtError):
        frame = frames.parse(decode(encode_text(text)))
        if isinstance(frame, Ping):
            outlet.push(f'{{"type":"pong","id":{frame.id},"server_time":null}}')
            return await receive()
    return event


@lru_cache
def _tell_way(own: bool) -> None:
    """Log once for each way how connections are served, because a wrong option can switch the faster one off."""
    if own:
        logger.info("WebSockets are read by session_mgmt.uvicorn:WebSocketProtocol.")
    else:
        logger.info(
            "WebSockets are read by the server's own class. With uvicorn there is a cheaper one: docs/howto/deploy.md"
        )


def _send_refusal(outlet: Outlet, error: SessionMgmtError) -> None:
    """Send an error and close: with the error's own code, or with one for a broken rule or a temporary error."""
    code = Close(error.close) if error.close else Close.UNAVAILABLE if error.temporary else Close.INVALID_FRAME
    outlet.push(orjson.dumps({"type": "error", **error.as_dict()}).decode())
    _send_bye(outlet, code, retry_after=error.retry_after, reason=ends.find_reason(error))


def _send_bye(outlet: Outlet, code: Close, *, retry_after: float | None = None, reason: str = "") -> None:
    outlet.push(orjson.dumps(build_bye(code, retry_after=retry_after, reason=reason)).decode())
    outlet.close(code, code.name.lower())
