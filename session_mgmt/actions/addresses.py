"""Addresses of callers: find the trustworthy one of a request, and shorten it for storage.

A client can send any forwarding header. Therefore none is read unless the project declares how many proxies are in
front of it, and then only the entry that the outermost of them has added.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from django.conf import settings as django_settings
from django.utils.encoding import force_bytes

from session_mgmt.conf import settings

_HEADER = b"x-forwarded-for"
# Bits that are kept of a truncated address: they identify a provider's block, not a household.
_KEPT_BITS = {4: 24, 6: 48}
# Unique local addresses (RFC 4193), which no caller from outside can have: hashed ones cannot be taken for real.
_HASHED_PREFIX = 0xFD
_HASHED_BYTES = 15


def read_meta(meta: Mapping[str, Any]) -> str | None:
    """Return the caller's address of a request's ``META``; ``None`` for a Unix socket."""
    return _pick_address(meta.get("REMOTE_ADDR"), [str(meta.get("HTTP_X_FORWARDED_FOR", ""))])


def read_scope(scope: Mapping[str, Any]) -> str | None:
    """Return the caller's address of a socket's scope; ``None`` for a Unix socket.

    The header's name is compared exactly: ``X_Forwarded_For`` is another header, and is ignored.
    """
    client = scope.get("client") or (None,)
    given = [value.decode("latin-1") for name, value in scope.get("headers", ()) if name.lower() == _HEADER]
    return _pick_address(client[0], given)


def _pick_address(peer: Any, forwarded: Iterable[str]) -> str | None:
    hops = settings().trusted_proxies
    named = [part.strip() for line in forwarded for part in line.split(",") if part.strip()]
    # With fewer entries than proxies, the request did not come through all of them, so its header proves nothing.
    return _parse_address(str((named[-hops] if 0 < hops <= len(named) else peer) or ""))


# Behind a proxy all have one peer. Whoever makes addresses up fills it with them, and gains nothing.
@lru_cache(maxsize=1024)
def _parse_address(text: str) -> str | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    # One caller is one bucket and one row, whichever way its socket spells it; a zone is this machine's own matter.
    mapped = getattr(found, "ipv4_mapped", None)
    return str(mapped or found).partition("%")[0]


def veil_address(address: str | None) -> str | None:
    """Return an address as it is stored and logged, by the setting ``stored_addresses``."""
    form = settings().stored_addresses
    if form == "full" or (address := _parse_address(address or "")) is None:
        return address
    found = ipaddress.ip_address(address)
    if form == "truncated":
        network = ipaddress.ip_network((address, _KEPT_BITS[found.version]), strict=False)
        return str(network.network_address)
    return str(ipaddress.IPv6Address(bytes([_HASHED_PREFIX]) + _hash_address(found.packed)))


def _hash_address(packed: bytes) -> bytes:
    # Keyed, because all four billion IPv4 addresses could be tried in a minute.
    secret = (settings().token_keys or (django_settings.SECRET_KEY,))[0]
    digest = hmac.new(force_bytes(secret), b"session_mgmt.address" + packed, hashlib.sha256)
    return digest.digest()[:_HASHED_BYTES]


def is_same_network(first: str, second: str | None) -> bool:
    """Return whether two stored addresses belong to the same network, as far as their stored form shows."""
    networks = [ipaddress.ip_address(address) for address in (first, second or first)]
    if networks[0].version != networks[1].version:
        return False
    if settings().stored_addresses == "hashed":
        return networks[0] == networks[1]
    kept = _KEPT_BITS[networks[0].version]
    cut = [ipaddress.ip_network((str(address), kept), strict=False) for address in networks]
    return cut[0] == cut[1]
