"""Answers of the application to who may follow which topic, kept for the seconds of one storm.

The project's functions may be slow or fail; they run on threads of their own, before anything is locked.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from session_mgmt.actions.sessions.proving import LiveSession
from session_mgmt.actions.topics import subscriptions
from session_mgmt.bridge import bridge
from session_mgmt.exceptions import Busy, SessionMgmtError
from session_mgmt.models import ClientSession
from session_mgmt.protocol.logs import TOPIC

logger = logging.getLogger(__name__)

# As long as the right to publish.
KEPT_SECONDS = 5.0
# A function that takes longer holds up its own session; its topic is denied for now.
LONGEST_ANSWER = 5.0


@dataclass(slots=True)
class _Kept:
    """Answers about the topics of one session."""

    until: float
    answers: dict[str, bool] = field(default_factory=dict)


class Grants:
    """Answers for one event loop; a (session, topic) is asked once in a storm."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # In the order of their ends.
        self._kept: dict[uuid.UUID, _Kept] = {}

    async def ask(
        self, session: LiveSession, logs: Iterable[str]
    ) -> tuple[frozenset[str], dict[str, SessionMgmtError]]:
        """Return the topics among the logs that the session may follow, and the logs that got no answer in time."""
        topics = [name.removeprefix(TOPIC) for name in logs if name.startswith(TOPIC)]
        answers = self._find_answers(session.pk)
        if any(topic not in answers for topic in topics):
            job = bridge().ask_application(session.pk, _ask_all, session.as_model(), topics, answers)
            done, _ = await asyncio.wait([asyncio.wrap_future(job)], timeout=LONGEST_ANSWER)
            for finished in done:
                finished.result()
        late = [topic for topic in topics if topic not in answers]
        if late:
            logger.error("The application did not tell in %g s who may follow %s", LONGEST_ANSWER, late[0])
        granted = frozenset(topic for topic in topics if answers.get(topic))
        return granted, {TOPIC + topic: Busy(retry_after=LONGEST_ANSWER) for topic in late}

    def forget(self, session: uuid.UUID) -> None:
        """Ask anew: something about the session has changed."""
        self._kept.pop(session, None)

    def _find_answers(self, session: uuid.UUID) -> dict[str, bool]:
        now = self._clock()
        while self._kept and (oldest := next(iter(self._kept.items())))[1].until <= now:
            del self._kept[oldest[0]]
        if session not in self._kept:
            self._kept[session] = _Kept(now + KEPT_SECONDS)
        return self._kept[session].answers


def _ask_all(session: ClientSession, topics: Iterable[str], answers: dict[str, bool]) -> None:
    """Ask about the topics without an answer. Jobs of one session take turns, so another one may have asked."""
    for topic in topics:
        if topic not in answers:
            answers[topic] = subscriptions.may_follow(session, topic)
