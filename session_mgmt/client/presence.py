"""`client.topics.presence(topic)`: the members of a topic, kept up to date; the client may be one of them."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from session_mgmt.client.errors import Stopped, Unanswered
from session_mgmt.client.listeners import Callback, Listeners, Unsubscribe
from session_mgmt.client.logbook import TOPIC
from session_mgmt.client.questions import QuestionPort, Questions
from session_mgmt.protocol.logs import PRESENCE


class Member(NamedTuple):
    """Member of a topic, with the data that it gave about itself; `since` is ISO 8601."""

    data: Any
    since: str


class Presence:
    """Members of a topic. `members` (by id) is None while there are more than the topic shows; `count` is always right.

    `on("change", callback)` calls back without arguments after each change.
    """

    def __init__(self, port: QuestionPort, topic: str) -> None:
        self._topic = topic
        self._questions = Questions(port, topic)
        self.members: dict[str, Member] | None = {}
        self.count = 0
        self._listeners = Listeners()
        # Offset up to which entries are known; None until the members have been read, also after a gap.
        self._offset: int | None = None
        self._waiting: list[tuple[Any, int]] = []
        # Data that this client gave about itself, in a tuple; None while it is not a member.
        self._entered: tuple[Any] | None = None
        self._ends: list[Unsubscribe] = [
            self._questions.close,
            port.events.add("connected", lambda _: self._return()),
            port.events.add("gap", lambda gap: self._read_anew() if gap["log"] == self._log else None),
        ]

    def __repr__(self) -> str:
        return f"<Presence {self._topic} count={self.count}>"

    @property
    def _log(self) -> str:
        return TOPIC + PRESENCE + self._topic

    async def begin(self, end: Unsubscribe) -> None:
        """Read the members. The log is followed already; `close` calls `end`."""
        self._ends.append(end)
        await self._read()

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

        The client stays a member over lost connections and restarts until it leaves. Raises Refused or Stopped.
        """
        entered: tuple[Any] = (data,)
        before, self._entered = self._entered, entered
        try:
            return str((await self._questions.ask("enter", data=data))["member"])
        except BaseException as problem:
            # A member whose new data is refused stays a member. A later call may have replaced it.
            if self._entered is entered:
                self._entered = before
            if before is None and isinstance(problem, asyncio.CancelledError):
                # The server may have taken it, and the program believes that it did not enter.
                self._questions.start(self._questions.ask_once("leave"))
            raise

    async def update(self, data: Any) -> str:
        """Change the data of this client's member, as `enter` does."""
        return await self.enter(data)

    async def leave(self) -> None:
        """Leave the topic, and continue to see its members. Raises Stopped."""
        self._entered = None
        await self._questions.ask("leave")

    def on(self, event: str, callback: Callback) -> Unsubscribe:
        """Call `callback()` after each change of the members or their number; the event is `change`. Raises ValueError
        for any other event.
        """
        if event != "change":
            raise ValueError(f"event of presence is change, not {event!r}")
        return self._listeners.add(event, callback)

    async def close(self) -> None:
        """Leave the topic if this client has entered it, and stop watching its members."""
        for end in self._ends:
            end()
        if self._entered is not None:
            self._entered = None
            try:
                await self._questions.ask_once("leave")
            except (Unanswered, Stopped):
                # Without a connection the membership ends when the topic's grace time is over.
                return

    async def _read(self) -> None:
        answer = await self._questions.ask("members")
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
        if self._entered is not None:
            # The server may have removed the member, if the client was away for longer than the grace time.
            (data,) = self._entered
            self._questions.start(self._questions.ask_once("enter", data=data))

    def _read_anew(self) -> None:
        self._offset, self._waiting = None, []
        self._questions.start(self._read())


def _read_members(rows: Any) -> dict[str, Member] | None:
    return None if rows is None else _read(rows)


def _read(rows: dict[str, dict[str, Any]]) -> dict[str, Member]:
    return {member: Member(row["data"], row["since"]) for member, row in rows.items()}
