"""Rings between processes: what one says, and what carries it."""

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
    """Way out of one thread, which has an event loop of its own."""

    async def send(self, heads: Heads, payloads: Payloads) -> None:
        """Tell other processes. Raises whatever the carrier does."""

    async def close(self) -> None:
        """Give back what it holds."""


class RemoteListener(Protocol):
    """Ear of one process."""

    async def run(self) -> None:
        """Listen until cancelled, whatever becomes of the carrier."""

    async def join(self, key: str) -> None:
        """Hear of a log."""

    async def leave(self, key: str) -> None:
        """Hear of a log no more."""


class Carrier(Protocol):
    """What takes rings to other processes; two of the same settings are equal."""

    @property
    def name(self) -> str:
        """Name for people."""

    def build_sender(self) -> Sender:
        """Return a way out for the thread that calls."""

    def build_listener(self, heard: Listener, miss: Callable[[], None], ring: Ring) -> RemoteListener:
        """Return an ear for the rings of other processes.

        It calls ``heard`` for each of them, and ``miss`` when it may have missed some. ``ring`` is for its own test.
        """

    def is_deaf(self) -> bool:
        """Tell whether this process has found out that it does not hear."""
