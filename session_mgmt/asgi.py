"""ASGI application in one call: ``application = session_mgmt.asgi.application(get_asgi_application())``."""

from __future__ import annotations

from typing import Any

from channels.routing import ProtocolTypeRouter, URLRouter

from session_mgmt.consumers.lifespan import lifespan
from session_mgmt.routing import websocket_urlpatterns


def application(django_application: Any, extra_websocket_urlpatterns: list[Any] | None = None) -> ProtocolTypeRouter:
    """Route HTTP to Django and WebSockets to the session consumer, which checks origin and token itself.

    A stopping server tells its clients first.
    """
    patterns = [*websocket_urlpatterns, *(extra_websocket_urlpatterns or [])]
    return ProtocolTypeRouter({"http": django_application, "websocket": URLRouter(patterns), "lifespan": lifespan})
