"""`client.topics`: publications of a topic, in order, the missed ones first."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from session_mgmt.client.core import TOPIC
from session_mgmt.client.listeners import Callback, Listeners, Unsubscribe

Receipt = dict[str, Any]


class Shell(Protocol):
    def write(self, frame: dict[str, Any]) -> asyncio.Future[Receipt]: ...

    def tell_server(self, frame: dict[str, Any]) -> None: ...

    async def following(self, log: str) -> None: ...

    def unfollow(self, log: str) -> None: ...


class Topics:
    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._subscribers = Listeners()

    async def subscribe(self, topic: str, callback: Callback) -> Unsubscribe:
        """Call `callback(data)` once per publication, from now on or from the stored position; returns when that holds.

        A topic that may not be read raises `Refused` (`topic_denied`). What could not be recovered is told by the
        event `gap` before the next publication.
        """
        remove = self._subscribers.add(topic, callback)
        try:
            await self._shell.following(TOPIC + topic)
        except BaseException:
            remove()
            raise

        def unsubscribe() -> None:
            remove()
            if not self._subscribers.any(topic):
                self._shell.unfollow(TOPIC + topic)

        return unsubscribe

    def publish(self, topic: str, data: Any, *, key: str | None = None) -> asyncio.Future[Receipt]:
        """Publish exactly once, also after a lost connection; resolves with the receipt, which holds the position."""
        frame = {"type": "publish", "topic": topic, "data": data}
        return self._shell.write(frame if key is None else {**frame, "key": key})

    def whisper(self, topic: str, data: Any) -> None:
        """Publish at most once to whoever is connected now (`ephemeral`); without a connection to nobody."""
        self._shell.tell_server({"type": "publish", "topic": topic, "data": data, "ephemeral": True})

    def hand(self, topic: str, data: Any) -> None:
        self._subscribers.call(topic, data)
