"""Clients that speak the protocol by hand, through the real consumer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import pytest
from channels.testing import WebsocketCommunicator

from session_mgmt import registry as registry_module
from session_mgmt.actions.sessions import lifecycle
from session_mgmt.bridge import bridge
from session_mgmt.consumers.hub import hub
from session_mgmt.consumers.websocket import SUBPROTOCOL, SessionConsumer
from session_mgmt.registry import on_message, topic
from session_mgmt.shortcuts import publish
from tests.walks.uvicorn_way import UvicornCommunicator

PATIENCE = 60.0


class Peer:
    """Connection of a test; frames that a test does not wait for stay in ``seen``."""

    def __init__(self, *, client: tuple[str, int] | None = None, way: str = "asgi", **headers: str) -> None:
        given = [(name.encode(), value.encode()) for name, value in headers.items()]
        self._reads = asyncio.Event()
        self._reads.set()
        application, path = SessionConsumer.as_asgi(), "/ws/session/"
        self._communicator: Any
        if way == "uvicorn":
            self._communicator = UvicornCommunicator(application, path, given, [SUBPROTOCOL])
        else:
            self._communicator = WebsocketCommunicator(self._slowed(application), path, given, [SUBPROTOCOL])
        self._communicator.scope["client"] = client
        self.seen: list[dict[str, Any]] = []

    def _slowed(self, application: Any) -> Any:
        """Make the server's ``send`` wait while this peer does not read, as a full socket buffer does."""

        async def slowed(scope: Any, receive: Any, send: Any) -> None:
            async def wait_and_send(message: Any) -> None:
                await self._reads.wait()
                await send(message)

            await application(scope, receive, wait_and_send)

        return slowed

    def stop_reading(self) -> Callable[[], None]:
        """Let the buffers fill; returns the way to read again."""
        if isinstance(self._communicator, UvicornCommunicator):
            self._communicator.protocol.pause_writing()
            return self._communicator.protocol.resume_writing
        self._reads.clear()
        return self._reads.set

    async def open(
        self, token: str, *, client_id: str | None = None, logs: Any = None, acked: int = 0, **more: Any
    ) -> dict[str, Any]:
        await self.handshake()
        await self.say(type="connect", token=token, client_id=client_id, logs=logs or {}, acked=acked, **more)
        return await self.next()

    async def handshake(self) -> None:
        accepted, _ = await self._communicator.connect(timeout=PATIENCE)
        assert accepted

    async def say(self, **frame: Any) -> None:
        await self.raw(orjson.dumps(frame).decode())

    async def raw(self, text: str) -> None:
        await self._communicator.send_to(text_data=text)

    async def binary(self, data: bytes) -> None:
        await self._communicator.send_to(bytes_data=data)

    async def next(self) -> dict[str, Any]:
        frame: dict[str, Any] = orjson.loads(await self._communicator.receive_from(timeout=PATIENCE))
        self.seen.append(frame)
        return frame

    async def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while not wanted(frame := await self.next()):
            pass
        return frame

    async def until_type(self, type_: str) -> dict[str, Any]:
        return await self.until(lambda frame: frame["type"] == type_)

    async def receipt(self, seq: int) -> dict[str, Any]:
        return await self.until(lambda frame: frame["type"] == "receipt" and frame["seq"] == seq)

    async def entry(self, log: str) -> list[Any]:
        frame = await self.until(lambda f: f["type"] == "entries" and f["log"] == log)
        entries: list[Any] = frame["entries"]
        return entries

    async def until_following(self, log: str) -> None:
        """Wait until the hub serves this log to us live."""
        await self.say(type="subscribe", id=900, log=log, position=None)
        await self.until(lambda frame: frame["type"] == "reply" and frame["id"] == 900)
        served = [c for c in hub().serving.connections if log in c.followings]  # type: ignore[attr-defined]
        replays = [task for c in served if (task := c.followings[log]._task)]  # type: ignore[attr-defined]
        if replays:
            await asyncio.wait(replays)
        await self.say(type="ping", id=901)
        await self.until_type("pong")

    async def closed(self) -> int:
        """Wait for the close and give its code."""
        while True:
            event = await self._communicator.receive_output(timeout=PATIENCE)
            if event["type"] == "websocket.close":
                return int(event["code"])
            self.seen.append(orjson.loads(event["text"]))

    async def leave(self) -> None:
        await self._communicator.disconnect(timeout=PATIENCE)

    async def drop(self) -> None:
        """Lose the network: the server is told 1006."""
        await self._communicator.disconnect(code=1006, timeout=PATIENCE)


@pytest.fixture
def declared() -> Any:
    """Topics and a message handler, for one test."""
    before = registry_module.registry.topics[:], registry_module.registry.message_handlers[:]

    @topic("room:{name}", publish=True, presence=True)
    def everybody(session: Any, name: str) -> bool:
        return name != "secret"

    @on_message
    def double(session: Any, data: Any) -> Any:
        if data == "publish and fail":
            publish("room:1", "from a handler that failed")
        if not isinstance(data, dict):
            raise ValueError("no")
        return {"double": data["n"] * 2}

    yield
    registry_module.registry.topics[:], registry_module.registry.message_handlers[:] = before


BOTH_WAYS = pytest.mark.parametrize("way", ["asgi", "uvicorn"], indirect=True)


@pytest.fixture
def way(request: pytest.FixtureRequest) -> str:
    """How peers reach the consumer: as any ASGI server does, or through our class for uvicorn."""
    return str(getattr(request, "param", "asgi"))


@pytest.fixture
async def peers(transactional_db: None, declared: None, way: str) -> AsyncIterator[Callable[..., Peer]]:
    """Make peers; all are disconnected at the end and the hub is stopped."""
    made: list[Peer] = []

    def make(*, client: tuple[str, int] | None = None, **headers: str) -> Peer:
        made.append(Peer(client=client, way=way, **headers))
        return made[-1]

    yield make
    for peer in made:
        await asyncio.gather(peer.leave(), return_exceptions=True)
    await hub().stop()


@pytest.fixture
async def created(transactional_db: None) -> lifecycle.Created:
    """Create a fresh session."""
    return await bridge().call(lifecycle.create_session)
