"""Recovery of one client, from its verdict to the receipt, which the client and the administrator both get."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import orjson

from session_mgmt.actions.sessions.attachments import Attachment
from session_mgmt.actions.sessions.closing import Recovered
from session_mgmt.consumers.followings import Followings
from session_mgmt.consumers.hub import Hub
from session_mgmt.consumers.outlet import Outlet


class Recovering(Protocol):
    """Interface of the connection of a client that has come back."""

    attachment: Attachment
    outlet: Outlet
    hub: Hub
    followings: Followings


class Recovery:
    """Recovery, which begins with the verdict; its receipt is sent when every log has reached the present."""

    __slots__ = ("_connection", "_loop", "_reason", "_started", "_verdict")

    def __init__(self, connection: Recovering, verdict: str, reason: str) -> None:
        self._connection, self._verdict, self._reason = connection, verdict, reason
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()

    def complete(self) -> None:
        """Send the receipt."""
        attachment, followings = self._connection.attachment, self._connection.followings
        # A new client has nothing to recover.
        if attachment.is_new:
            return
        lost = followings.list_lost()
        verdict = "state_only" if lost and self._verdict == "full" else self._verdict
        receipt = {
            "id": str(attachment.connection),
            "verdict": verdict,
            "reason": self._reason,
            "generation": attachment.generation,
            "asked": {name: log.asked.as_json() for name, log in attachment.logs.items() if log.asked},
            "replayed": followings.list_replayed(),
            "lost": lost,
            "duration_ms": round((self._loop.time() - self._started) * 1000, 1),
            "queries": attachment.queries,
        }
        send_receipt(self._connection, receipt)


async def complete_when_replayed(replays: list[asyncio.Task[bool]], complete: Callable[[], None]) -> None:
    """Complete a recovery when all replays have reached the present."""
    # If the client leaves a log, its replay is cancelled; the others still get their receipt.
    ended = await asyncio.gather(*replays, return_exceptions=True)
    # A log that could not be replayed has sent its own error, so the recovery was not complete.
    if False not in ended:
        complete()


def send_receipt(connection: Recovering, receipt: dict[str, Any]) -> None:
    """Send a receipt to the client, and store it for the administrator."""
    text = orjson.dumps(receipt).decode()
    connection.outlet.push('{"type":"recovery","receipt":' + text + "}")
    # Do not wait for the row: the client has its receipt, and people read the stored copy much later.
    row = Recovered(connection.attachment.connection, receipt["verdict"], text)
    connection.hub.late_writes.add_recovered(row)
