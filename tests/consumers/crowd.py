"""A crowd of followers without sockets: a room full of tabs, and a clock that passes when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
from django.db import connections as database_connections

from session_mgmt.actions.logs import LogRow
from session_mgmt.actions.sessions.looking import Log
from session_mgmt.actions.topics import reading
from session_mgmt.bridge import bridge
from session_mgmt.consumers.feed import Feed
from session_mgmt.consumers.following import Following
from session_mgmt.consumers.outlet import Outlet
from session_mgmt.consumers.serving import Serving
from session_mgmt.exceptions import SessionMgmtError
from session_mgmt.models import Publication, Stream
from session_mgmt.models.sql import Statements
from session_mgmt.protocol.codes import Close
from session_mgmt.protocol.logs import stream_key
from session_mgmt.protocol.position import Position
from session_mgmt.protocol.recovery import decide
from session_mgmt.writes import verbs
from tests.clocks import Clock

KB = 1024


class Tab:
    """Reader of a test: a connection without a socket."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []
        self.slow: dict[str, str] = {}
        self.code: Close | None = None
        self.replay_turn = asyncio.Lock()
        self._reads = asyncio.Event()
        self._reads.set()
        self.outlet = Outlet(self._send, 1024 * KB)

    async def _send(self, message: dict[str, Any]) -> None:
        await self._reads.wait()
        self.frames.append(orjson.loads(message["text"]))

    def stop_reading(self) -> Callable[[], None]:
        self._reads.clear()
        return self._reads.set

    def push(self, frame: dict[str, Any]) -> None:
        self.outlet.push(orjson.dumps(frame).decode())

    def tells_recovered(self, log: str) -> bool:
        return True

    def starts_behind(self, log: str) -> bool:
        return False

    def push_error(self, error: SessionMgmtError) -> None:
        raise AssertionError(error)

    def stop(self, code: Close) -> None:
        self.code = code

    async def stop_with_reason(self, otherwise: Close) -> None:
        self.code = otherwise

    def build_document_url(self, name: str) -> str | None:
        return None

    @property
    def offsets(self) -> list[int]:
        return [entry[0] for frame in self.frames if frame["type"] == "entries" for entry in frame["entries"]]

    @property
    def gaps(self) -> list[tuple[Any, Any, str]]:
        return [(f["from"], f["to"], f["reason"]) for f in self.frames if f["type"] == "gap"]

    @property
    def recovered(self) -> list[bool]:
        return [frame.get("recovered", False) for frame in self.frames if frame["type"] == "entries"]


class Room:
    """Topic with entries, and tabs that come back to it at chosen places."""

    def __init__(self, serving: Serving, clock: Clock) -> None:
        self.serving, self.clock = serving, clock
        self.followings: list[Following] = []

    async def fill(self, count: int, size: int = 10) -> None:
        await bridge().read(lambda: [verbs.publish("room:1", "x" * size) for _ in range(count)])

    @property
    def feed(self) -> Feed:
        (feed,) = self.serving.feeds.values()
        return feed

    async def come_back(self, places: list[int], *, count: int) -> list[Tab]:
        """Let so many tabs follow the topic in one turn of the loop, each at the next of the places."""
        found = await bridge().read(look, places)
        tabs = [Tab() for _ in range(count)]
        self.replays = [self.follow(tab, found[places[number % len(places)]]) for number, tab in enumerate(tabs)]
        return tabs

    def follow(self, tab: Tab, log: Log) -> asyncio.Task[bool] | None:
        following = Following(tab, self.serving.follow_log(LogRow(log.key, log.name), log.head), log)
        self.followings.append(following)
        return following.start()

    async def arrive(self, places: list[int], *, count: int) -> list[Tab]:
        """Let them come back, and wait until all are at the present."""
        tabs = await self.come_back(places, count=count)
        await self.settle()
        return tabs

    async def settle(self) -> None:
        """Wait until all that came are at the present, and the feed has heard where its log stood when it was made."""
        await asyncio.gather(*(replay for replay in self.replays if replay is not None))
        # It would hear of entries that are written from now on, or not, by chance.
        if (opening := self.serving._opening) is not None:
            await opening


def look(places: list[int]) -> dict[int, Log]:
    """Give the verdict on each place, as a resume does."""
    epoch = Stream.objects.get(topic="room:1").epoch
    tags = {offset: Publication.objects.get(offset=offset).tag if offset else "" for offset in places}
    return {offset: look_at(Position(epoch, offset, tag)) for offset, tag in tags.items()}


def look_at(place: Position) -> Log:
    """Give the verdict on a place."""
    asked = ("room:1", place.offset)
    seen = reading.read_windows(Statements(database_connections["default"]), [asked])[asked]
    return Log("topic:room:1", stream_key("room:1"), None, seen.head, place, decide(place, seen))
