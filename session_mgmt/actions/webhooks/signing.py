"""Signatures of Standard Webhooks (version v1): HMAC with SHA-256 over id, time and body."""

from __future__ import annotations

import binascii
import hmac
import secrets
from base64 import b64decode, b64encode
from collections.abc import Iterable

PREFIX = "whsec_"
_SECRET_BYTES = 32


def make_secret() -> str:
    """Return a new secret in the form that receivers get."""
    return PREFIX + b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def sign(secrets_: Iterable[str], message_id: str, timestamp: int, body: bytes) -> str:
    """Return the value of the header ``webhook-signature``, with one signature for each secret.

    Raises ``ValueError`` if a secret is malformed.
    """
    signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
    digests = [hmac.digest(_decode_secret(secret), signed, "sha256") for secret in secrets_]
    return " ".join(f"v1,{b64encode(digest).decode()}" for digest in digests)


def _decode_secret(secret: str) -> bytes:
    try:
        return b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("A webhook secret is whsec_ and base64.") from error
