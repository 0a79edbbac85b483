"""Transports of a client, by the names that the application allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from session_mgmt.client.transports.carrier import Carrier, Host, TransportName
from session_mgmt.client.transports.http import HttpCarrier
from session_mgmt.client.transports.hybrid import HybridCarrier
from session_mgmt.client.transports.socket import SocketCarrier
from session_mgmt.client.transports.way import Way

ALL: tuple[TransportName, ...] = get_args(TransportName)


def check_transports(allowed: Sequence[TransportName]) -> Sequence[TransportName]:
    """Return the names. Raises ValueError for an unknown name, or if there is none."""
    unknown = [name for name in allowed if name not in ALL]
    if unknown or not allowed or isinstance(allowed, str):
        raise ValueError(f"transports has at least one of {', '.join(ALL)}, not {allowed!r}")
    return allowed


def build_carrier(allowed: Sequence[TransportName], host: Host, way: Way) -> Carrier:
    """Return the carrier of the next connection."""
    if "websocket" not in allowed:
        return HttpCarrier(host, way)
    if len(set(allowed)) == 1:
        return SocketCarrier(host.find_address())
    return HybridCarrier(host, way)
