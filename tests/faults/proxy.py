"""Proxy that breaks TCP connections on order: it holds, swallows, resets, dribbles or delays, in one direction or both.

Every fault ends with a reset of the connections that it met, as bytes that were swallowed are never sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.ports import take_port

HOST = "127.0.0.1"
CHUNK = 16 * 1024
UP, DOWN = "up", "down"
KINDS = ("hold", "drop", "reset", "dribble", "delay")
DELAY = 0.05


@dataclass(frozen=True, slots=True)
class Fault:
    """``kind`` is one of ``KINDS``; ``directions`` are those that it meets."""

    kind: str
    directions: tuple[str, ...]
    seconds: float


def choose_fault(chance: random.Random, seconds: float) -> Fault:
    directions = chance.choice([(UP,), (DOWN,), (UP, DOWN)])
    return Fault(chance.choice(KINDS), directions, chance.uniform(0, seconds))


class FaultProxy:
    """Proxy before one server."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._fault: Fault | None = None
        self._calm = asyncio.Event()
        self._calm.set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def suffer(self, fault: Fault) -> int:
        """Let a fault happen to all connections, and cut them at its end; return how many there were."""
        self._fault = fault
        self._calm.clear()
        try:
            await asyncio.sleep(0 if fault.kind == "reset" else fault.seconds)
        finally:
            self._fault = None
            self._calm.set()
        return await self.cut()

    async def cut(self) -> int:
        """Reset every connection; return their number."""
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return len(tasks)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on in both directions."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        upwards: asyncio.StreamWriter | None = None
        try:
            answers, upwards = await asyncio.open_connection(HOST, self._target)
            await asyncio.gather(self._pump(reader, upwards, UP), self._pump(answers, writer, DOWN))
        except (OSError, asyncio.CancelledError):
            # The cut is what this is for.
            pass
        finally:
            self._tasks.discard(task)
            for end in (writer, upwards):
                if end is not None:
                    end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: str) -> None:
        while data := await reader.read(CHUNK):
            fault = self._fault
            if fault is not None and direction in fault.directions:
                data = await self._meet(fault, data, writer)
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()

    async def _meet(self, fault: Fault, data: bytes, writer: asyncio.StreamWriter) -> bytes:
        """Do to some bytes what the fault does; return those that are to be sent now."""
        if fault.kind == "drop":
            return b""
        if fault.kind == "hold":
            await self._calm.wait()
        elif fault.kind == "delay":
            await asyncio.sleep(DELAY)
        elif fault.kind == "dribble":
            for one in data:
                writer.write(bytes([one]))
                # One segment for each byte: without a turn of the loop they would go out together.
                await asyncio.sleep(0)
            return b""
        return data


@asynccontextmanager
async def fault_proxy(target: int) -> AsyncIterator[tuple[FaultProxy, int]]:
    """Run the proxy in front of a server on this machine; gives it and its port."""
    proxy = FaultProxy(target)
    port = take_port()
    server = await asyncio.start_server(proxy.serve, HOST, port)
    try:
        yield proxy, port
    finally:
        server.close()
        await proxy.cut()
