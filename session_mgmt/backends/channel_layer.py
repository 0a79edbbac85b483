"""Send doorbells through the channel layer, with a group for each log and a channel for each process."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from channels.layers import InMemoryChannelLayer, get_channel_layer

from session_mgmt.backends.rings import SEND_TIMEOUT, Heads, Listener, Payloads, Ring, build_origin

logger = logging.getLogger(__name__)


def is_shared() -> bool:
    """Return whether the channel layer reaches other processes; the in-memory one does not, and is not thread-safe."""
    layer = get_channel_layer()
    return layer is not None and not isinstance(layer, InMemoryChannelLayer)


def build_group(key: str) -> str:
    """Build the channel layer's group name of a log key: it allows 99 characters, and few kinds of them."""
    kind, _, name = key.partition(":")
    return f"session_mgmt.{kind}.{hashlib.sha256(name.encode()).hexdigest()[:32]}" if name else f"session_mgmt.{kind}"


@dataclass(frozen=True, slots=True)
class LayerCarrier:
    """Carrier of doorbells through the project's channel layer."""

    name: str = "channel layer"

    def build_sender(self) -> LayerSender:
        return LayerSender()

    def build_listener(self, heard: Listener, miss: Callable[[], None], ring: Ring) -> LayerListener:
        return LayerListener(heard, miss)

    def is_deaf(self) -> bool:
        """Return False: a channel layer does not report what it has lost."""
        return False


class LayerSender:
    """Sender that uses one group for each log."""

    async def send(self, heads: Heads, payloads: Payloads) -> None:
        """Send to the group of each log."""
        layer = _find_layer()
        # For all rings together: with a limit for each, a thousand of them could hang for half an hour.
        async with asyncio.timeout(SEND_TIMEOUT):
            for key, head in heads.items():
                await layer.group_send(build_group(key), _build_message(key, head))
            for key, payload in payloads:
                await layer.group_send(build_group(key), {**_build_message(key, 0), "payload": payload})

    async def close(self) -> None:
        """Do nothing: the layer is the project's."""


class LayerListener:
    """Listener of one process: a single channel, which joins a group for each log that the process serves."""

    def __init__(self, heard: Listener, miss: Callable[[], None]) -> None:
        self._heard, self._miss = heard, miss
        self._channel: str | None = None
        self._wanted: set[str] = set()

    async def join(self, key: str) -> None:
        """Listen to a log."""
        # First, so that a layer that fails now joins it when it is back.
        self._wanted.add(key)
        if self._channel is not None:
            await _wait_patiently(_find_layer().group_add(build_group(key), self._channel))

    async def leave(self, key: str) -> None:
        """Stop listening to a log."""
        self._wanted.discard(key)
        if self._channel is not None:
            await _wait_patiently(_find_layer().group_discard(build_group(key), self._channel))

    async def run(self) -> None:
        """Listen until cancelled; after a failure of the layer, join everything again."""
        while True:
            try:
                await self._listen()
            except asyncio.CancelledError:
                raise
            except Exception as error:
                logger.warning("The channel layer failed; positions are checked without it: %r", error)
                self._channel = None
                # A layer that is down fails at once, and would be asked in a tight loop.
                await asyncio.sleep(1)

    async def _listen(self) -> None:
        layer = _find_layer()
        # A new one after each failure: the layer may have lost its groups, and the old channel with them.
        self._channel = await layer.new_channel()
        # Logs that are joined meanwhile join by themselves: `join` has the channel from the line above on.
        for key in tuple(self._wanted):
            await layer.group_add(build_group(key), self._channel)
        self._miss()
        while True:
            message = await layer.receive(self._channel)
            heads = message.get("heads")
            # Anybody with access to the layer can send into a group, so the message is not trusted to be well formed.
            if message.get("origin") != build_origin() and isinstance(heads, dict):
                self._heard(heads, message.get("payload"))


def _build_message(key: str, head: int) -> dict[str, Any]:
    return {"type": "doorbell", "heads": {key: head}, "origin": build_origin()}


def _find_layer() -> Any:
    """Return the channel layer; only asked where ``is_shared``."""
    return get_channel_layer()


async def _wait_patiently(work: Any) -> None:
    """Wait for the layer, but not for ever and not at the price of an error: the position check covers the rest."""
    try:
        async with asyncio.timeout(SEND_TIMEOUT):
            await work
    except Exception as error:
        logger.warning("The channel layer did not answer: %r", error)
