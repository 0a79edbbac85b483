"""Clients over HTTP on the ASGI application of the package, in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from django.core.handlers.asgi import ASGIHandler

from session_mgmt.asgi import application
from session_mgmt.consumers.hub import hub
from tests.http_peer import HttpPeer
from tests.walks.conftest import created, declared, peers, way

__all__ = ["created", "declared", "peers", "way"]


@pytest.fixture
async def http(transactional_db: None, declared: None) -> AsyncIterator[httpx.AsyncClient]:
    """The application, without a server."""
    transport = httpx.ASGITransport(app=application(ASGIHandler()))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        yield client
    await hub().stop()


@pytest.fixture
def tabs(http: httpx.AsyncClient) -> Callable[..., HttpPeer]:
    """Make clients."""

    def make(token: str, transport: str = "longpoll") -> HttpPeer:
        return HttpPeer(http, token, transport=transport)

    return make
