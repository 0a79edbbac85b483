"""Permits: texts by which a client shows at each call that the application has allowed it to follow a topic.

In the protocol they are called ``grant``. Without them, each poll would call the project's code for each topic, or a
client could name any topic. A permit is valid for one attachment, for one version of the session's permissions, and for
a limited time.
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
    """Attachment that a permit is for, and the version of its session's permissions."""

    session: uuid.UUID
    client: int
    generation: int
    access_version: int


def make_permit(holder: Holder, topic: str, *, now: datetime, lifetime: timedelta) -> str:
    """Return a permit for a topic."""
    until = int((now + lifetime).timestamp())
    return base64.urlsafe_b64encode(until.to_bytes(_TIME_BYTES, "big") + _mark(holder, topic, until)).decode()


def is_permitted(holder: Holder, topic: str, permit: str | None, *, now: datetime) -> bool:
    """Return whether a permit belongs to this holder and topic, and is still valid."""
    try:
        raw = base64.b64decode((permit or "").encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return False
    if len(raw) != _TIME_BYTES + _MARK_BYTES:
        return False
    until = int.from_bytes(raw[:_TIME_BYTES], "big")
    return now.timestamp() < until and hmac.compare_digest(raw[_TIME_BYTES:], _mark(holder, topic, until))


def _mark(holder: Holder, topic: str, until: int) -> bytes:
    # The parts before the topic have fixed forms, so no topic can be confused with them.
    facts = f"{holder.session.hex}.{holder.client}.{holder.generation}.{holder.access_version}.{until}.{topic}"
    # One key is enough: after a change of the keys the application is called again.
    secret = (settings().token_keys or (django_settings.SECRET_KEY,))[0]
    return salted_hmac(_PURPOSE, facts, secret=secret, algorithm="sha256").digest()[:_MARK_BYTES]
