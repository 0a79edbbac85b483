"""`client.topics.presence(topic)`: who is there in a topic, kept up to date, and the client itself among them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, NamedTuple, Protocol

from session_mgmt.client.errors import ClientError, Stopped, Unanswered
from session_mgmt.client.listeners import Callback, Listeners, Unsubscribe
from session_mgmt.client.logbook import TOPIC
from session_mgmt.client.reader import ReaderPort
from session_mgmt.protocol.logs import PRESENCE


class Member(NamedTuple):
    """Member of a topic, with what it says of itself; `since` is ISO 8601."""

    data: Any
    since: str


class PresencePort(ReaderPort, Protocol):
    """Calls that `Presence` needs from the shell."""

    async def ask_server(self, frame: dict[str, Any]) -> dict[str, Any]: ...


class Presence:
    """Who is there in a topic. `members` by id is None while there are more than the topic shows; `count` is right.

    `on("change", callback)` calls back without arguments after each change.
    """

    def __init__(self, port: PresencePort, topic: str) -> None:
        self._port, self._topic = port, topic
        self.members: dict[str, Member] | None = {}
        self.count = 0
        self._listeners = Listeners()
        # Offset up to which entries are known; None before the first answer, and after a gap until the next one.
        self._offset: int | None = None
        self._waiting: list[tuple[Any, int]] = []
        # What this client says of itself while it is there.
        self._entered: tuple[Any] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        # Ends with each new connection, and with the client.
        self._connected = asyncio.Event()
        self._ends: list[Unsubscribe] = [
            port.events.add("connected", lambda _: self._return()),
            port.events.add("stopped", lambda _: self._connected.set()),
            port.events.add("gap", lambda gap: self._read_anew() if gap["log"] == self._log else None),
        ]

    def __repr__(self) -> str:
        return f"<Presence {self._topic} count={self.count}>"

    @property
    def _log(self) -> str:
        return TOPIC + PRESENCE + self._topic

    async def begin(self, end: Unsubscribe) -> None:
        """Read the members; the log is followed already, until `end` is called."""
        self._ends.append(end)
        await self._until_answered(self._read)

    def take(self, entry: Any, offset: int) -> None:
        """Take an entry of the log."""
        if self._offset is None:
            self._waiting.append((entry, offset))
        elif offset > self._offset:
            self._offset = offset
            self._apply(entry)
            self._listeners.call_all("change")

    async def enter(self, data: Any = None) -> str:
        """Enter the topic, or change the data of this client's member; return the member's id.

        The client stays there over drops and restarts until it leaves. Raises Refused or Stopped.
        """
        self._entered = (data,)
        try:
            return str((await self._until_answered(lambda: self._ask("enter", data=data)))["member"])
        except BaseException:
            self._entered = None
            raise

    async def update(self, data: Any) -> str:
        """Change the data of this client's member, as `enter` does."""
        return await self.enter(data)

    async def leave(self) -> None:
        """Leave the topic, and go on seeing who is there. Raises Stopped."""
        self._entered = None
        await self._until_answered(lambda: self._ask("leave"))

    def on(self, event: str, callback: Callback) -> Unsubscribe:
        """Call `callback()` after each change of the members or their number; the event is `change`."""
        return self._listeners.add(event, callback)

    async def close(self) -> None:
        """Leave the topic if this client has entered it, and see its members no more."""
        for end in self._ends:
            end()
        for task in self._tasks:
            task.cancel()
        if self._entered is not None:
            self._entered = None
            try:
                await self._ask("leave")
            except (Unanswered, Stopped):
                # Without a connection the grace of the topic ends it.
                return

    async def _ask(self, type_: str, **more: Any) -> dict[str, Any]:
        return await self._port.ask_server({"type": type_, "log": TOPIC + self._topic, **more})

    async def _until_answered(self, ask: Any) -> Any:
        """Ask on this connection, or else on the next one that answers."""
        while True:
            self._connected.clear()
            try:
                return await ask()
            except Unanswered:
                await self._connected.wait()

    async def _read(self) -> None:
        answer = await self._ask("members")
        self._offset, self.count = answer["position"][1], answer["count"]
        self.members = _read_members(answer["members"])
        waiting, self._waiting = self._waiting, []
        for entry, offset in waiting:
            if offset > self._offset:
                self._offset = offset
                self._apply(entry)
        self._listeners.call_all("change")

    def _apply(self, entry: Any) -> None:
        self.count = entry["count"]
        if "members" in entry:
            self.members = _read_members(entry["members"])
        elif "joined" not in entry:
            self.members = None
        elif self.members is not None:
            gone = set(entry["left"])
            kept = {member: row for member, row in self.members.items() if member not in gone}
            self.members = kept | _read(entry["joined"]) | _read(entry["changed"])

    def _return(self) -> None:
        self._connected.set()
        if self._entered is not None:
            # The server may have let it go: it was away for longer than the grace, maybe.
            (data,) = self._entered
            self._start(self._ask("enter", data=data))

    def _read_anew(self) -> None:
        self._offset, self._waiting = None, []
        self._start(self._until_answered(self._read))

    def _start(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(_run(work, self._port.events))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _run(work: Coroutine[Any, Any, Any], events: Listeners) -> None:
    try:
        await work
    except (Unanswered, Stopped):
        # The next connection asks again.
        return
    except ClientError as error:
        events.call_all("error", {"name": getattr(error, "name", "network_error"), "message": str(error)})


def _read_members(rows: Any) -> dict[str, Member] | None:
    return None if rows is None else _read(rows)


def _read(rows: dict[str, dict[str, Any]]) -> dict[str, Member]:
    return {member: Member(row["data"], row["since"]) for member, row in rows.items()}
