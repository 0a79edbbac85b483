"""Proxy between a page and its server that lets no WebSocket through, or no stream, each in its own way."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from project.demo.heads import Head, build_response, parse_head
from project.demo.proxy import CHUNK, HEAD_BYTES, Streams
from tests.browser.waiting import PATIENCE
from tests.ports import take_port

HOST = "127.0.0.1"
# In the first frame of an attachment.
CONNECTED = b'"type":"connected"'
REFUSAL = build_response("403 Forbidden", b"No upgrades here.\n", "text/plain")
# Calls of the API are answered by the portal; documents and bundles come from the browser's cache, as it were.
PORTALS = {
    "portal page": build_response("200 OK", b"<html>Log in to the network</html>", "text/html"),
    "portal redirect": build_response("302 Found", b"", "text/html", location="/portal/"),
}


class Hostile:
    """Network between pages and one server. ``mode`` may change at any time, for the requests that come then."""

    def __init__(self, port: int, mode: str = "open") -> None:
        self.mode = mode
        # Requests by kind: `socket`, `stream`, `poll`, `connections`, `frames`, `leave`, `other`.
        self.asked: Counter[str] = Counter()
        self.url = ""
        self._port = port
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()

    def let_sockets_through(self) -> None:
        """Pass on the sockets that a slow network holds, and those that come later."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._open.set)

    def reset_all(self) -> None:
        """End all connections that are there."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self.reset(), self._loop).result()

    async def start(self) -> asyncio.Server:
        self._loop = asyncio.get_running_loop()
        port = take_port()
        self.url = f"http://{HOST}:{port}/"
        return await asyncio.start_server(self._accept, HOST, port, limit=HEAD_BYTES)

    async def reset(self) -> None:
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            head = parse_head(await reader.readuntil(b"\r\n\r\n"))
            if head is not None:
                kind = name_kind(head)
                self.asked[kind] += 1
                await self._serve(kind, head, (reader, writer))
        except (OSError, EOFError, asyncio.LimitOverrunError, asyncio.CancelledError):
            # The browser or the server has gone, or the network was reset.
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, kind: str, head: Head, browser: Streams) -> None:
        mode = self.mode
        if head.path == "/portal/" or (mode in PORTALS and (kind != "other" or head.path.startswith("/api/"))):
            await self._answer_as_portal(mode, head, browser)
        elif kind == "socket" and mode == "refuse":
            browser[1].write(REFUSAL)
        elif kind != "socket" or mode != "drop":
            await self._pass_on(kind, mode, head, browser)

    async def _answer_as_portal(self, mode: str, head: Head, browser: Streams) -> None:
        await browser[0].read(int(head.read_field("content-length") or 0))
        browser[1].write(PORTALS["portal page" if head.path == "/portal/" else mode])

    async def _pass_on(self, kind: str, mode: str, head: Head, browser: Streams) -> None:
        if kind == "socket" and mode == "slow":
            await self._open.wait()
        server = await asyncio.open_connection(HOST, self._port, limit=CHUNK)
        try:
            server[1].write(head.build_forwarded(HOST))
            await self._relay(kind, mode, browser, server)
        finally:
            server[1].close()

    async def _relay(self, kind: str, mode: str, browser: Streams, server: Streams) -> None:
        """Pass on what comes, until one side ends."""
        swallows = kind == "socket" and mode == "swallow"
        last = CONNECTED if kind == "socket" and mode == "cut" else None
        held = None if swallows else find_held(kind, mode)
        up = asyncio.ensure_future(pump(browser[0], None if swallows else server[1]))
        down = asyncio.ensure_future(pump_answer(server[0], browser[1], held, last))
        try:
            await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
        finally:
            up.cancel()
            down.cancel()
            await asyncio.gather(up, down, return_exceptions=True)


async def pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter | None, held: int = 0, last: bytes | None = None
) -> None:
    """Pass bytes on, ``held`` at a time at least; to nobody without a writer; nothing more after ``last``."""
    waiting = b""
    while data := await reader.read(CHUNK):
        waiting += data
        if last is not None and last in waiting:
            break
        if writer is not None and len(waiting) >= held:
            writer.write(waiting)
            waiting = b""
            await writer.drain()
    if held:
        # Whoever waits for the rest is more patient than the client.
        await asyncio.Event().wait()
    if writer is not None:
        writer.write(waiting)


async def pump_answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, held: int | None, last: bytes | None
) -> None:
    """Pass the head of an answer on at once, and its body as ``pump``; no body if ``held`` is None."""
    writer.write(await reader.readuntil(b"\r\n\r\n"))
    await pump(reader, None if held is None else writer, held or 0, last)


def name_kind(head: Head) -> str:
    if head.is_upgrade:
        return "socket"
    path = head.path.rstrip("/")
    if path.endswith("connections/poll"):
        return "stream" if "event-stream" in head.read_field("accept") else "poll"
    last = path.rpartition("/")[2]
    return last if head.method == "POST" and last in ("connections", "frames", "leave") else "other"


def find_held(kind: str, mode: str) -> int:
    """Return the bytes that are gathered before any of them goes on."""
    sizes = {"buffer all": 1 << 20, "buffer small": 1_000}
    return sizes.get(mode, 0) if kind == "stream" else 0


@contextmanager
def networks(url: str, *modes: str) -> Iterator[dict[str, Hostile]]:
    """Run a network of each mode in front of a server on this machine."""
    port = urlsplit(url).port
    assert port is not None
    found = {mode: Hostile(port, mode) for mode in modes}
    ready, over = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def run() -> None:
        servers = [await hostile.start() for hostile in found.values()]
        ready.set()
        await over.wait()
        for server, hostile in zip(servers, found.values(), strict=True):
            server.close()
            await hostile.reset()

    # Beside the test, whose own thread waits for the browser.
    thread = threading.Thread(target=loop.run_until_complete, args=[run()], name="hostile networks")
    thread.start()
    try:
        assert ready.wait(PATIENCE)
        yield found
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()
