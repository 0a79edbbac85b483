"""`client.topics.subscribe(…, snapshot=…)`: the value of a topic, and the publications after it."""

from __future__ import annotations

from typing import Any

from session_mgmt.client.errors import ClientError
from session_mgmt.client.listeners import Callback, Listeners, Unsubscribe
from session_mgmt.client.logbook import TOPIC
from session_mgmt.client.questions import QuestionPort, Questions


class Beginning:
    """Subscriber that receives the value of a topic first, then the publications that the value does not contain."""

    def __init__(self, port: QuestionPort, topic: str, tell_value: Callback, tell_entry: Callback) -> None:
        self.topic = topic
        self._questions = Questions(port, topic)
        # Through listeners, so that a callback that raises does not stop the other one.
        self._listeners = Listeners()
        self._listeners.add("value", tell_value)
        self._listeners.add("entry", tell_entry)
        # Number of the last request for the value: after a second gap, the answer to the first request is out of date.
        self._reading = 0
        # Offset of the last publication in the value; None until the value has arrived, also after a gap.
        self._offset: int | None = None
        self._waiting: list[tuple[Any, Any]] = []
        self._ends: list[Unsubscribe] = [
            self._questions.close,
            port.events.add("gap", lambda gap: self._read_anew() if gap["log"] == TOPIC + topic else None),
        ]

    def take(self, data: Any, place: Any) -> None:
        """Deliver a publication that the value does not contain; before the value has arrived, keep it."""
        if self._offset is None:
            self._waiting.append((data, place))
        elif place.offset is None or place.offset > self._offset:
            self._listeners.call_all("entry", data, place)

    async def begin(self, end: Unsubscribe) -> None:
        """Request the value of the topic, which is followed already; `close` calls `end`. Raises Refused or Stopped."""
        self._ends.append(end)
        await self._read()

    def close(self) -> None:
        """Receive nothing any more."""
        for end in self._ends:
            end()
        self._ends.clear()

    async def _read(self) -> None:
        self._reading += 1
        mine = self._reading
        answer = await self._questions.ask("value")
        if mine != self._reading:
            return
        self._listeners.call_all("value", answer["data"])
        self._let_go(answer["position"][1])

    def _read_anew(self) -> None:
        self._offset, self._waiting = None, []
        self._questions.start(self._read_or_go_on())

    async def _read_or_go_on(self) -> None:
        try:
            await self._read()
        except ClientError:
            # The refusal becomes an `error` event; the publications go on without a value.
            self._let_go(-1)
            raise

    def _let_go(self, offset: int) -> None:
        self._offset = offset
        waiting, self._waiting = self._waiting, []
        for data, place in waiting:
            self.take(data, place)
