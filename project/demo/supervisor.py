"""Supervisor of the serving process: start it, and start it again whatever ended it."""

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
POLL_SECONDS = 0.05
# Seconds that a page waits for a starting server; a WebSocket does not wait, since its client reconnects.
PATIENCE = 60.0
# A process that ends sooner than this, so many times in a row, will never serve.
STILLBORN_SECONDS = 5.0
STILLBORN_MOST = 3
STOP_SECONDS = 8.0


class Server:
    """Serving process in a process group of its own."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.starts = self.kills = 0
        self.up = asyncio.Event()
        self._host, self._port = host, 0
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self.up.is_set() else None

    async def keep_alive(self) -> None:
        """Run the process again and again; return with a note when it cannot even start."""
        stillborn = 0
        while stillborn < STILLBORN_MOST:
            began, kills = time.monotonic(), self.kills
            await self._run_once()
            was_short = time.monotonic() - began < STILLBORN_SECONDS and kills == self.kills
            stillborn = stillborn + 1 if was_short else 0
        print("The server does not start; its output above says why.", file=sys.stderr)

    def kill(self) -> None:
        """Send SIGKILL to everything that serves; ``keep_alive`` starts it again."""
        self.up.clear()
        self.kills += 1
        self._send_signal(signal.SIGKILL)

    async def stop(self) -> None:
        """Stop the process in good order, or by force if that takes too long."""
        self._send_signal(signal.SIGTERM)
        if self._process is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
        self._send_signal(signal.SIGKILL)

    async def connect(self, head: Head) -> Streams | None:
        """Open a connection to the process; return ``None`` if it is not running."""
        if not head.is_upgrade:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await self.up.wait()
        return await self._open_streams() if self.up.is_set() else None

    async def _run_once(self) -> None:
        # Bound here until the process is gone: in between, the system gives the port to no other program.
        with socket.socket() as place:
            place.bind((self._host, 0))
            self._port = int(place.getsockname()[1])
            self._process = await self._spawn_process(place.fileno())
            self.starts += 1
            looking = asyncio.create_task(self._wait_for_port())
            try:
                await self._process.wait()
            finally:
                self.up.clear()
                looking.cancel()

    async def _spawn_process(self, place: int) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "project.embedded", "--socket", str(place), "--with-parent"),
            pass_fds=[place],
            # The end of this pipe tells the process that its supervisor is gone, also after a SIGKILL.
            stdin=asyncio.subprocess.PIPE,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": SETTINGS},
            # Ctrl-C reaches only the supervisor, which stops the process; a kill reaches its children too.
            start_new_session=True,
        )

    async def _wait_for_port(self) -> None:
        """Set ``up`` when the process takes connections."""
        while True:
            streams = await self._open_streams()
            if streams is not None:
                streams[1].close()
                self.up.set()
                return
            await asyncio.sleep(POLL_SECONDS)

    async def _open_streams(self) -> Streams | None:
        try:
            return await asyncio.open_connection(self._host, self._port, limit=CHUNK)
        except OSError:
            return None

    def _send_signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
