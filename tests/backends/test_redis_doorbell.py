"""Doorbells through a real Redis: heard by other processes, by this one once, and never waited for."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from channels.layers import get_channel_layer

from session_mgmt.backends.channel_layer import LayerListener, build_group
from session_mgmt.backends.doorbell import Doorbell
from session_mgmt.protocol.logs import stream_key
from tests.walks.conftest import created, declared, peers, way

__all__ = ["created", "declared", "peers", "way"]

pytestmark = pytest.mark.redis
PATIENCE = 60.0
KEY = "s:1"
ROOM = "topic:room:1"

Rings = asyncio.Queue[tuple[dict[str, int], Any]]


def layer_at(url: str) -> dict[str, Any]:
    config = {"hosts": [url], "prefix": uuid.uuid4().hex}
    return {"default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": config}}


@pytest.fixture
def shared_layer(redis_url: str, settings: Any) -> None:
    settings.CHANNEL_LAYERS = layer_at(redis_url)


async def ring_from_elsewhere(key: str, head: int, payload: Any = None) -> None:
    """Ring as another process does."""
    message = {"type": "doorbell", "heads": {key: head}, "origin": "another process"}
    await get_channel_layer().group_send(build_group(key), message | ({"payload": payload} if payload else {}))


async def ring_until_heard(rings: Rings) -> None:
    """Nobody tells when a listener has joined its groups: ring until it hears."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(Exception):
                await ring_from_elsewhere(KEY, 0)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(rings.get(), 0.1)
                break


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[Rings]:
    """Listen at ``KEY`` to other processes."""
    rings: Rings = asyncio.Queue()
    ear = LayerListener(lambda heads, payload: rings.put_nowait((heads, payload)), lambda: None)
    await ear.join(KEY)
    task = asyncio.create_task(ear.run())
    try:
        await ring_until_heard(rings)
        yield rings
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def heard(rings: Rings, head: int) -> list[int]:
    """All heads up to this one."""
    heads: list[int] = []
    async with asyncio.timeout(PATIENCE):
        while head not in heads:
            heads.append((await rings.get())[0][KEY])
    return [head for head in heads if head]


async def test_a_ring_reaches_other_processes(shared_layer: None) -> None:
    layer = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add(build_group(KEY), channel)
    Doorbell().ring({KEY: 5})
    message = await asyncio.wait_for(layer.receive(channel), PATIENCE)
    assert message["heads"] == {KEY: 5}


async def test_a_ring_of_another_process_is_heard(shared_layer: None) -> None:
    async with listening() as rings:
        await ring_from_elsewhere(KEY, 7)
        assert await heard(rings, 7) == [7]


async def test_a_ring_of_this_process_is_heard_at_once_and_only_once(shared_layer: None) -> None:
    here: list[Any] = []
    bell = Doorbell()
    bell.listen(lambda heads, payload: here.append(heads))
    layer = get_channel_layer()
    witness = await layer.new_channel()
    await layer.group_add(build_group(KEY), witness)
    async with listening() as rings:
        bell.ring({KEY: 5})
        assert here == [{KEY: 5}]
        async with asyncio.timeout(PATIENCE):
            while (await layer.receive(witness))["heads"] != {KEY: 5}:
                pass
        await ring_from_elsewhere(KEY, 6)
        assert await heard(rings, 6) == [6]


async def test_a_redis_that_answers_nothing_holds_up_no_ring(redis_server: Any, settings: Any) -> None:
    settings.CHANNEL_LAYERS = layer_at(redis_server.url)
    here: list[Any] = []
    bell = Doorbell()
    bell.listen(lambda heads, payload: here.append(heads))
    bell.ring({KEY: 0})
    redis_server.pause()
    # Waiting for the layer, even one short time-out each, would take for ever.
    async with asyncio.timeout(PATIENCE):
        await asyncio.to_thread(lambda: [bell.ring({KEY: number}) for number in range(1, 1001)])
    assert here[-1] == {KEY: 1000}


async def test_a_redis_that_comes_back_empty_is_joined_anew(redis_server: Any, settings: Any) -> None:
    settings.CHANNEL_LAYERS = layer_at(redis_server.url)
    async with listening() as rings:
        redis_server.kill()
        redis_server.start()
        await ring_until_heard(rings)
        await ring_from_elsewhere(KEY, 9)
        assert await heard(rings, 9) == [9]


async def test_an_ephemeral_message_arrives_once(shared_layer: None, peers: Any, created: Any) -> None:
    peer = peers()
    await peer.open(created.token.secret, logs={ROOM: None})
    await peer.until_following(ROOM)
    layer = get_channel_layer()
    witness = await layer.new_channel()
    await layer.group_add(build_group(stream_key("room:1")), witness)
    await peer.say(type="publish", topic="room:1", data="typing", ephemeral=True)
    await asyncio.wait_for(layer.receive(witness), PATIENCE)
    last = {"topic": "room:1", "data": "last"}
    seen: list[Any] = []
    async with asyncio.timeout(PATIENCE):
        while "last" not in seen:
            await ring_from_elsewhere(stream_key("room:1"), 0, last)
            seen.append((await peer.until_type("ephemeral"))["data"])
    assert seen.count("typing") == 1
