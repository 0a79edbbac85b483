"""Permits: texts by which a client shows on each call that the application has allowed a topic to it.

On the wire they are called ``grant``. Without them every poll would ask the project's code about every topic, or could
name any. A permit counts for one attachment, for the rights of its time, and until its time is over.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings as django_settings
from django.utils.crypto import salted_hmac

from session_mgmt.conf import settings

_PURPOSE = "session_mgmt.permit"
_MARK_BYTES, _TIME_BYTES = 16, 6


@dataclass(frozen=True, slots=True)
class Holder:
    """Attachment that a permit is for, and the version of its session's rights."""

    session: uuid.UUID
    client: int
    generation: int
    access_version: int


def make_permit(holder: Holder, topic: str, *, now: datetime, lifetime: timedelta) -> str:
    """Make a permit for a topic."""
    until = int((now + lifetime).timestamp())
    return base64.urlsafe_b64encode(until.to_bytes(_TIME_BYTES, "big") + _mark(holder, topic, until)).decode()


def is_permitted(holder: Holder, topic: str, permit: str | None, *, now: datetime) -> bool:
    """Return whether this is the holder's own permit for the topic, and its time is not over."""
    try:
        raw = base64.b64decode((permit or "").encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return False
    if len(raw) != _TIME_BYTES + _MARK_BYTES:
        return False
    until = int.from_bytes(raw[:_TIME_BYTES], "big")
    return now.timestamp() < until and hmac.compare_digest(raw[_TIME_BYTES:], _mark(holder, topic, until))


def _mark(holder: Holder, topic: str, until: int) -> bytes:
    # Texts of fixed form in front, so that no topic can be read as a part of them.
    facts = f"{holder.session.hex}.{holder.client}.{holder.generation}.{holder.access_version}.{until}.{topic}"
    # One key is enough: after a change of the keys the application is asked once more.
    secret = (settings().token_keys or (django_settings.SECRET_KEY,))[0]
    return salted_hmac(_PURPOSE, facts, secret=secret, algorithm="sha256").digest()[:_MARK_BYTES]
