"""A real server in this process, on this test's database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from django.core.handlers.asgi import ASGIHandler

from session_mgmt.asgi import application
from tests.ports import take_port


@asynccontextmanager
async def served(ws: str) -> AsyncIterator[int]:
    """uvicorn with a WebSocket class; gives its port."""
    options = {"ws": ws, "ws_per_message_deflate": False, "lifespan": "off", "log_level": "error"}
    port = take_port()
    server = uvicorn.Server(uvicorn.Config(application(ASGIHandler()), port=port, **options))  # type: ignore[arg-type]
    ready = asyncio.get_running_loop().create_future()
    startup = server.startup

    async def started(sockets: object = None) -> None:
        await startup()
        ready.set_result(None)

    server.startup = started  # type: ignore[assignment,method-assign]
    task = asyncio.create_task(server._serve())
    await ready
    try:
        yield port
    finally:
        server.should_exit = True
        await task
