"""Buttons of the demo. The proxy answers them itself, so they work while everything else is held or dead."""

from __future__ import annotations

import asyncio
import json
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
    """Calls ``GET status``, ``POST cut``, ``mend`` and ``kill``; each returns the status."""

    def __init__(self, network: Network, server: Server) -> None:
        self._network, self._server = network, server
        self._mending: asyncio.TimerHandle | None = None

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
        if head.method != "POST" or verb not in ("cut", "mend", "kill"):
            return _build_json("404 Not Found", {"error": "There are status, cut, mend and kill."})
        try:
            request = await _read_body(head, reader)
            await self._carry_out(verb, _read_clients(request), _read_seconds(request))
        except (TypeError, ValueError) as error:
            return _build_json("400 Bad Request", {"error": str(error)})
        return _build_json("200 OK", self.read_status())

    def read_status(self) -> dict[str, Any]:
        """Return the state of network and server for the page."""
        links = [link.client for link in self._network.links]
        return {
            "cut": sorted(self._network.cut_off),
            "connections": {client: links.count(client) for client in CLIENTS},
            "server": {
                "up": self._server.up.is_set(),
                "pid": self._server.pid,
                "starts": self._server.starts,
                "kills": self._server.kills,
            },
        }

    async def _carry_out(self, verb: str, clients: list[str], seconds: float | None) -> None:
        if verb == "kill":
            await self._kill_server()
            return
        # The end of an earlier cut must not fall into this one.
        if self._mending is not None:
            self._mending.cancel()
        if verb == "mend":
            self._network.mend(clients)
            return
        self._network.cut(clients)
        if seconds is not None:
            self._mending = asyncio.get_running_loop().call_later(seconds, self._network.mend, clients)

    async def _kill_server(self) -> None:
        self._network.hold_answers()
        await asyncio.sleep(BEFORE_THE_KILL)
        self._server.kill()
        self._network.drop_answers()


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
