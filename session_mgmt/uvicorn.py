"""Class for uvicorn's ``--ws``: ``uvicorn shop.asgi:application --ws session_mgmt.uvicorn:WebSocketProtocol``.

It serves session clients at less than half the cost of uvicorn's own class, which goes on serving all other
WebSockets. Where uvicorn is another than the tested ones and lacks what the class needs, uvicorn's own serves all.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

logger = logging.getLogger(__name__)


def _find_class() -> type[asyncio.Protocol]:
    try:
        from session_mgmt.consumers.uvicorn_protocol import WebSocketProtocol as Own
    except ImportError as error:
        from uvicorn.protocols.websockets.auto import AutoWebSocketsProtocol

        logger.warning("uvicorn's own WebSocket class serves session clients, at a higher cost: %s", error)
        other: Any = AutoWebSocketsProtocol
        return other
    return Own


WebSocketProtocol = _find_class()
