"""Limits on how often one caller may call, over HTTP and at connect.

Every process counts for itself. A token and a user have one allowance, an address a much larger one, because many
people may share it. Failures that guess at secrets or ids cost far more than a call that is answered.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from time import monotonic
from typing import Any

from session_mgmt.backends.budgets import Charge, budgets
from session_mgmt.conf import settings
from session_mgmt.exceptions import (
    AuthError,
    AuthRequired,
    PermissionDenied,
    PublishDenied,
    SessionNotFound,
    TooManyRequests,
)

BURST_SECONDS = 10.0
# After a rest a client may send the frames of this many seconds at once.
FRAME_BURST_SECONDS = 5.0
HOUR = 3600.0
NEWS_SECONDS = 10.0
ADDRESS_FACTOR = 40
# With the default of 50 a second: 25 failures of a token at once, 100 of an address, then 2.5 and 10 a second.
FAILURE_COST = 20.0
ADDRESS_FAILURE_COST = 200.0
_GUESSES = (AuthError, AuthRequired, PermissionDenied, PublishDenied, SessionNotFound)
# An owner of one IPv6 address usually has the whole network.
_IPV6_PREFIX = 64


@dataclass(frozen=True, slots=True)
class Caller:
    """Caller of a request, as far as it is known."""

    address: str | None = None
    token: str | None = field(default=None, repr=False)
    user_id: Any = None


def admit_caller(caller: Caller, *, now: float | None = None) -> None:
    """Count one call. Raises ``TooManyRequests`` with the time to wait."""
    wait = budgets().spend(_list_charges(caller, 1.0, 1.0), monotonic() if now is None else now)
    if wait > 0:
        raise TooManyRequests(retry_after=wait)


def admit_frames(client: int, count: int, *, now: float | None = None) -> None:
    """Count frames of a client over HTTP as a socket counts them. Raises ``TooManyRequests``."""
    rate = settings().max_frames_per_second
    charge = Charge(f"frames:{client}", float(count), rate, rate * FRAME_BURST_SECONDS)
    wait = budgets().spend([charge], monotonic() if now is None else now)
    if wait > 0:
        raise TooManyRequests(retry_after=wait)


def admit_anonymous(address: str | None, *, now: float | None = None) -> None:
    """Count the creation of a session without a user. Raises ``TooManyRequests``, because rows could fill the disk."""
    most = settings().max_anonymous_per_address
    network = None if address is None else _find_network(address)
    if most <= 0 or network is None:
        return
    charge = Charge(f"anonymous:{network}", 1.0, most / HOUR, float(most))
    wait = budgets().spend([charge], monotonic() if now is None else now)
    if wait > 0:
        raise TooManyRequests(retry_after=wait)


def is_news(address: str | None, kind: str, *, now: float | None = None) -> bool:
    """Tell whether a refusal of one kind should be written down: once in a while, at no cost in between."""
    network = None if address is None else _find_network(address)
    charge = Charge(f"news:{kind}:{network}", 1.0, 1 / NEWS_SECONDS, 1.0)
    return budgets().spend([charge], monotonic() if now is None else now) == 0


def fine_caller(caller: Caller, error: Exception, *, now: float | None = None) -> None:
    """Charge failures that may be guesses of secrets, ids or permissions; other errors cost nothing extra."""
    if isinstance(error, _GUESSES):
        charges = _list_charges(caller, FAILURE_COST, ADDRESS_FAILURE_COST)
        budgets().fine(charges, monotonic() if now is None else now)


def _list_charges(caller: Caller, cost: float, address_cost: float) -> Iterator[Charge]:
    rate = settings().max_requests_per_second
    if rate <= 0:
        return
    if caller.address is not None and (network := _find_network(caller.address)) is not None:
        most = rate * ADDRESS_FACTOR
        yield Charge(f"address:{network}", address_cost, most, most * BURST_SECONDS)
    if caller.token is not None:
        # Use a digest, so that the secret itself is not kept in memory.
        digest = hashlib.sha256(caller.token.encode(errors="replace")).hexdigest()
        yield Charge(f"token:{digest}", cost, rate, rate * BURST_SECONDS)
    if caller.user_id is not None:
        yield Charge(f"user:{caller.user_id}", cost, rate, rate * BURST_SECONDS)


@lru_cache(maxsize=1024)
def _find_network(address: str) -> str | None:
    try:
        found = ipaddress.ip_address(address)
    # Some proxies write a name or a port there. Such callers are counted by their token and user only.
    except ValueError:
        return None
    if found.version == 4:
        return str(found)
    return str(ipaddress.ip_network((found, _IPV6_PREFIX), strict=False))
