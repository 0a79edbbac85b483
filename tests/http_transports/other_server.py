"""Servers other than uvicorn, each started once for the tests of a file, on their database."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

import httpx
from django.db import connection

from tests.faults import servers
from tests.forking import fork_server
from tests.http_peer import PATIENCE
from tests.http_transports.watched import PATH
from tests.services import HOST, Process

ASGI = "tests.http_transports.watched:application"
WSGI = "tests.http_transports.watched:wsgi_application"
COMMANDS = {
    "daphne": ["--bind", HOST, "--port", "{port}", "--verbosity", "0", ASGI],
    # Without workers it serves in the process that is started.
    "hypercorn": ["--bind", HOST + ":{port}", "--workers", "0", ASGI],
    "gunicorn": ["--bind", HOST + ":{port}", "--threads", "2", "--log-level", "warning", "--no-control-socket", WSGI],
}
# Every connection is closed after its answer, so none is idle as the server ends.
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=0)


class OtherServer(servers.AppServer):
    """The project under a program of ``COMMANDS``."""

    def launch(self) -> Process:
        words = [word.format(port=self.port) for word in (self.name, *COMMANDS[self.name])]
        return fork_server(servers.APPLICATION, self.environment, words, self.log)

    async def ask_held(self) -> dict[str, int]:
        """Return the numbers of what is held for clients."""
        async with self.open_http() as http:
            held: dict[str, int] = (await http.get(PATH)).json()
        return held

    async def wait_until_free(self) -> None:
        """Wait until nothing is held for any client."""
        async with asyncio.timeout(PATIENCE):
            while any(number for name, number in (await self.ask_held()).items() if name != "left"):
                await pause()

    def open_http(self) -> httpx.AsyncClient:
        # To read the certificates of authorities, which nobody needs here, takes longer than many requests.
        return httpx.AsyncClient(
            base_url=f"http://{HOST}:{self.port}", limits=LIMITS, trust_env=False, timeout=PATIENCE, verify=False
        )


@contextlib.contextmanager
def start_other(name: str) -> Iterator[OtherServer]:
    """Start a server on the tests' database; its rounds come often, and who is silent is soon given up."""
    variables = servers.environment("", "", Path(connection.settings_dict["NAME"]), None)
    variables["SESSION_MGMT_TEST_HEARTBEAT"] = "1.0"
    with contextlib.closing(OtherServer(name, variables)) as other:
        other.start()
        yield other


async def enter(http: httpx.AsyncClient) -> str:
    """Create a session of nobody; return its token."""
    body = {"nonce": secrets.token_urlsafe(32), "kept": None, "previous": None}
    answer = await http.post("/api/sessions/enter/", json=body)
    return str(answer.raise_for_status().json()["access"])


def pick_topic() -> str:
    """Name a topic of one test: the tables are emptied after it, and the server knows what was there."""
    return f"faults:{secrets.token_hex(4)}"


async def pause() -> None:
    """Let others compute; whoever calls this asks again."""
    await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=0.02)
