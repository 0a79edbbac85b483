"""Address of a demo, with the processes behind it, from the first line to Ctrl-C."""

from __future__ import annotations

import asyncio
import errno
import signal
from collections.abc import Callable, Sequence

from project.demo.balancing import Balancer
from project.demo.control import PATH, Controls
from project.demo.heads import Head
from project.demo.proxy import Network, Proxy, Streams
from project.demo.supervisor import Program, Server

PORT = 8000
# Seconds that a page waits for a starting server; a WebSocket does not wait, since its client reconnects.
PATIENCE = 60.0

Say = Callable[[str], object]


async def play(servers: Sequence[Server], others: Sequence[Program], host: str, port: int, say: Say) -> None:
    """Serve until Ctrl-C, SIGTERM, or a process that cannot start; then end every process."""
    network, balancer = Network(), Balancer([server.open_streams for server in servers])

    async def connect(head: Head) -> Streams | None:
        if not head.is_upgrade:
            await _wait_for_one(servers)
        return await balancer.open_streams()

    controls = Controls(network, servers)
    proxy = Proxy(network, control_path=PATH, connect=connect, control=controls.answer_request)
    programs = (*servers, *others)
    chosen = await _start_proxy(proxy, host, port, say)
    serving = [asyncio.create_task(program.keep_alive()) for program in programs]
    announcing = asyncio.create_task(_announce_address(servers, f"http://{host}:{chosen}/", say))
    try:
        await asyncio.wait((*serving, asyncio.create_task(_wait_for_end())), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (announcing, *serving):
            task.cancel()
        controls.close()
        await asyncio.gather(*(program.stop() for program in programs))
        await proxy.stop()
        say("\nThe demo has ended.")


async def _wait_for_one(servers: Sequence[Server]) -> None:
    """Return when a server takes connections, or when that takes too long."""
    waiting = [asyncio.create_task(server.up.wait()) for server in servers]
    try:
        await asyncio.wait(waiting, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


async def _start_proxy(proxy: Proxy, host: str, port: int, say: Say) -> int:
    try:
        return await proxy.start(host, port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
    chosen = await proxy.start(host, 0)
    say(f"Port {port} is taken by another program; using {chosen}.")
    return chosen


async def _announce_address(servers: Sequence[Server], url: str, say: Say) -> None:
    for server in servers:
        await server.up.wait()
    say(f"\n    {url}\n\nOpen it in a browser. Ctrl-C here ends it.")


async def _wait_for_end() -> None:
    """Wait for Ctrl-C or SIGTERM."""
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
