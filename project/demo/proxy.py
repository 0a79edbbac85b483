"""A TCP proxy that can be a bad network: while a client is cut off, nothing passes either way and no connection closes.

The bytes wait where they are: in the proxy, then in the sockets' buffers, as packets wait to be sent again on a dead
line. When the network is mended, connections that were open meanwhile are reset, as by a router that has forgotten
them; what was under way is gone, and no end knows how far the other had come. Connections that were begun during the
cut go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable

from project.demo import heads
from project.demo.heads import Head

HEAD_BYTES = 65_536
CHUNK = 65_536
# A browser opens connections ahead of need; one that says nothing for this long is not needed.
HEAD_SECONDS = 60.0
RST = struct.pack("ii", 1, 0)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[Head], Awaitable[Streams | None]]
Control = Callable[[Head, asyncio.StreamReader], Awaitable[bytes]]

UNAVAILABLE = heads.answer(
    "503 Service Unavailable", b"The server is being started again.\n", "text/plain", refresh="1"
)
NOT_HTTP = heads.answer("400 Bad Request", b"This is no HTTP request.\n", "text/plain")


class Network:
    """What passes at this moment, for whom."""

    def __init__(self) -> None:
        self.cut_off: frozenset[str] = frozenset()
        self.links: set[Link] = set()
        self._answers_pass = True
        self._changed = asyncio.Event()

    def cut(self, clients: Iterable[str]) -> None:
        """From now on nothing passes for these clients."""
        self.cut_off |= frozenset(clients)

    def mend(self, clients: Iterable[str]) -> None:
        """Let everything pass again; connections that were held are reset."""
        mended = frozenset(clients) & self.cut_off
        for link in tuple(self.links):
            if link.client in mended:
                link.reset()
        self.cut_off -= mended
        self._wake()

    def hold_answers(self) -> None:
        """Requests still arrive, answers no longer leave: what is under way becomes unanswered."""
        self._answers_pass = False

    def drop_answers(self) -> None:
        """Reset the connections whose answers were held, except of a client that is cut off: it must not notice."""
        for link in tuple(self.links):
            if link.client not in self.cut_off:
                link.reset()
        self._answers_pass = True
        self._wake()

    async def passing(self, client: str, *, answers: bool = False) -> None:
        """Return when something may pass."""
        while client in self.cut_off or (answers and not self._answers_pass):
            await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed.clear()


class Link:
    """One connection that is passed on to the server."""

    def __init__(self, network: Network, client: str, browser: Streams, server: Streams) -> None:
        self.client = client
        self._network = network
        self._browser, self._server = browser, server
        self._task = asyncio.current_task()

    async def run(self, head: bytes) -> None:
        self._network.links.add(self)
        try:
            self._server[1].write(head)
            await self._until_one_end_is_gone()
            # An end is news too, and no news passes a cut.
            await self._network.passing(self.client)
        finally:
            self._network.links.discard(self)
            for _, writer in (self._browser, self._server):
                writer.close()

    def reset(self) -> None:
        """End it at once, with a reset instead of a good-bye."""
        for _, writer in (self._browser, self._server):
            connection = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
            writer.transport.abort()
        if self._task is not None:
            self._task.cancel()

    async def _until_one_end_is_gone(self) -> None:
        up = asyncio.create_task(self._pump(self._browser[0], self._server[1], answers=False))
        down = asyncio.create_task(self._pump(self._server[0], self._browser[1], answers=True))
        try:
            await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
        finally:
            up.cancel()
            down.cancel()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(CHUNK):
                await self._network.passing(self.client, answers=answers)
                writer.write(data)
                await writer.drain()


class Proxy:
    """Takes browsers' connections. ``connect`` opens one to the server, ``control`` answers what is for the demo."""

    def __init__(self, network: Network, *, control_path: str, connect: Connect, control: Control) -> None:
        self._network = network
        self._control_path = control_path
        self._connect, self._control = connect, control
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> int:
        """Listen; gives the port. Raises ``OSError`` if it is taken."""
        self._server = await asyncio.start_server(self._accept, host, port, limit=HEAD_BYTES)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            # The browser gave up, or what spoke was none.
            pass
        except asyncio.CancelledError:
            # We were stopped, or our link was reset; asyncio would report a cancelled connection as a fault.
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(HEAD_SECONDS):
            head = heads.parse(await reader.readuntil(b"\r\n\r\n"))
        if head is None:
            writer.write(NOT_HTTP)
        elif head.path.startswith(self._control_path):
            writer.write(await self._control(head, reader))
        else:
            await self._pass_on(head, reader, writer)

    async def _pass_on(self, head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A request for a page that comes while a server is about to die waits for the next one.
        await self._network.passing(head.client, answers=not head.is_upgrade)
        server = await self._connect(head)
        if server is None:
            writer.write(UNAVAILABLE)
            return
        peer = writer.get_extra_info("peername")[0]
        await Link(self._network, head.client, (reader, writer), server).run(head.forwarded(peer))
