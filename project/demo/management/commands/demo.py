"""`manage.py demo`: migrate, serve, and print the address. Ctrl-C ends everything."""

from __future__ import annotations

import asyncio
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser
from django.db import connections

from project.demo.stage import PORT, play
from project.demo.supervisor import Server


class Command(BaseCommand):
    help = "Run the demo: two clients of one session, a network to cut and a server to kill."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: this machine only)")
        parser.add_argument(
            "--port", type=int, default=PORT, help=f"default {PORT}, or a free one if that is taken; 0: a free one"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self._say("Starting the demo ...")
        try:
            call_command("migrate", interactive=False, verbosity=0)
            connections.close_all()
            asyncio.run(self._run_demo(options["host"], options["port"]))
        except KeyboardInterrupt:
            self._say("\nThe demo has ended before it began.")

    async def _run_demo(self, host: str, port: int) -> None:
        await play([Server("The server")], [], host, port, self._say)

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
