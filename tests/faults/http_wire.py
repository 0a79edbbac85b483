"""HTTP/1.1 by hand, one request a connection: what a client reads of an answer that is cut at any byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson

CALLS = "/api/connections/"
# What a call may end with before its answer is whole.
GONE = (OSError, EOFError, TimeoutError)


class Unanswered(OSError):
    """The answer came from something on the way, and not from a server of ours."""


@dataclass(slots=True)
class Answer:
    """Head of an answer; ``read`` and ``read_chunks`` take its body as it comes. They raise ``GONE``."""

    status: int
    headers: dict[str, str]
    _reader: asyncio.StreamReader

    async def read(self) -> bytes:
        return b"".join([chunk async for chunk in self.read_chunks()])

    async def read_events(self) -> AsyncIterator[Any]:
        """Give the frames of a stream; an event that is not whole is none."""
        rest = b""
        async for chunk in self.read_chunks():
            *events, rest = (rest + chunk).split(b"\n\n")
            for event in events:
                if event.startswith(b"data: "):
                    yield orjson.loads(event.removeprefix(b"data: "))

    async def read_chunks(self) -> AsyncIterator[bytes]:
        if self.headers.get("transfer-encoding") != "chunked":
            yield await self._reader.readexactly(int(self.headers.get("content-length", "0")))
            return
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            yield (await self._reader.readexactly(size + 2))[:-2]


@asynccontextmanager
async def post(
    netloc: str, call: str, token: str, body: Any, *, accept: str, under_way: set[asyncio.WriteTransport]
) -> AsyncIterator[Answer]:
    """Send one call on a connection of its own, and give the head of its answer. Raises ``GONE``.

    Until its answer was read, its connection is among those ``under_way``.
    """
    host, _, port = netloc.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    under_way.add(writer.transport)
    try:
        content = orjson.dumps(body)
        head = [
            *(f"POST {CALLS}{call} HTTP/1.1", f"Host: {netloc}", f"Authorization: Bearer {token}"),
            *(f"Accept: {accept}", "Content-Type: application/json", f"Content-Length: {len(content)}"),
            *("Connection: close", "", ""),
        ]
        writer.write("\r\n".join(head).encode() + content)
        yield await _read_head(reader)
    finally:
        # A client that is gone: the server is not waited for.
        writer.transport.abort()
        under_way.discard(writer.transport)


async def _read_head(reader: asyncio.StreamReader) -> Answer:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    if "x-session-mgmt" not in headers:
        raise Unanswered(first)
    return Answer(int(first.split()[1]), headers, reader)
