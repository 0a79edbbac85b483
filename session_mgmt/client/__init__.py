"""Python client: `await SessionClient.start("https://example.org/api/")`. It needs httpx and websockets, no Django."""

from __future__ import annotations

from session_mgmt.documents.values import MISSING

try:
    from session_mgmt.client.batch import Sync
    from session_mgmt.client.blocking import SyncSessionClient
    from session_mgmt.client.errors import ClientError, Refused, Stopped, TooSlow, Unanswered, Unsent
    from session_mgmt.client.session import SessionClient
    from session_mgmt.client.storage import FileStorage, MemoryStorage, Saved, Storage
except ModuleNotFoundError as error:
    error.msg += '. The Python client needs more packages: pip install "session_mgmt[client]".'
    raise

__all__ = [
    "MISSING",
    "ClientError",
    "FileStorage",
    "MemoryStorage",
    "Refused",
    "Saved",
    "SessionClient",
    "Stopped",
    "Storage",
    "Sync",
    "SyncSessionClient",
    "TooSlow",
    "Unanswered",
    "Unsent",
]
