"""Class for uvicorn's ``--ws``: ``uvicorn shop.asgi:application --ws session_mgmt.uvicorn:WebSocketProtocol``.

It serves session clients at less than half the cost of uvicorn's own class, which still serves all other WebSockets. If
this version of uvicorn lacks something that the class needs, uvicorn's own class serves all of them.
"""

from __future__ import annotations

import logging
from inspect import signature
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

logger = logging.getLogger(__name__)

# uvicorn creates an instance for each connection. This interface is not documented.
MADE_WITH = ["config", "server_state", "app_state", "_loop"]


def find_class() -> type[asyncio.Protocol]:
    """Find the class for this version of uvicorn: ours, if it has the names that ours needs, or its own."""
    try:
        from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

        from session_mgmt.consumers.uvicorn_protocol import WebSocketProtocol as Own

        # Check at start, because a changed constructor would otherwise fail for every client that connects.
        parameters = list(signature(WebSocketsSansIOProtocol).parameters)
        if parameters != MADE_WITH:
            raise ImportError(f"its classes are made with {parameters}")
    except ImportError as error:
        from uvicorn.protocols.websockets.auto import AutoWebSocketsProtocol

        logger.warning("uvicorn's own WebSocket class serves session clients, at a higher cost: %s", error)
        other: Any = AutoWebSocketsProtocol
        return other
    return Own


WebSocketProtocol = find_class()
