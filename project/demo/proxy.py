"""TCP proxy that can be a bad network: while a client is cut off, nothing passes either way and no connection closes.

The bytes wait in the proxy, then in the sockets' buffers, as packets wait to be sent again on a dead line. When the
network is mended, connections that were open meanwhile are reset, as by a router that has forgotten them; the bytes
under way are lost, and no end knows how far the other had come. Connections that were begun during the cut go on.
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

UNAVAILABLE = heads.build_response(
    "503 Service Unavailable", b"The server is being started again.\n", "text/plain", refresh="1"
)
NOT_HTTP = heads.build_response("400 Bad Request", b"This is no HTTP request.\n", "text/plain")


async def close_all(*writers: asyncio.StreamWriter) -> None:
    """Close connections and wait until they are; one that was reset is closed already."""
    for writer in writers:
        writer.close()
    for writer in writers:
        with contextlib.suppress(OSError):
            await writer.wait_closed()


class Network:
    """State of the network: the clients that are cut off, and the connections."""

    def __init__(self) -> None:
        self.cut_off: frozenset[str] = frozenset()
        self.links: set[Link] = set()
        # The port of the server whose answers are held.
        self._held_port: int | None = None
        self._changed = asyncio.Event()

    def cut(self, clients: Iterable[str]) -> None:
        """Let nothing pass for these clients."""
        self.cut_off |= frozenset(clients)

    def mend(self, clients: Iterable[str]) -> None:
        """Let everything pass again; connections that were held are reset."""
        mended = frozenset(clients) & self.cut_off
        for link in tuple(self.links):
            if link.client in mended:
                link.reset()
        self.cut_off -= mended
        self._wake_waiting()

    def hold_answers(self, port: int) -> None:
        """Let requests arrive at a server but no answers leave it, so that requests under way stay unanswered."""
        self._held_port = port

    def drop_answers(self) -> None:
        """Reset the connections whose answers were held, but not those of a client that is cut off."""
        for link in tuple(self.links):
            if link.port == self._held_port and link.client not in self.cut_off:
                link.reset()
        self._held_port = None
        self._wake_waiting()

    async def wait_until_open(self, client: str) -> None:
        """Return when the bytes of this client may pass."""
        while client in self.cut_off:
            await self._changed.wait()

    async def wait_for_answers(self, client: str, port: int | None = None) -> None:
        """Return when the answers of a server, or of all, may pass to this client."""
        while client in self.cut_off or (self._held_port is not None and port in (None, self._held_port)):
            await self._changed.wait()

    def _wake_waiting(self) -> None:
        self._changed.set()
        self._changed.clear()


class Link:
    """Connection of a browser that is passed on to the server."""

    def __init__(self, network: Network, head: Head, browser: Streams, server: Streams) -> None:
        self.client, self.is_socket = head.client, head.is_upgrade
        # Of the server that has it, wherever that is.
        self.port = int(server[1].get_extra_info("peername")[1])
        self._network = network
        self._browser, self._server = browser, server
        self._task = asyncio.current_task()

    async def run(self, head: bytes) -> None:
        self._network.links.add(self)
        try:
            self._server[1].write(head)
            await self._pump_both_ways()
            # The end of a connection is information too, and nothing passes a cut.
            await self._network.wait_until_open(self.client)
        finally:
            self._network.links.discard(self)
            await close_all(self._browser[1], self._server[1])

    def reset(self) -> None:
        """Abort the connection with a TCP reset."""
        for _, writer in (self._browser, self._server):
            connection = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
            writer.transport.abort()
        if self._task is not None:
            self._task.cancel()

    async def _pump_both_ways(self) -> None:
        up = asyncio.create_task(self._pump(self._browser[0], self._server[1], self._wait_to_ask))
        down = asyncio.create_task(self._pump(self._server[0], self._browser[1], self._wait_to_answer))
        try:
            await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
        finally:
            up.cancel()
            down.cancel()

    async def _wait_to_ask(self) -> None:
        await self._network.wait_until_open(self.client)

    async def _wait_to_answer(self) -> None:
        await self._network.wait_for_answers(self.client, self.port)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wait: Callable[[], Awaitable[None]]
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(CHUNK):
                await wait()
                writer.write(data)
                await writer.drain()


class Proxy:
    """Listener for browsers. ``connect`` opens a connection to the server; ``control`` answers the demo's own calls."""

    def __init__(self, network: Network, *, control_path: str, connect: Connect, control: Control) -> None:
        self._network = network
        self._control_path = control_path
        self._connect, self._control = connect, control
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> int:
        """Listen and return the port. Raises ``OSError`` if it is taken."""
        self._server = await asyncio.start_server(self._accept_connection, host, port, limit=HEAD_BYTES)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve_request(reader, writer)
        except (ConnectionError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            # The browser gave up, or the peer was no browser.
            pass
        except asyncio.CancelledError:
            # The proxy was stopped or the link reset; asyncio would report a cancelled connection as a fault.
            pass
        finally:
            self._tasks.discard(task)
            await close_all(writer)

    async def _serve_request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(HEAD_SECONDS):
            head = heads.parse_head(await reader.readuntil(b"\r\n\r\n"))
        if head is None:
            writer.write(NOT_HTTP)
        elif head.path.startswith(self._control_path):
            writer.write(await self._control(head, reader))
        else:
            await self._pass_on(head, reader, writer)

    async def _pass_on(self, head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A request for a page that arrives while a server is about to be killed waits for the next one.
        wait = self._network.wait_until_open if head.is_upgrade else self._network.wait_for_answers
        await wait(head.client)
        server = await self._connect(head)
        if server is None:
            writer.write(UNAVAILABLE)
            return
        peer = writer.get_extra_info("peername")[0]
        await Link(self._network, head, (reader, writer), server).run(head.build_forwarded(peer))
