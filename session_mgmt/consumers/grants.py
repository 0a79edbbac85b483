"""Answers of the application about who may follow which topic, kept for the seconds of a storm.

Functions of the project may be slow or fail, so they run in threads of their own, before anything is locked.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import uuid
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeAlias

from session_mgmt.actions.sessions.proving import LiveSession
from session_mgmt.actions.topics import subscriptions
from session_mgmt.bridge import bridge
from session_mgmt.exceptions import Busy, SessionMgmtError
from session_mgmt.models import ClientSession
from session_mgmt.protocol.logs import TOPIC

logger = logging.getLogger(__name__)

# The same time as for the right to publish.
KEPT_SECONDS = 5.0
# A function that takes longer delays only its own session, whose topic is denied for now.
LONGEST_ANSWER = 5.0


# By topic the reason why it may not be followed, or ``None``.
Answers: TypeAlias = dict[str, SessionMgmtError | None]


@dataclass(slots=True)
class _Kept:
    """Answers about the topics of one session."""

    until: float
    access_version: int
    answers: Answers = field(default_factory=dict)


class Question:
    """Topics that a session may or may not follow; ``job`` asks the application about those without an answer."""

    def __init__(self, topics: list[str], answers: Answers, job: Future[None] | None) -> None:
        self._topics, self._answers, self.job = topics, answers, job

    @property
    def is_answered(self) -> bool:
        return self.job is None or self.job.done()

    def tell(self) -> tuple[frozenset[str], dict[str, SessionMgmtError]]:
        """Return the topics that the session may follow, and the logs that got no answer in time."""
        if self.job is not None and self.job.done():
            self.job.result()
        late = [topic for topic in self._topics if topic not in self._answers]
        if late:
            logger.error("The application did not tell in %g s who may follow %s", LONGEST_ANSWER, late[0])
        answered = {topic: self._answers[topic] for topic in self._topics if topic in self._answers}
        denied: dict[str, SessionMgmtError] = {TOPIC + topic: Busy(retry_after=LONGEST_ANSWER) for topic in late}
        denied |= {TOPIC + topic: refusal for topic, refusal in answered.items() if refusal is not None}
        return frozenset(topic for topic, refusal in answered.items() if refusal is None), denied


class Grants:
    """Answers for one event loop; in a storm, each pair of session and topic is asked only once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._clock = loop, loop.time
        # In the order in which they end.
        self._kept: dict[uuid.UUID, _Kept] = {}

    def ask(self, session: LiveSession, logs: Iterable[str]) -> Question:
        """Begin to ask who may follow the topics among the logs. Raises ``Busy``."""
        topics = [name.removeprefix(TOPIC) for name in logs if name.startswith(TOPIC)]
        answers = self._find_answers(session)
        job = None
        if any(topic not in answers for topic in topics):
            job = bridge().ask_application(session.pk, _ask_all, session.as_model(), topics, answers)
        return Question(topics, answers, job)

    async def wait(self, questions: Iterable[Question], seconds: float | None = None) -> None:
        """Wait until all are answered, at most ``seconds`` (by default ``LONGEST_ANSWER``)."""
        jobs = [question.job for question in questions if question.job is not None and not question.job.done()]
        if not jobs:
            return
        countdown = _Countdown(self._loop, len(jobs))
        for job in jobs:
            job.add_done_callback(countdown.count)
        await asyncio.wait([countdown.over], timeout=LONGEST_ANSWER if seconds is None else seconds)

    def forget(self, session: uuid.UUID) -> None:
        """Forget the answers, because something about the session has changed."""
        self._kept.pop(session, None)

    def _find_answers(self, session: LiveSession) -> Answers:
        now = self._clock()
        while self._kept and (oldest := next(iter(self._kept.items())))[1].until <= now:
            del self._kept[oldest[0]]
        kept = self._kept.get(session.pk)
        if kept is not None and kept.access_version < session.access_version:
            # The kept answers belong to earlier rights.
            del self._kept[session.pk]
            kept = None
        if kept is None:
            # Use does not extend the time; otherwise an answer that is used all the time would never be checked again.
            kept = self._kept[session.pk] = _Kept(now + KEPT_SECONDS, session.access_version)
        return kept.answers


class _Countdown:
    """Wake the event loop once, when the last of some jobs is done: to wake it for each costs more than the jobs."""

    def __init__(self, loop: asyncio.AbstractEventLoop, jobs: int) -> None:
        self._loop, self._lock, self._left = loop, threading.Lock(), jobs
        self.over: asyncio.Future[None] = loop.create_future()

    def count(self, _: Future[None]) -> None:
        """Count a job as done, on the thread that did it."""
        with self._lock:
            self._left -= 1
            if self._left or self._loop.is_closed():
                return
        self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        if not self.over.done():
            self.over.set_result(None)


def _ask_all(session: ClientSession, topics: Iterable[str], answers: Answers) -> None:
    """Ask about the topics without an answer. Jobs of one session take turns, so another one may have asked."""
    for topic in topics:
        if topic not in answers:
            answers[topic] = subscriptions.find_refusal(session, topic)
