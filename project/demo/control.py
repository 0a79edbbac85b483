"""Buttons of the demo. The proxy answers them itself, so they work while everything else is held or dead."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest

from project.demo import heads
from project.demo.heads import CLIENTS, Head
from project.demo.proxy import Network
from project.demo.supervisor import Server

PATH = "/demo-control/"
BODY_BYTES = 4096
MOST_SECONDS = 120.0
# Long enough for the requests under way to arrive and be carried out; their answers are then lost with the process.
BEFORE_THE_KILL = 0.15


class Controls:
    """Calls ``GET status``, ``POST cut``, ``mend``, ``kill`` and ``roll``; each returns the status."""

    def __init__(self, network: Network, servers: Sequence[Server]) -> None:
        self._network = network
        self._servers = {server.name: server for server in servers}
        self._mending: asyncio.TimerHandle | None = None
        self._rolling: asyncio.Task[None] | None = None

    def close(self) -> None:
        """Start no server again on the way."""
        if self._rolling is not None:
            self._rolling.cancel()

    async def answer_request(self, head: Head, reader: asyncio.StreamReader) -> bytes:
        """Return the whole response to a request for the demo."""
        verb = head.path.removeprefix(PATH)
        wrong = _explain_wrong_host(head)
        if wrong is not None:
            return _build_json("400 Bad Request", {"error": wrong})
        if head.is_cross_site:
            return _build_json("403 Forbidden", {"error": "Only the demo's own page may do this."})
        if (head.method, verb) == ("GET", "status"):
            return _build_json("200 OK", self.read_status())
        if head.method != "POST" or verb not in ("cut", "mend", "kill", "roll"):
            return _build_json("404 Not Found", {"error": "There are status, cut, mend, kill and roll."})
        try:
            request = await _read_body(head, reader)
            await self._carry_out(verb, request)
        except (TypeError, ValueError) as error:
            return _build_json("400 Bad Request", {"error": str(error)})
        return _build_json("200 OK", self.read_status())

    def read_status(self) -> dict[str, Any]:
        """Return the state of network and servers for the page."""
        links = [*self._network.links]
        held = [link.client for link in links]
        names = {server.port: name for name, server in self._servers.items()}
        return {
            "cut": sorted(self._network.cut_off),
            "connections": {client: held.count(client) for client in CLIENTS},
            # What stays open: the socket of each client.
            "places": {link.client: names.get(link.port) for link in links if link.is_socket and link.client},
            "rolling": self._rolling is not None and not self._rolling.done(),
            "servers": [
                {
                    "name": name,
                    "up": server.up.is_set(),
                    "pid": server.pid if server.up.is_set() else None,
                    "starts": server.starts,
                    "kills": server.kills,
                }
                for name, server in self._servers.items()
            ],
        }

    async def _carry_out(self, verb: str, request: dict[str, Any]) -> None:
        if verb == "kill":
            await self._kill_server(self._read_server(request))
        elif verb == "roll":
            self._start_rolling()
        else:
            self._change_network(verb, _read_clients(request), _read_seconds(request))

    def _change_network(self, verb: str, clients: list[str], seconds: float | None) -> None:
        # The end of an earlier cut must not fall into this one.
        if self._mending is not None:
            self._mending.cancel()
        if verb == "mend":
            self._network.mend(clients)
            return
        self._network.cut(clients)
        if seconds is not None:
            self._mending = asyncio.get_running_loop().call_later(seconds, self._network.mend, clients)

    def _read_server(self, request: dict[str, Any]) -> Server:
        """Return the server of a request; the first by default."""
        name = request.get("server", next(iter(self._servers)))
        if name not in self._servers:
            raise ValueError(f"The servers are {' and '.join(self._servers)}.")
        return self._servers[name]

    async def _kill_server(self, server: Server) -> None:
        self._network.hold_answers(server.port)
        await asyncio.sleep(BEFORE_THE_KILL)
        server.kill()
        self._network.drop_answers()

    def _start_rolling(self) -> None:
        if self._rolling is None or self._rolling.done():
            self._rolling = asyncio.create_task(self._roll())

    async def _roll(self) -> None:
        """Restart one server after the other: there is always one that serves, if there are two."""
        for server in self._servers.values():
            await server.up.wait()
            await server.restart()


def _explain_wrong_host(head: Head) -> str | None:
    """Return the reason why Django would not serve this host: a page that rebinds its own name must not reach us."""
    request = HttpRequest()
    request.META["HTTP_HOST"] = head.read_field("host")
    try:
        request.get_host()
    except DisallowedHost as error:
        return str(error)
    return None


async def _read_body(head: Head, reader: asyncio.StreamReader) -> dict[str, Any]:
    length = int(head.read_field("content-length") or 0)
    if length > BODY_BYTES:
        raise ValueError("The request is too long.")
    body = json.loads(await reader.readexactly(length) or b"{}")
    if not isinstance(body, dict):
        raise ValueError("The request must be a JSON object.")
    return body


def _read_clients(request: dict[str, Any]) -> list[str]:
    """Return the clients of a request; both by default."""
    clients = request.get("clients", CLIENTS)
    if not set(clients) <= set(CLIENTS):
        raise ValueError(f"The clients are {' and '.join(CLIENTS)}.")
    return list(clients)


def _read_seconds(request: dict[str, Any]) -> float | None:
    """Return the seconds after which the network mends itself; None for never."""
    if request.get("seconds") is None:
        return None
    seconds = float(request["seconds"])
    if not 0 < seconds <= MOST_SECONDS:
        raise ValueError(f"The seconds are between 0 and {MOST_SECONDS:.0f}.")
    return seconds


def _build_json(status: str, value: Any) -> bytes:
    return heads.build_response(status, json.dumps(value).encode(), "application/json")
