"""Ends of connections that a test brings about: one at a time, as a group of one."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson

from session_mgmt.actions.sessions import closing
from session_mgmt.actions.sessions.attachments import Attachment
from session_mgmt.actions.sessions.closing import Ended, Recovered
from session_mgmt.actions.sessions.connections import FIGURES, Beat
from session_mgmt.models import Connection


def end(attachment: Attachment, code: int = 1006, closed_by: str = "client", **more: Any) -> Ended:
    """Return the end of a connection with which nothing was ever sent."""
    more.setdefault("figures", Beat(attachment.connection, None, None, 0, 0, 0, 0, 0, 0))
    return Ended(attachment.connection, attachment.session.pk, attachment.client, code, closed_by, **more)


def close(attachment: Attachment, *, code: int, closed_by: str, now: datetime | None = None) -> None:
    """Close a connection; it keeps the figures of its last flush."""
    row = Connection.objects.get(pk=attachment.connection)
    figures = Beat(row.pk, **{name: getattr(row, name) for name in FIGURES})
    closing.close_connections([end(attachment, code, closed_by, figures=figures)], now=now)


def keep_receipt(attachment: Attachment, receipt: dict[str, Any]) -> None:
    """Keep the receipt of a connection's recovery."""
    kept = Recovered(attachment.connection, receipt["verdict"], orjson.dumps(receipt).decode())
    closing.close_connections([], [kept])
