"""Network that can be cut, a process with the TypeScript SDK, and a wait for the Python client to catch up."""

from __future__ import annotations

import asyncio
import contextlib
import json
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from session_mgmt.client import SessionClient
from tests import programs, services

WAIT = 120.0


class Wire:
    """Port before the server's, whose connections can all be cut at once."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: set[asyncio.StreamWriter] = set()
        self.cuts = 0

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = {writer}
        try:
            back, on = await asyncio.open_connection(services.HOST, self._port)
            ends.add(on)
            self._open |= ends
            await asyncio.gather(_pass(reader, on), _pass(back, writer), return_exceptions=True)
        except OSError:
            # The server is down.
            pass
        finally:
            self._open -= ends
            for end in ends:
                end.transport.abort()

    def cut(self) -> None:
        self.cuts += 1
        for writer in self._open:
            writer.transport.abort()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


class Page:
    """Process with the TypeScript SDK, which reads and answers lines."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def ask(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    async def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        told: dict[str, Any] = json.loads(await asyncio.wait_for(self._process.stdout.readline(), WAIT))
        return told


@contextlib.asynccontextmanager
async def open_page(script: Path, url: str, *arguments: str) -> AsyncIterator[Page]:
    """Run a script on the SDK; it is told the address of the API first."""
    node, _ = programs.node()
    # Node 20 has its WebSocket behind this flag, later ones without.
    command: list[str | Path] = [node, "--experimental-websocket", script, url, *arguments]
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
    try:
        yield Page(process)
    finally:
        if process.returncode is None:
            process.kill()
        # To the ends of its pipes too.
        await process.communicate()


async def reach(client: SessionClient, version: int) -> None:
    """Wait until the client has a version of its document."""
    async with asyncio.timeout(WAIT):
        while client.state.version < version:
            await asyncio.sleep(0.01)
