"""Questions about a topic, which are asked again on the next connection if no answer came."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol

from session_mgmt.client.errors import ClientError, Stopped, Unanswered
from session_mgmt.client.listeners import Listeners, Unsubscribe
from session_mgmt.client.logbook import TOPIC
from session_mgmt.client.reader import ReaderPort


class QuestionPort(ReaderPort, Protocol):
    """Calls that `Questions` needs from the shell."""

    async def ask_server(self, frame: dict[str, Any]) -> dict[str, Any]: ...


class Questions:
    """Questions of one part of the client about a topic, and the background tasks that ask them."""

    def __init__(self, port: QuestionPort, topic: str) -> None:
        self._port, self._topic = port, topic
        self._tasks: set[asyncio.Task[None]] = set()
        # Set by each new connection, and when the client stops.
        self._connected = asyncio.Event()
        self._ends: list[Unsubscribe] = [
            port.events.add("connected", lambda _: self._connected.set()),
            port.events.add("stopped", lambda _: self._connected.set()),
        ]

    async def ask(self, type_: str, **more: Any) -> dict[str, Any]:
        """Ask on this connection; without an answer, ask again on the next one. Raises Refused or Stopped."""
        while True:
            self._connected.clear()
            try:
                return await self.ask_once(type_, **more)
            except Unanswered:
                await self._connected.wait()

    async def ask_once(self, type_: str, **more: Any) -> dict[str, Any]:
        """Ask on this connection. Raises Refused, Unanswered or Stopped."""
        return await self._port.ask_server({"type": type_, "log": TOPIC + self._topic, **more})

    def start(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine in the background; a refusal becomes an `error` event."""
        task = asyncio.get_running_loop().create_task(_run(work, self._port.events))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Stop asking."""
        for end in self._ends:
            end()
        for task in self._tasks:
            task.cancel()


async def _run(work: Coroutine[Any, Any, Any], events: Listeners) -> None:
    try:
        await work
    except (Unanswered, Stopped):
        # The next connection asks again.
        return
    except ClientError as error:
        events.call_all("error", {"name": getattr(error, "name", "network_error"), "message": str(error)})
