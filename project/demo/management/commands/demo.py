"""`manage.py demo`: migrate, serve, and print the address. Ctrl-C ends everything."""

from __future__ import annotations

import asyncio
import errno
import signal
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser
from django.db import connections

from project.demo.control import PATH, Controls
from project.demo.proxy import Network, Proxy
from project.demo.supervisor import Server

PORT = 8000


class Command(BaseCommand):
    help = "Run the demo: two clients of one session, a network to cut and a server to kill."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: this machine only)")
        parser.add_argument(
            "--port", type=int, default=PORT, help=f"default {PORT}, or a free one if that is taken; 0: a free one"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write("Starting the demo ...")
        try:
            call_command("migrate", interactive=False, verbosity=0)
            connections.close_all()
            asyncio.run(self._run_demo(options["host"], options["port"]))
        except KeyboardInterrupt:
            self.stdout.write("\nThe demo has ended before it began.")

    async def _run_demo(self, host: str, port: int) -> None:
        network, server = Network(), Server()
        controls = Controls(network, server)
        proxy = Proxy(network, control_path=PATH, connect=server.connect, control=controls.answer_request)
        chosen = await self._start_proxy(proxy, host, port)
        serving = asyncio.create_task(server.keep_alive())
        announcing = asyncio.create_task(self._announce_address(server, f"http://{host}:{chosen}/"))
        try:
            await asyncio.wait((serving, asyncio.create_task(_wait_for_end())), return_when=asyncio.FIRST_COMPLETED)
        finally:
            announcing.cancel()
            serving.cancel()
            await server.stop()
            await proxy.stop()
            self.stdout.write("\nThe demo has ended.")

    async def _start_proxy(self, proxy: Proxy, host: str, port: int) -> int:
        try:
            return await proxy.start(host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        chosen = await proxy.start(host, 0)
        self.stdout.write(f"Port {port} is taken by another program; using {chosen}.")
        return chosen

    async def _announce_address(self, server: Server, url: str) -> None:
        await server.up.wait()
        self.stdout.write(f"\n    {url}\n\nOpen it in a browser. Ctrl-C here ends it.")
        self.stdout.flush()


async def _wait_for_end() -> None:
    """Wait for Ctrl-C or SIGTERM."""
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
