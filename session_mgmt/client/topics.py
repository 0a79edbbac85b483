"""`client.topics`: publications of topics in order, beginning with the missed ones."""

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
from session_mgmt.exceptions import InvalidField
from session_mgmt.protocol import filters
from session_mgmt.protocol.logs import PRESENCE
from session_mgmt.protocol.position import Position

Receipt = dict[str, Any]
Since = dict[str, Any]
Filter = dict[str, Any]


class Published(NamedTuple):
    """Publication in the history of a topic; `at` is ISO 8601."""

    position: Position
    data: Any
    at: str


@dataclass(frozen=True, slots=True)
class PastPage:
    """Page of a topic's history, oldest publication first; `more` is True if older ones are kept."""

    entries: list[Published]
    more: bool


class Subscription:
    """Subscription to a topic. Call it to unsubscribe. `complete` is False if publications since the requested time are
    missing.
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
        """Call `callback(data)` once for each publication, from the stored position or else from now on. Return when
        the topic is followed. With `with_place` call `callback(data, place)`.

        `slow` is one of the ways that the topic allows to go on if this client reads too slowly. `since` is where to
        begin: `{"position": …}`, which takes precedence over a stored position, or, if no position is stored, `{"time":
        …}` (a datetime or ISO 8601) or `{"last": n}`; the result's `complete` is False if publications since that time
        are missing. `filter` asks only for publications with certain values, `{"region": "eu"}` or `{"region": {"in":
        ["eu", "us"]}}`, of the keys that the topic allows. If a topic has several subscribers, the options of the first
        one count for what the server sends, and each is called only for what its own filter allows. If the server has
        no room for the topic now (`busy`), the event `denied` reports it once, and the client asks again after longer
        and longer waits. `snapshot(value)` is called before all publications with the value that they change, and again
        after a gap. Raises `Refused` (`topic_denied`) if the client may not read the topic. Lost publications are
        reported by the event `gap` before the next publication. The event `conflated` reports a range of which only the
        newest publication of each key was sent.
        """
        check_callback(callback)
        if snapshot is not None:
            check_callback(snapshot)
            told = callback if with_place else lambda data, _: callback(data)
            return await self._begin(Beginning(self._port, topic, snapshot, told), slow, since, filter)
        subscribers, wanted = self._port.publications, _read_filter(filter)

        def deliver(data: Any, place: Any) -> None:
            # The server sends what another subscriber wants, too.
            if wanted is None or wanted.matches(data):
                callback(data, place) if with_place else callback(data)

        # Before the topic is followed, because missed entries may arrive before the answer.
        remove = subscribers.add(topic, deliver)
        try:
            complete = await self._port.follow_log(TOPIC + topic, slow, _describe(since), filter)
        # Also for a cancellation, because nobody could remove the callback later.
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

        Raises Refused like `subscribe`, also when the right to read ends later; Stopped when the client stops; and
        TooSlow when more than `limit` publications wait.
        """
        reader = Reader(limit)

        def end_denied(denial: dict[str, Any]) -> None:
            if denial["log"] == TOPIC + topic and not (denial["error"] or {}).get("temporary"):
                reader.fail(Refused(denial["error"] or {}))

        # Before the topic is followed, because the right to read may end before this coroutine continues.
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
        """Return the newest publications before a position, or the newest of all. No subscription is necessary.

        To read the page before, pass the `position` of the first publication as `before`. Raises Refused
        (`topic_denied`, or `unknown_position` for a position of another history), Unanswered or Stopped.
        """
        place = None if before is None else before.as_json()
        page = await self._port.ask_server({"type": "history", "log": TOPIC + topic, "before": place, "limit": limit})
        entries = [Published(Position(page["epoch"], *place), data, at) for *place, data, at in page["entries"]]
        return PastPage(entries, page["more"])

    async def presence(self, topic: str) -> Presence:
        """Return the members of a topic, kept up to date until it is closed; `enter` makes this client a member.

        Raises Refused (`topic_denied`) if this client may not see the members, or Stopped.
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
        """Publish exactly once, also after a lost connection. The future's receipt holds the position.

        With `ephemeral` publish at most once, to clients that are connected now; the future has the result None at
        once.
        """
        if ephemeral:
            self._port.send_ephemeral(topic, data)
            nothing: asyncio.Future[Receipt | None] = asyncio.get_running_loop().create_future()
            nothing.set_result(None)
            return nothing
        frame = {"type": "publish", "topic": topic, "data": data}
        return self._port.write(frame if key is None else {**frame, "key": key})  # type: ignore[return-value]


def _read_filter(given: Filter | None) -> filters.Filter | None:
    """Parse a filter, as far as it does not depend on the topic. Raises Refused as the server does."""
    try:
        return None if given is None else filters.read(given, given if isinstance(given, dict) else ())
    except InvalidField as error:
        raise Refused(error.as_dict()) from error


def _describe(since: Since | None) -> Since | None:
    """Return `since` in the form that is sent."""
    if since is None:
        return None
    return {name: _describe_wish(wish) for name, wish in since.items()}


def _describe_wish(wish: Any) -> Any:
    if isinstance(wish, Position):
        return wish.as_json()
    return wish.isoformat() if isinstance(wish, datetime) else wish
