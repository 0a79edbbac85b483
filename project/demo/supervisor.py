"""Supervisor of the processes: start each one, and start it again whatever ended it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence

from project.demo.proxy import CHUNK, Streams

SETTINGS = "project.demo.settings"
# The end of its standard input tells a process that its supervisor is gone, also after a SIGKILL.
EMBEDDED = (sys.executable, "-m", "project.embedded", "--with-parent")
POLL_SECONDS = 0.05
# A process that ends sooner than this, so many times in a row, will never serve.
STILLBORN_SECONDS = 5.0
STILLBORN_MOST = 3
STOP_SECONDS = 8.0


class Program:
    """Process in a process group of its own."""

    def __init__(self, name: str, command: Sequence[str], settings: str = SETTINGS) -> None:
        self.name = name
        self.starts = self.kills = 0
        self._wanted_ends = 0
        self._command, self._settings = command, settings
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.returncode is None else None

    async def keep_alive(self) -> None:
        """Run the process again and again; return with a note when it cannot even start."""
        stillborn = 0
        while stillborn < STILLBORN_MOST:
            began, wanted = time.monotonic(), self._wanted_ends
            with self._take_places() as places:
                self._process = await self._spawn_process(places)
                self.starts += 1
                await self._accompany(self._process)
            was_short = time.monotonic() - began < STILLBORN_SECONDS and wanted == self._wanted_ends
            stillborn = stillborn + 1 if was_short else 0
        print(f"{self.name} does not start; its output above says why.", file=sys.stderr)

    def kill(self) -> None:
        """Send SIGKILL to the whole group; ``keep_alive`` starts it again."""
        self.kills += 1
        self._wanted_ends += 1
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

    @contextlib.contextmanager
    def _take_places(self) -> Iterator[tuple[int, ...]]:
        """Give the files that the process inherits, open until it is gone."""
        yield ()

    async def _accompany(self, process: asyncio.subprocess.Process) -> None:
        """Return when the process is gone."""
        await process.wait()

    async def _spawn_process(self, places: tuple[int, ...]) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self._command,
            *(f"--socket={place}" for place in places),
            pass_fds=places,
            stdin=asyncio.subprocess.PIPE,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": self._settings},
            # Ctrl-C reaches only the supervisor, which stops the process; a kill reaches its children too.
            start_new_session=True,
        )

    def _send_signal(self, number: signal.Signals) -> None:
        if (pid := self.pid) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, number)


class Server(Program):
    """Process that serves on ``port``; ``up`` while it takes connections."""

    def __init__(
        self, name: str, command: Sequence[str] = EMBEDDED, settings: str = SETTINGS, host: str = "127.0.0.1"
    ) -> None:
        super().__init__(name, command, settings)
        self.up = asyncio.Event()
        self.port = 0
        self._host = host

    def kill(self) -> None:
        self.up.clear()
        super().kill()

    async def restart(self) -> None:
        """End it in good order, so that its clients are told to come back, and wait for its successor."""
        self.up.clear()
        self._wanted_ends += 1
        self._send_signal(signal.SIGTERM)
        await self.up.wait()

    async def open_streams(self) -> Streams | None:
        """Open a connection to the process; return ``None`` if it takes none."""
        return await self._knock() if self.up.is_set() else None

    @contextlib.contextmanager
    def _take_places(self) -> Iterator[tuple[int, ...]]:
        # Bound here until the process is gone: in between, the system gives the port to no other program.
        with socket.socket() as place:
            place.bind((self._host, 0))
            self.port = int(place.getsockname()[1])
            yield (place.fileno(),)

    async def _accompany(self, process: asyncio.subprocess.Process) -> None:
        looking = asyncio.create_task(self._wait_for_port())
        try:
            await process.wait()
        finally:
            self.up.clear()
            looking.cancel()

    async def _wait_for_port(self) -> None:
        """Set ``up`` when the process takes connections."""
        while (streams := await self._knock()) is None:
            await asyncio.sleep(POLL_SECONDS)
        streams[1].close()
        self.up.set()

    async def _knock(self) -> Streams | None:
        try:
            return await asyncio.open_connection(self._host, self.port, limit=CHUNK)
        except OSError:
            return None
