"""Service that is told of events by webhooks, and the workers that tell it, which are killed now and then."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import random
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tests.faults.history import History
from tests.faults.servers import APPLICATION, HOST, manage
from tests.forking import fork_server
from tests.ports import take_port

# What an endpoint does with a delivery. A call takes a second at most here (tests/faults/settings.py).
OK, FAIL, HANG_UP, LATE, BUSY = "ok", "fail", "hang_up", "late", "busy"
ROUGH = {OK: 90, FAIL: 4, HANG_UP: 3, LATE: 1, BUSY: 2}
STATUS = {OK: 204, LATE: 204, FAIL: 500, BUSY: 503}
LATE_SECONDS = 1.5
# The one confirms whatever comes, the other one does so mostly.
PLAIN, ROUGHLY = "/plain", "/rough"
WORKERS = 2
REST_SECONDS = 0.2
KILLED_OF_TEN = 3
TOLERANCE = 60.0


class Receiver:
    """Listens on a port, checks each signature, and records each delivery before it answers."""

    def __init__(self, history: History, chance: random.Random) -> None:
        self._history, self._chance = history, chance
        self._secrets: dict[str, str] = {}
        self._server: asyncio.Server | None = None
        self._is_calm = False
        self.port = take_port()

    async def open(self, variables: Mapping[str, str]) -> None:
        """Add the two endpoints, and listen."""
        for path in (PLAIN, ROUGHLY):
            address = f"http://{HOST}:{self.port}{path}"
            told = await asyncio.to_thread(manage, variables, "session_webhooks", "add", "--address", address, "--json")
            made = json.loads(told.strip().splitlines()[-1])
            self._secrets[path] = made["secret"]
            self._history.add("nemesis", "endpoint", endpoint=made["endpoint"], path=path)
        self._server = await asyncio.start_server(self._serve, HOST, self.port)

    def calm(self) -> None:
        """Confirm whatever comes."""
        self._is_calm = True

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            start, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            body = await reader.readexactly(int(headers["content-length"]))
            await self._answer(start.split(" ")[1], headers, body, writer)
        writer.close()

    async def _answer(self, path: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter) -> None:
        is_rough = path == ROUGHLY and not self._is_calm
        done = self._chance.choices(*zip(*ROUGH.items(), strict=True))[0] if is_rough else OK
        self._history.add(
            "receiver",
            "delivery",
            path=path,
            id=headers.get("webhook-id"),
            signed=self._is_signed(path, headers, body),
            digest=hashlib.sha256(body).hexdigest(),
            body=json.loads(body),
            done=done,
        )
        if done == LATE:
            await asyncio.sleep(LATE_SECONDS)
        if done in STATUS:
            writer.write(f"HTTP/1.1 {STATUS[done]} Said\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()

    def _is_signed(self, path: str, headers: dict[str, str], body: bytes) -> bool:
        stamp, key = headers["webhook-timestamp"], base64.b64decode(self._secrets[path].removeprefix("whsec_"))
        made = hmac.digest(key, f"{headers['webhook-id']}.{stamp}.".encode() + body, "sha256")
        is_fresh = abs(time.time() - int(stamp)) < TOLERANCE
        return is_fresh and f"v1,{base64.b64encode(made).decode()}" in headers["webhook-signature"].split(" ")


class Workers:
    """Runs ``session_webhooks send`` again and again, twice at once as two workers do, and kills some of the runs."""

    def __init__(self, variables: Mapping[str, str], chance: random.Random, log: Path) -> None:
        self._variables, self._chance, self._log = variables, chance, log
        self._tasks: list[asyncio.Task[None]] = []
        self._is_calm = self._is_over = False

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._work()) for _ in range(WORKERS)]

    def calm(self) -> None:
        """Kill no further run."""
        self._is_calm = True

    async def stop(self) -> None:
        """End the runs that are under way."""
        self._is_over = True
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def output(self) -> list[str]:
        """Return what the runs said."""
        return self._log.read_text(errors="replace").splitlines() if self._log.exists() else []

    async def _work(self) -> None:
        command = ["manage", "session_webhooks", "send", "--verbosity", "0"]
        while not self._is_over:
            run = await asyncio.to_thread(fork_server, APPLICATION, self._variables, command, self._log)
            if not self._is_calm and self._chance.randrange(10) < KILLED_OF_TEN:
                await asyncio.sleep(self._chance.uniform(0.1, 0.8))
                run.send_signal(signal.SIGKILL)
            while run.poll() is None and not self._is_over:
                await asyncio.sleep(0.02)
            run.send_signal(signal.SIGKILL)
            run.wait()
            await asyncio.sleep(REST_SECONDS)
