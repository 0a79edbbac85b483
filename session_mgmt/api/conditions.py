"""Request headers that make a write conditional or repeatable.

``If-Match`` and ``If-None-Match`` follow RFC 9110 section 13, ``Idempotency-Key`` the draft of the HTTPAPI group.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rest_framework.request import Request

from session_mgmt.actions.state.updates import Terms
from session_mgmt.exceptions import InvalidField, PreconditionFailed
from session_mgmt.protocol.position import Position

KEY_HEADER = "Idempotency-Key"
_ETAG = re.compile(r'(?:W/)?"([^".\s]{1,64})\.(\d{1,16})\.([^".\s]{0,64})"')
# The draft demands a quoted string, but unquoted ones are common.
_KEY = re.compile(r'"([ !#-\[\]-~]{1,100})"|([!#-\[\]-~]{1,100})')


@dataclass(frozen=True, slots=True)
class Conditions:
    """Conditions of one write.

    With ``expected``, the write applies only if the document is at that position; with ``if_absent``, only if the
    document was never written. ``key`` makes a repetition harmless.
    """

    expected: Position | None
    if_absent: bool
    key: str | None

    def terms(self, request: bytes | None) -> Terms:
        """Return the terms of the write. ``request`` is the digest of the request, which a repetition must equal."""
        return Terms(if_absent=self.if_absent, key=self.key, request=request if self.key is not None else None)


def read_conditions(request: Request, key: str | None = None) -> Conditions:
    """Return the conditions of a writing request; ``key`` is the one in its body.

    Raises ``InvalidField`` or ``PreconditionFailed``.
    """
    return Conditions(read_expected_position(request), _read_if_absent(request), _read_key(request, key))


def read_expected_position(request: Request) -> Position | None:
    """Return the position of ``If-Match``. A malformed one matches nothing, so it raises ``PreconditionFailed``."""
    given = request.headers.get("If-Match")
    if given is None:
        return None
    found = _ETAG.fullmatch(given.strip())
    if found is None:
        raise PreconditionFailed("If-Match holds no ETag of a document.")
    return Position(found[1], int(found[2]), found[3])


def format_etag(position: Position) -> str:
    """Return ``"<epoch>.<version>.<tag>"``."""
    return f'"{position.epoch}.{position.offset}.{position.tag}"'


def is_known(request: Request, head: Position) -> bool:
    """Return whether ``If-None-Match`` names this version, so that the caller has it already."""
    given = request.headers.get("If-None-Match", "")
    # RFC 9110 section 13.1.2 asks for the weak comparison, which ignores the W/ of a proxy
    # that has compressed the answer.
    return any(candidate.strip().removeprefix("W/") == format_etag(head) for candidate in given.split(","))


def _read_if_absent(request: Request) -> bool:
    given = request.headers.get("If-None-Match")
    if given is not None and given.strip() != "*":
        # Refusing a condition that might hold is better than writing in spite of it.
        raise PreconditionFailed("For writing, If-None-Match is * and nothing else.")
    return given is not None


def _read_key(request: Request, given_key: str | None) -> str | None:
    given = request.headers.get(KEY_HEADER)
    if given is None:
        return given_key
    found = _KEY.fullmatch(given.strip())
    if found is None:
        raise InvalidField(f"{KEY_HEADER} is a string of 1 to 100 printable ASCII characters.", field=KEY_HEADER)
    key: str = found[1] or found[2]
    if given_key not in (None, key):
        raise InvalidField(f"key and {KEY_HEADER} are not the same.", field="key")
    return key
