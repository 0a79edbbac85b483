"""`client.topics`: publications of a topic in order, missed ones first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from session_mgmt.client.beginning import Beginning
from session_mgmt.client.errors import Refused
from session_mgmt.client.listeners import Callback, Listeners, Unsubscribe, check_callback
from session_mgmt.client.logbook import TOPIC
from session_mgmt.client.presence import Presence
from session_mgmt.client.reader import WAITING_LIMIT, Reader, ReaderPort
from session_mgmt.protocol.logs import PRESENCE
from session_mgmt.protocol.position import Position

Receipt = dict[str, Any]
Since = dict[str, Any]
Filter = dict[str, Any]


class Published(NamedTuple):
    """Publication of the past; `at` is ISO 8601."""

    position: Position
    data: Any
    at: str


@dataclass(frozen=True, slots=True)
class PastPage:
    """Page of a topic's past, the newest publication last; `more` tells whether older ones are kept."""

    entries: list[Published]
    more: bool


class Subscription:
    """Subscription to a topic, which ends when it is called. `complete` is False if publications since the time that
    was wished for are gone.
    """

    def __init__(self, end: Unsubscribe, complete: bool) -> None:
        self._end, self.complete = end, complete

    def __call__(self) -> None:
        self._end()


class TopicsPort(ReaderPort, Protocol):
    """Calls that `Topics` needs from the shell."""

    publications: Listeners

    def write(self, frame: dict[str, Any]) -> asyncio.Future[Receipt]: ...

    def send_ephemeral(self, topic: str, data: Any) -> None: ...

    async def follow_log(
        self, log: str, slow: str | None = None, since: Since | None = None, only: Filter | None = None
    ) -> bool: ...

    def unfollow_log(self, log: str) -> None: ...

    async def ask_server(self, frame: dict[str, Any]) -> dict[str, Any]: ...


class Topics:
    """Topics of one client."""

    def __init__(self, port: TopicsPort) -> None:
        self._port = port

    def __repr__(self) -> str:
        return f"<Topics {', '.join(self._port.publications.names()) or 'none'}>"

    async def subscribe(
        self,
        topic: str,
        callback: Callback,
        *,
        slow: str | None = None,
        since: Since | None = None,
        filter: Filter | None = None,
        with_place: bool = False,
        snapshot: Callback | None = None,
    ) -> Subscription:
        """Call `callback(data)` once per publication, from the stored position or else from now on; returns when that
        holds. With `with_place` call `callback(data, place)`.

        `slow` says how to go on where this client reads too slowly, of the ways that the topic names. `since` says
        where to begin: `{"position": …}`, which counts before a stored one, or without a position `{"time": …}` (a
        datetime or ISO 8601) or `{"last": n}`; `complete` of the result is False if publications since that time are
        gone. `filter` asks for those only that have one value of each member: `{"region": "eu"}` or
        `{"region": {"in": ["eu", "us"]}}`, of the keys that the topic names. Of several subscribers the first one
        decides. Where the topic has no room now (`busy`), the event `denied` tells it once, and the server is asked
        again, ever later, until it has. `snapshot(value)` is called before all publications with the value that they
        change, and again after a gap. Raises `Refused` (`topic_denied`) if the topic may not be read. Lost publications
        are reported by the event `gap` before the next one, and a range of which only the newest of each key come by
        `conflated`.
        """
        check_callback(callback)
        if snapshot is not None:
            check_callback(snapshot)
            told = callback if with_place else lambda data, _: callback(data)
            return await self._begin(Beginning(self._port, topic, snapshot, told), slow, since, filter)
        subscribers = self._port.publications
        # Before the topic is followed: missed entries may arrive before the answer.
        remove = subscribers.add(topic, callback if with_place else lambda data, _: callback(data))
        try:
            complete = await self._port.follow_log(TOPIC + topic, slow, _describe(since), filter)
        # Also for a cancellation, or a callback that nobody can remove would go on being called.
        except BaseException:
            remove()
            raise

        def unsubscribe() -> None:
            remove()
            # Another part of the application may still follow it.
            if not subscribers.has_any(topic):
                self._port.unfollow_log(TOPIC + topic)

        return Subscription(unsubscribe, complete)

    async def _begin(
        self, beginning: Beginning, slow: str | None, since: Since | None, only: Filter | None
    ) -> Subscription:
        topic = beginning.topic
        try:
            wishes: dict[str, Any] = {"slow": slow, "since": since, "filter": only}
            subscription = await self.subscribe(topic, beginning.take, with_place=True, **wishes)
            await beginning.begin(subscription)
        except BaseException:
            beginning.close()
            raise
        return Subscription(beginning.close, subscription.complete)

    async def iterate(
        self,
        topic: str,
        *,
        limit: int = WAITING_LIMIT,
        slow: str | None = None,
        since: Since | None = None,
        filter: Filter | None = None,
    ) -> AsyncIterator[Any]:
        """Yield the publications of a topic: `async for data in client.topics.iterate("orders:42")`.

        Raises Refused as `subscribe`, also when the right ends later, Stopped when the client stops, and TooSlow when
        more than `limit` wait.
        """
        reader = Reader(limit)

        def end_denied(denial: dict[str, Any]) -> None:
            if denial["log"] == TOPIC + topic and not (denial["error"] or {}).get("temporary"):
                reader.fail(Refused(denial["error"] or {}))

        # Before the topic is followed: the right may end before this coroutine goes on.
        forget = self._port.events.add("denied", end_denied)
        try:
            unsubscribe = await self.subscribe(topic, reader.put, slow=slow, since=since, filter=filter)
            try:
                async for data in reader.read(self._port):
                    yield data
            finally:
                unsubscribe()
        finally:
            forget()

    async def history(self, topic: str, *, before: Position | None = None, limit: int = 50) -> PastPage:
        """Return the newest publications before a place, or of all; no subscription is needed.

        The `position` of the first one is the `before` of the page before. Raises Refused (`topic_denied`, or
        `unknown_position` for a place of another history), Unanswered or Stopped.
        """
        place = None if before is None else before.as_json()
        page = await self._port.ask_server({"type": "history", "log": TOPIC + topic, "before": place, "limit": limit})
        entries = [Published(Position(page["epoch"], *place), data, at) for *place, data, at in page["entries"]]
        return PastPage(entries, page["more"])

    async def presence(self, topic: str) -> Presence:
        """Return who is there in a topic, kept up to date until it is closed; `enter` makes this client a member.

        Raises Refused (`topic_denied`) if the members may not be seen, or Stopped.
        """
        found = Presence(self._port, topic)
        try:
            name = PRESENCE + topic
            end = await self.subscribe(name, lambda entry, place: found.take(entry, place.offset), with_place=True)
            await found.begin(end)
        except BaseException:
            await found.close()
            raise
        return found

    def publish(
        self, topic: str, data: Any, *, key: str | None = None, ephemeral: bool = False
    ) -> asyncio.Future[Receipt | None]:
        """Publish exactly once, also after a lost connection; resolves with the receipt, which holds the position.

        With `ephemeral` publish at most once, to those who are connected now; resolves with None at once.
        """
        if ephemeral:
            self._port.send_ephemeral(topic, data)
            nothing: asyncio.Future[Receipt | None] = asyncio.get_running_loop().create_future()
            nothing.set_result(None)
            return nothing
        frame = {"type": "publish", "topic": topic, "data": data}
        return self._port.write(frame if key is None else {**frame, "key": key})  # type: ignore[return-value]


def _describe(since: Since | None) -> Since | None:
    """Return a wish as it goes over the wire."""
    if since is None:
        return None
    return {name: _describe_wish(wish) for name, wish in since.items()}


def _describe_wish(wish: Any) -> Any:
    if isinstance(wish, Position):
        return wish.as_json()
    return wish.isoformat() if isinstance(wish, datetime) else wish
