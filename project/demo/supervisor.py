"""Keeps the serving process alive: starts it, and starts it again whatever ended it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time

from project.demo.heads import Head
from project.demo.proxy import CHUNK, Streams

SETTINGS = "project.demo.settings"
LOOK_EVERY = 0.05
# A page waits this long for a server that is being started; a WebSocket does not: its client knows how to come back.
PATIENCE = 15.0
# One that ends sooner than this, this many times in a row, will never serve.
STILLBORN_SECONDS = 5.0
STILLBORN_MOST = 3
STOP_SECONDS = 8.0


class Server:
    """The serving process, in a process group of its own."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.starts = self.kills = 0
        self.up = asyncio.Event()
        self._host, self._port = host, 0
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self.up.is_set() else None

    async def keep_alive(self) -> None:
        """Run it again and again. Returns, with a note, when it cannot even start."""
        stillborn = 0
        while stillborn < STILLBORN_MOST:
            began, kills = time.monotonic(), self.kills
            await self._live_once()
            was_short = time.monotonic() - began < STILLBORN_SECONDS and kills == self.kills
            stillborn = stillborn + 1 if was_short else 0
        print("The server does not start; its own words above say why.", file=sys.stderr)

    def kill(self) -> None:
        """SIGKILL to everything that serves; ``keep_alive`` starts it again."""
        self.up.clear()
        self.kills += 1
        self._signal(signal.SIGKILL)

    async def stop(self) -> None:
        """End it in good order, or by force if that takes too long."""
        self._signal(signal.SIGTERM)
        if self._process is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
        self._signal(signal.SIGKILL)

    async def connect(self, head: Head) -> Streams | None:
        """A connection to it, or ``None`` if there is no server to connect to."""
        if not head.is_upgrade:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await self.up.wait()
        return await self._dial() if self.up.is_set() else None

    async def _live_once(self) -> None:
        self._port = free_port(self._host)
        self._process = await self._spawn()
        self.starts += 1
        looking = asyncio.create_task(self._look())
        try:
            await self._process.wait()
        finally:
            self.up.clear()
            looking.cancel()

    async def _spawn(self) -> asyncio.subprocess.Process:
        command = ("-m", "project.embedded", "--host", self._host, "--port", str(self._port), "--with-parent")
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            # Its end tells the process that we are gone, also if nothing else could.
            stdin=asyncio.subprocess.PIPE,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": SETTINGS},
            # Ctrl-C is for us; we end it in good order. And a kill takes its own children along.
            start_new_session=True,
        )

    async def _look(self) -> None:
        """Tell when it takes connections."""
        while True:
            streams = await self._dial()
            if streams is not None:
                streams[1].close()
                self.up.set()
                return
            await asyncio.sleep(LOOK_EVERY)

    async def _dial(self) -> Streams | None:
        try:
            return await asyncio.open_connection(self._host, self._port, limit=CHUNK)
        except OSError:
            return None

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)


def free_port(host: str) -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
