"""Frames that go past the ASGI server: the same bytes, and never where the server has something else to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import uvicorn
import websockets
from websockets.frames import Frame, Opcode

from session_mgmt.consumers import uvicorn_fast_path
from session_mgmt.consumers.outlet import Outlet, Shared
from tests.ports import take_port

MOST_BYTES = 1024 * 1024


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 70000])
def test_a_frame_is_the_one_that_the_websockets_library_would_send(size: int) -> None:
    text = "é" * (size // 2) + "x" * (size % 2)
    assert uvicorn_fast_path.build_frame(text.encode()) == Frame(Opcode.TEXT, text.encode()).serialize(mask=False)


async def test_a_server_that_is_not_known_is_served_in_the_portable_way() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    assert uvicorn_fast_path.find_writer(send) is None
    outlet = Outlet(send, MOST_BYTES)
    outlet.push("one")
    outlet.push(Shared(b"two", b"three"))
    assert [message["text"] for message in sent] == ["one", "two", "three"]


class Application:
    """Accepts, keeps the outlet, and answers every message with it."""

    def __init__(self) -> None:
        self.outlet: Outlet | None = None
        self.protocol: Any = None
        self.direct = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        self.outlet, self.protocol = Outlet(send, MOST_BYTES), send.__self__
        self.direct = uvicorn_fast_path.find_writer(send) is not None
        while (event := await receive())["type"] == "websocket.receive":
            self.outlet.push(orjson.dumps({"echo": event["text"]}).decode())
        self.outlet.abandon()


@pytest.fixture
async def serve() -> AsyncIterator[Any]:
    """Start uvicorn in this loop with the given options; gives its application and address."""
    servers: list[tuple[uvicorn.Server, asyncio.Task[None]]] = []

    async def start(application: Application | None = None, **options: Any) -> tuple[Application, str]:
        application, port = application or Application(), take_port()
        given = {"ws": "websockets-sansio", "ws_per_message_deflate": False, **options}
        server = uvicorn.Server(uvicorn.Config(application, port=port, log_level="error", lifespan="off", **given))
        ready = asyncio.get_running_loop().create_future()
        startup = server.startup

        async def started(sockets: Any = None) -> None:
            await startup(sockets)
            ready.set_result(None)

        server.startup = started  # type: ignore[method-assign]
        servers.append((server, asyncio.create_task(server._serve())))
        await ready
        return application, f"ws://127.0.0.1:{port}/"

    yield start
    for server, task in servers:
        server.should_exit = True
        await task


async def echo(socket: Any, text: str) -> Any:
    await socket.send(text)
    return orjson.loads(await socket.recv())["echo"]


async def test_uvicorn_is_known_and_gets_frames_past_its_own_way(serve: Any) -> None:
    application, address = await serve()
    async with websockets.connect(address, compression=None) as socket:
        assert await echo(socket, "é" * 70000) == "é" * 70000
        assert application.direct


async def test_a_compressed_connection_is_served_in_the_portable_way(serve: Any) -> None:
    application, address = await serve(ws_per_message_deflate=True)
    async with websockets.connect(address) as socket:
        assert await echo(socket, "text") == "text"
        assert not application.direct


async def test_frames_wait_in_the_outlet_while_the_transport_is_full_and_keep_their_order(serve: Any) -> None:
    application, address = await serve()
    async with websockets.connect(address, compression=None, max_queue=None) as socket:
        assert await echo(socket, "first") == "first"
        outlet = application.outlet
        assert outlet is not None
        application.protocol.pause_writing()
        outlet.push("1")
        outlet.push("2")
        drained = asyncio.get_running_loop().create_future()
        outlet.when_drained(lambda: drained.set_result(None))
        assert not drained.done()
        application.protocol.resume_writing()
        outlet.push("3")
        await drained
        outlet.push("4")
        assert [await socket.recv() for _ in range(4)] == ["1", "2", "3", "4"]


async def test_nothing_is_written_after_the_close(serve: Any) -> None:
    application, address = await serve()
    async with websockets.connect(address, compression=None) as socket:
        assert await echo(socket, "first") == "first"
        outlet = application.outlet
        assert outlet is not None
        outlet.close(4000, "draining")
        outlet.push("too late")
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 4000
