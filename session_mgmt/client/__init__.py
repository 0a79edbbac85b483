"""The client: `await SessionClient.start("https://example.org/api/")`. Needs httpx and websockets, no Django."""

from __future__ import annotations

from session_mgmt.client.errors import ClientError, Refused, Stopped, Unsent
from session_mgmt.client.session import SessionClient
from session_mgmt.client.storage import FileStorage, MemoryStorage

__all__ = ["ClientError", "FileStorage", "MemoryStorage", "Refused", "SessionClient", "Stopped", "Unsent"]
