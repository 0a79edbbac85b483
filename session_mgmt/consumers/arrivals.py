"""Connects of one event loop on their way to the database. Connects that arrive together are written together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from time import monotonic
from typing import TypeVar

from django.db import connections

from session_mgmt.actions.sessions import proving
from session_mgmt.actions.sessions.attachments import Ask, Attachment
from session_mgmt.actions.sessions.connections import WEBSOCKET
from session_mgmt.actions.sessions.proving import LiveSession
from session_mgmt.bridge import bridge
from session_mgmt.bridge.connecting import MOST_TOGETHER, Answers, QueuedAsk
from session_mgmt.conf import settings
from session_mgmt.consumers.admission import Admission
from session_mgmt.consumers.grants import Grants, Question
from session_mgmt.consumers.pacing import CrowdSize
from session_mgmt.exceptions import SessionMgmtError
from session_mgmt.models import clock
from session_mgmt.models.sql import Statements
from session_mgmt.protocol.frames import Connect

T = TypeVar("T")

# If several clients come together, more will follow. So the next group waits at least this long, because a group costs
# little more than one member. A client that comes alone does not wait.
GATHER_SECONDS = 0.04


class _Arrival:
    """Connect that has no answer yet."""

    __slots__ = ("access_version", "answer", "connect", "question", "transport")

    def __init__(self, connect: Connect, transport: str, answer: asyncio.Future[Attachment]) -> None:
        self.connect, self.transport, self.answer = connect, transport, answer
        self.question: Question | None = None
        # Version of the rights when the application was asked; they may change before the client is attached.
        self.access_version: int | None = None


class Arrivals:
    """Clients that are connecting here and have no answer yet."""

    def __init__(
        self, server: str, size: CrowdSize, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._server, self._size, self._sleep = server, size, sleep
        self._loop = asyncio.get_running_loop()
        self.admission = Admission(monotonic)
        self.grants = Grants(self._loop)
        self._arrived: list[_Arrival] = []
        self._bringing: asyncio.Task[None] | None = None
        # Kept, because an event loop holds its tasks by weak references only.
        self._late: set[asyncio.Task[None]] = set()
        # One order for all groups, because of two connects of a client the later one must replace the earlier one.
        self._answers: deque[tuple[asyncio.Future[Attachment], Attachment | Exception]] = deque()

    async def attach(self, connect: Connect, transport: str = WEBSOCKET) -> Attachment:
        """Connect a client, together with others that arrive at the same time. Raises the error if it is refused."""
        arrival = _Arrival(connect, transport, self._loop.create_future())
        self._arrived.append(arrival)
        if self._bringing is None:
            self._bringing = self._loop.create_task(self._bring_all(), name="connects")
        return await arrival.answer

    async def _bring_all(self) -> None:
        """Connect groups until nobody waits. While one group is proved and the application is asked, the next one
        gathers.
        """
        while self._arrived:
            gathered = self._loop.time() + GATHER_SECONDS
            group, self._arrived = self._arrived[:MOST_TOGETHER], self._arrived[MOST_TOGETHER:]
            try:
                await self._bring_group(group)
            # A member without an answer would keep its socket open until its client gives up.
            except Exception as error:
                for arrival in group:
                    _settle(arrival.answer, error)
            if (len(group) > 1 or self._arrived) and len(self._arrived) < MOST_TOGETHER:
                await self._sleep(gathered - self._loop.time())
        # No await since the last look at the list, or an arrival in between would wait for a task that has ended.
        self._bringing = None

    async def _bring_group(self, group: list[_Arrival]) -> None:
        # A client without topics needs no proof here, because the transaction checks every token anyway.
        asked = await self._ask_application([arrival for arrival in group if arrival.connect.has_topics])
        with self.admission.step_aside(len(asked)):
            await self.grants.wait([question for arrival in asked if (question := arrival.question)], GATHER_SECONDS)
        ready: list[_Arrival] = []
        for arrival in group:
            if arrival.question is None or arrival.question.is_answered:
                ready.append(arrival)
            else:
                # The others of the group no longer wait for it.
                task = self._loop.create_task(self._bring_late(arrival, arrival.question), name="late connect")
                self._late.add(task)
                task.add_done_callback(self._late.discard)
        if any(arrival.connect.since for arrival in ready):
            await bridge().drain_waiting()
        self._send(ready)

    async def _ask_application(self, group: list[_Arrival]) -> list[_Arrival]:
        """Ask who may follow which topics, before the transaction, which must not wait for it; return who was asked."""
        proofs = await self._prove([arrival.connect.token for arrival in group])
        asked: list[_Arrival] = []
        for arrival in group:
            proof = proofs[arrival.connect.token]
            try:
                if isinstance(proof, Exception):
                    raise proof
                arrival.access_version = proof.access_version
                arrival.question = self.grants.ask(proof, arrival.connect.logs)
                asked.append(arrival)
            except Exception as error:
                _settle(arrival.answer, error)
        return asked

    async def _prove(self, tokens: list[str]) -> Mapping[str, LiveSession | Exception]:
        """Read the sessions of tokens together; an error is raised for all of them."""
        try:
            return await bridge().read(_prove_sessions, tokens) if tokens else {}
        except Exception as error:
            return dict.fromkeys(tokens, error)

    async def _bring_late(self, arrival: _Arrival, question: Question) -> None:
        with self.admission.step_aside():
            await self.grants.wait([question])
        if arrival.connect.since:
            await bridge().drain_waiting()
        self._send([arrival])

    def _send(self, arrivals: Iterable[_Arrival]) -> None:
        """Pass clients to the connecting lane; those of one call share a transaction."""
        asks: list[QueuedAsk] = []
        for arrival in arrivals:
            try:
                granted, late = arrival.question.tell() if arrival.question else (frozenset(), {})
            except Exception as error:
                _settle(arrival.answer, error)
            if not arrival.answer.done():
                answered = granted, late, arrival.transport, arrival.access_version
                ask = Ask(arrival.connect, self._server, *answered)
                asks.append(QueuedAsk(ask, arrival.answer, self._take_answers))
        if asks:
            bridge().connect(asks)

    def _take_answers(self, answers: Answers) -> None:
        """Take the answers, in the lane's thread."""
        # The thread of the lane may outlive its loop, and a closed loop accepts no calls.
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._hand_out, answers)

    def _hand_out(self, answers: Answers) -> None:
        if not answers.is_held:
            members = len(answers.results)
            under_load = answers.left > 0 or members >= MOST_TOGETHER
            self.admission.note_group(members, taken_at=answers.taken_at, is_under_load=under_load)
        is_settling = bool(self._answers)
        self._answers.extend(answers.results)
        if not is_settling:
            self._settle_some()

    def _settle_some(self) -> None:
        for _ in range(min(self._size.answers, len(self._answers))):
            _settle(*self._answers.popleft())
        if self._answers:
            self._loop.call_soon(self._settle_some)


def _settle(future: asyncio.Future[T], answer: T | Exception) -> None:
    if future.done():
        # The caller no longer waits.
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)


def _prove_sessions(tokens: Sequence[str]) -> dict[str, LiveSession | SessionMgmtError]:
    # Tokens are judged by the database's clock, like every deadline, because the clocks of servers differ.
    using = settings().database
    return proving.prove_sessions(Statements(connections[using]), tokens, now=clock.read(using))
