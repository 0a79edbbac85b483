"""Interfaces of doorbells between processes: their content, and the carriers."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from typing import Any, Protocol

# Log and how far it has come, 0 where that is unknown.
Heads = dict[str, int]
Payloads = list[tuple[str, dict[str, Any]]]
Listener = Callable[[Heads, dict[str, Any] | None], None]
Ring = Callable[[Heads], None]
# Seconds for one round of rings; a carrier that hangs must not hold back the next.
SEND_TIMEOUT = 2.0
_BOOT = secrets.token_hex(8)


def build_origin() -> str:
    """Build the name of this process, with which it leaves out its own rings: ephemeral messages would come twice.

    The process id is part of it, because a fork has the same memory.
    """
    return f"{_BOOT}.{os.getpid()}"


class Sender(Protocol):
    """Sender for one thread, which has an event loop of its own."""

    async def send(self, heads: Heads, payloads: Payloads) -> None:
        """Notify other processes. Raises the errors of the carrier."""

    async def close(self) -> None:
        """Release its resources."""


class RemoteListener(Protocol):
    """Listener of one process."""

    async def run(self) -> None:
        """Listen until cancelled, even if the carrier fails meanwhile."""

    async def join(self, key: str) -> None:
        """Listen to a log."""

    async def leave(self, key: str) -> None:
        """Stop listening to a log."""


class Carrier(Protocol):
    """Transport of doorbells to other processes; carriers with the same settings are equal."""

    @property
    def name(self) -> str:
        """Name for people."""

    def build_sender(self) -> Sender:
        """Return a sender for the calling thread."""

    def build_listener(self, heard: Listener, miss: Callable[[], None], ring: Ring) -> RemoteListener:
        """Return an ear for the rings of other processes.

        It calls ``heard`` for each of them, and ``miss`` when it may have missed some. ``ring`` is for its own test.
        """

    def is_deaf(self) -> bool:
        """Return whether this process has found out that it receives nothing."""
