"""Proxy that gives every request to the next server in turn, as a balancer without sticky sessions does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import cycle

HOST = "127.0.0.1"
BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
CHUNK = 64 * 1024


class Alternating:
    """One request a connection: so the next one goes to the next server, whatever the client keeps open."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = cycle(ports)
        self.requests = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one request and its answer on."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            request = await _read_request(reader)
            self.requests += 1
            writer.transport.set_write_buffer_limits(0)
            await self._pass_on(request, reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            # A server that was killed, a client that has gone, or the end of the test.
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def close(self) -> None:
        """Leave off whatever is under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _pass_on(self, request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answers, requests = await asyncio.open_connection(HOST, next(self._ports))
        except OSError:
            writer.write(BAD_GATEWAY)
            return
        try:
            requests.write(request)
            leaving = asyncio.ensure_future(reader.read(1))
            relaying = asyncio.ensure_future(_relay(answers, writer))
            await asyncio.wait([leaving, relaying], return_when=asyncio.FIRST_COMPLETED)
            for task in (leaving, relaying):
                task.cancel()
            await asyncio.gather(leaving, relaying, return_exceptions=True)
        finally:
            requests.close()


async def _read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if line]
    kept = [line for line in lines if not line.lower().startswith(b"connection:")]
    sizes = [int(line.partition(b":")[2]) for line in lines if line.lower().startswith(b"content-length:")]
    body = await reader.readexactly(sizes[0]) if sizes else b""
    return b"\r\n".join([*kept, b"Connection: close"]) + b"\r\n\r\n" + body


async def _relay(answers: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await answers.read(CHUNK):
        writer.write(data)
        await writer.drain()


@asynccontextmanager
async def alternating(ports: Sequence[int]) -> AsyncIterator[tuple[Alternating, str]]:
    """Run the proxy in front of servers on this machine; gives it and its address."""
    proxy = Alternating(ports)
    server = await asyncio.start_server(proxy.serve, HOST, 0)
    try:
        yield proxy, f"http://{HOST}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await proxy.close()
