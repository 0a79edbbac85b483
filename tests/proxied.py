"""Clients of every transport through the proxies of docs/howto/deploy.md, in front of two servers."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx

from session_mgmt.client import SessionClient
from session_mgmt.client.transports.carrier import TransportName
from tests.docs.pages import ROOT, blocks
from tests.faults.servers import AppServer, environment, migrate
from tests.faults.test_rolling import SPREAD, roll
from tests.faults.workload import until
from tests.ports import take_port
from tests.services import HOST

DEPLOY = ROOT / "docs" / "howto" / "deploy.md"
PATHS = "/usr/sbin:/usr/bin:/usr/local/bin:/bin"
TRANSPORTS: tuple[TransportName, ...] = ("websocket", "sse", "longpoll")
PATIENCE = 60.0
# Buffers in front of a stream are found in this time.
FOUND_WITHIN = 4.0
NGINX = """daemon off;
pid {folder}/nginx.pid;
events {{}}
http {{
access_log off;
upstream app {{ {upstream} }}
{block}
}}
"""
# What some networks do to streams, whatever their servers say.
HOLDING = (
    "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;"
    " gzip on; gzip_proxied any; gzip_min_length 0; gzip_types text/event-stream;"
)
Write = Callable[[Path, int, Sequence[int]], list[str]]


def find_program(name: str) -> str | None:
    """Return the path of a program; those of administrators are in no path of others."""
    return shutil.which(name, path=PATHS)


def read_block(language: str) -> str:
    """Return the only block of the page in a language."""
    (block,) = blocks(language, [DEPLOY])
    return block.text


def build_nginx(folder: Path, port: int, servers: Sequence[int], *, holds: bool) -> str:
    """Build the page's configuration for these ports, without TLS; or one that lacks its lines and holds streams."""
    block = read_block("nginx").replace("listen 443 ssl;", f"listen {HOST}:{port};{HOLDING if holds else ''}")
    block = block.replace("gzip off;", "") if holds else block
    return NGINX.format(folder=folder, upstream=" ".join(f"server {HOST}:{one};" for one in servers), block=block)


def build_caddy(port: int, servers: Sequence[int]) -> str:
    """Build the page's configuration for these ports, without TLS."""
    text = read_block("caddyfile").replace("shop.example", f"http://{HOST}:{port}")
    return "{\n\tadmin off\n}\n" + re.sub(
        r"reverse_proxy [\d.: ]+", "reverse_proxy " + " ".join(f"{HOST}:{one}" for one in servers) + " ", text
    )


def write_nginx(folder: Path, port: int, servers: Sequence[int], *, holds: bool = False) -> list[str]:
    path = folder / "nginx.conf"
    path.write_text(build_nginx(folder, port, servers, holds=holds), encoding="utf-8")
    return ["nginx", "-c", str(path), "-e", str(folder / "nginx.log")]


def write_buffering_nginx(folder: Path, port: int, servers: Sequence[int]) -> list[str]:
    return write_nginx(folder, port, servers, holds=True)


def write_caddy(folder: Path, port: int, servers: Sequence[int]) -> list[str]:
    path = folder / "Caddyfile"
    path.write_text(build_caddy(port, servers), encoding="utf-8")
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(path)]


@contextlib.contextmanager
def two_servers(folder: Path) -> Iterator[list[AppServer]]:
    """Start two servers on one file of SQLite, without a broker."""
    variables = environment("", "", folder / "proxied.sqlite3", None) | {"SESSION_MGMT_TEST_DRAIN": str(SPREAD)}
    migrate(variables)
    with contextlib.ExitStack() as stack:
        servers = [AppServer(name, variables) for name in ("A", "B")]
        for server in servers:
            stack.callback(server.close)
            server.start()
        yield servers


@contextlib.contextmanager
def proxy(write: Write, servers: list[AppServer]) -> Iterator[str]:
    """Run a proxy in front of the servers; gives its address."""
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), take_port()
        program, *options = write(folder, port, [server.port for server in servers])
        path = find_program(program)
        assert path is not None
        running = subprocess.Popen([path, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            url = f"http://{HOST}:{port}/api/"
            with httpx.Client(transport=httpx.HTTPTransport(retries=8), trust_env=False) as http:
                http.get(url + "health/").raise_for_status()
            yield url
        finally:
            running.terminate()
            running.wait()


async def hear_by(url: str, *transports: TransportName) -> tuple[float, str]:
    """Connect until the last of these transports is used, write, and hear it; return the seconds until then, and it."""
    heard: asyncio.Queue[Any] = asyncio.Queue()
    began = time.monotonic()
    async with asyncio.timeout(PATIENCE), SessionClient.start(url, transports=transports) as client:
        await until(lambda: client.stats().transport == transports[-1], PATIENCE)
        found = time.monotonic() - began
        await client.topics.subscribe("faults:proxied", heard.put_nowait)
        await client.topics.publish("faults:proxied", "one")
        await heard.get()
        return found, str(client.stats().transport)


async def try_proxy(write: Write, servers: list[AppServer]) -> str:
    """Try every transport, and a rolling restart."""
    with proxy(write, servers) as url:
        for transport in TRANSPORTS:
            _, by = await hear_by(url, transport)
            if by != transport:
                return f"refuses {transport}: {by} was used"
        await roll(servers, url)
    return "serves WebSockets, streams and long polls; a rolling restart loses nothing"


async def try_buffering(servers: list[AppServer]) -> str:
    """Try a proxy that holds streams back."""
    with proxy(write_buffering_nginx, servers) as url:
        seconds, by = await hear_by(url, "sse", "longpoll")
    told = f"buffered streams are left for {by} after {seconds:.1f} s"
    return told if by == "longpoll" and seconds < FOUND_WITHIN else f"refuses: {told}"


def try_proxies(folder: Path) -> dict[str, str]:
    """Try each proxy that is found."""
    found: dict[str, str] = {}
    with two_servers(folder) as servers:
        for name, write in (("nginx", write_nginx), ("caddy", write_caddy)):
            found[name] = asyncio.run(try_proxy(write, servers)) if find_program(name) else "not installed"
        if find_program("nginx"):
            found["nginx, buffering"] = asyncio.run(try_buffering(servers))
    return found
