"""Connects of one event loop on their way into the database: those of one turn go together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import TypeVar

from django.db import connections

from session_mgmt.actions.sessions import proving
from session_mgmt.actions.sessions.proving import LiveSession
from session_mgmt.actions.sessions.resume import Ask, Attachment
from session_mgmt.bridge import bridge
from session_mgmt.bridge.connecting import MOST_TOGETHER, Answers, QueuedAsk
from session_mgmt.conf import settings
from session_mgmt.consumers.admission import Admission
from session_mgmt.consumers.grants import Grants
from session_mgmt.exceptions import SessionMgmtError
from session_mgmt.models import clock
from session_mgmt.models.sql import Statements
from session_mgmt.protocol.frames import Connect

T = TypeVar("T")


class Arrivals:
    """Clients that connect here and have no answer yet."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self.admission = Admission(monotonic)
        self.grants = Grants(self._loop.time)
        self._asks: list[QueuedAsk] = []
        self._unproved: list[tuple[str, asyncio.Future[LiveSession]]] = []
        self._proving: asyncio.Task[None] | None = None

    async def attach(self, connect: Connect) -> Attachment:
        """Connect a client, together with whoever comes in the same turn of the loop. Raises its refusal."""
        ask = Ask(connect, self._server)
        if connect.has_topics:
            # The application is asked before the transaction, which must not wait for it.
            session = await self._prove(connect.token)
            # The application's time says nothing about the pace of the database.
            with self.admission.step_aside():
                granted, late = await self.grants.ask(session, connect.logs)
            ask = Ask(connect, self._server, granted, late)
        answer: asyncio.Future[Attachment] = self._loop.create_future()
        # The first one of this turn of the loop.
        if not self._asks:
            self._loop.call_soon(self._send)
        self._asks.append(QueuedAsk(ask, answer, self._take_answers))
        return await answer

    def _send(self) -> None:
        asks, self._asks = self._asks, []
        bridge().connect(asks)

    def _take_answers(self, answers: Answers) -> None:
        """On the lane's thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._hand_out, answers)

    def _hand_out(self, answers: Answers) -> None:
        if not answers.is_held:
            members = len(answers.results)
            under_load = answers.left > 0 or members >= MOST_TOGETHER
            self.admission.note_group(members, taken_at=answers.taken_at, is_under_load=under_load)
        for future, answer in answers.results:
            _settle(future, answer)

    # -- proofs ----------------------------------------------------------------------------------------------------

    async def _prove(self, token: str) -> LiveSession:
        """Return the session of a token, read together with those of others. Raises its refusal."""
        proved: asyncio.Future[LiveSession] = self._loop.create_future()
        self._unproved.append((token, proved))
        if self._proving is None:
            self._proving = self._loop.create_task(self._prove_all(), name="prove sessions")
        return await proved

    async def _prove_all(self) -> None:
        """Read until nobody waits; while one group is read the next gathers."""
        while self._unproved:
            group, self._unproved = self._unproved[:MOST_TOGETHER], self._unproved[MOST_TOGETHER:]
            try:
                found = await bridge().read(_prove_sessions, [token for token, _ in group])
            except Exception as error:
                for _, proved in group:
                    _settle(proved, error)
            else:
                for token, proved in group:
                    _settle(proved, found[token])
        self._proving = None


def _settle(future: asyncio.Future[T], answer: T | Exception) -> None:
    if future.done():
        # Whoever waited has left.
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)


def _prove_sessions(tokens: Sequence[str]) -> dict[str, LiveSession | SessionMgmtError]:
    using = settings().database
    return proving.prove_sessions(Statements(connections[using]), tokens, now=clock.read(using))
