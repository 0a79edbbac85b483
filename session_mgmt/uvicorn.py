"""Class for uvicorn's ``--ws``: ``uvicorn shop.asgi:application --ws session_mgmt.uvicorn:WebSocketProtocol``.

It serves session clients at less than half the cost of uvicorn's own class, which goes on serving all other
WebSockets. Where uvicorn is another than the tested ones and lacks what the class needs, uvicorn's own serves all.
"""

from __future__ import annotations

import logging
from inspect import signature
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

logger = logging.getLogger(__name__)

# uvicorn makes an object of the class for each connection; this is no documented interface.
MADE_WITH = ["config", "server_state", "app_state", "_loop"]


def find_class() -> type[asyncio.Protocol]:
    """Find the class for this version of uvicorn: ours, if it has the names that ours needs, or its own."""
    try:
        from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

        from session_mgmt.consumers.uvicorn_protocol import WebSocketProtocol as Own

        # Checked at start: a changed constructor would otherwise fail for each client that connects.
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
