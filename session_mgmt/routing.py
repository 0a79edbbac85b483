"""The realtime side: ``websocket_urlpatterns``, the name that Channels users look for."""

from __future__ import annotations

from django.urls import path

from session_mgmt.conf import settings
from session_mgmt.consumers.websocket import SessionConsumer

websocket_urlpatterns = [path(settings().websocket_path.lstrip("/"), SessionConsumer.as_asgi())]  # type: ignore[arg-type] # Channels routes ASGI
