"""Attach clients without a server, as tests of the rules do: one by one, or in groups."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from session_mgmt.actions import notify
from session_mgmt.actions.sessions import resume
from session_mgmt.actions.sessions.attachments import Ask, AttachedGroup, Attachment
from session_mgmt.exceptions import SessionMgmtError
from session_mgmt.protocol.frames import Connect


def attach_client(
    connect: Connect, granted: frozenset[str] = frozenset(), *, server: str = "test", now: datetime | None = None
) -> Attachment:
    """Attach one client, a group of one, and tell of it as the lane does. Raises its refusal."""
    group = attach_all([Ask(connect, server, granted)], now=now)
    return answered(group.results[0])


def attach_all(asks: Sequence[Ask], *, wait: bool = True, now: datetime | None = None) -> AttachedGroup:
    """Attach a group, and tell of it as the lane does."""
    group = resume.attach_group(asks, wait=wait, now=now)
    group.ring()
    notify.send_events(group.events)
    return group


def answered(result: Any) -> Attachment:
    """Give the attachment of a result; raise a refusal."""
    if isinstance(result, SessionMgmtError):
        raise result
    assert isinstance(result, Attachment)
    return result
