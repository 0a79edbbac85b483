"""Make one call to a URL that a person has entered: only to an address that was checked, with limits of time and size.

The host is looked up once, each of its addresses is checked, and the connection goes to one of these. A second look-up,
as an HTTP library would make, may return another address. Redirects are not followed; they count as refusals.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import socket
import ssl
from collections.abc import Mapping
from functools import lru_cache
from time import monotonic
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import SplitResult, urlsplit

from session_mgmt.conf import settings

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

# Only the status and the headers are read from an answer.
_MOST_BYTES = 32 * 1024
_PORTS = {"https": 443, "http": 80}
# IPv4 addresses inside IPv6 addresses that Python does not extract: those of translators (RFC 6052), and the middle
# part of tunnels in any network (ISATAP, RFC 5214).
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
_TUNNELLED = (0x0000_5EFE, 0x0200_5EFE)
# Networks of a site (RFC 3879), of protocols (RFC 6890) and of examples (RFC 9637), which some Python versions treat as
# public.
_NOT_PUBLIC = tuple(map(ipaddress.ip_network, ("fec0::/10", "192.0.0.0/24", "3fff::/20")))


class Answer(NamedTuple):
    """Answer of an endpoint; ``retry_after`` is the header of that name, not parsed."""

    status: int
    retry_after: str = ""


class CallFailed(Exception):
    """Error without an answer from the endpoint; its text is the reason. If ``is_endpoint``, other calls to the same
    address would fail too.
    """

    def __init__(self, text: str, *, is_endpoint: bool = True) -> None:
        super().__init__(text)
        self.is_endpoint = is_endpoint


def check_address(address: str) -> None:
    """Check the URL of an endpoint. Raises ``ValueError``, with a text for people, for one that must not be called.

    A host name is not looked up here: its addresses are checked at each call.
    """
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ValueError("This is no address.") from error
    schemes = ("https", "http") if settings().webhook_http else ("https",)
    if parts.scheme not in schemes:
        raise ValueError("The address begins with https://." + _hint("webhook_http", parts.scheme == "http"))
    if not host or not address.isascii() or not address.isprintable() or " " in address:
        raise ValueError("The address has a host, and ASCII only: write other names in Punycode.")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("The address has no user, password or fragment; the signature proves who calls.")
    if port == 0:
        raise ValueError("The port is from 1 to 65535.")
    literal = _parse_address(host)
    if literal is not None and not is_allowed(literal):
        raise ValueError("The address is private." + _hint("webhook_networks", True))


def _hint(setting: str, is_shown: bool) -> str:
    return f" SESSION_MGMT['{setting}'] can allow it." if is_shown else ""


def is_allowed(address: Address) -> bool:
    """Return whether an IP address may be called: it is public, or in one of ``webhook_networks``."""
    networks = _read_networks(tuple(settings().webhook_networks))
    return all(any(end in one for one in networks) or _is_public(end) for end in _list_ends(address))


def _is_public(address: Address) -> bool:
    if any(address in network for network in _NOT_PUBLIC):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _list_ends(address: Address) -> list[Address]:
    """Return the addresses that a packet to this address may reach: itself, or the IPv4 addresses that it contains."""
    if address.version == 4:
        return [address]
    last = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    tunnelled: list[Address] = [last] if int(address) >> 32 & 0xFFFF_FFFF in _TUNNELLED else []
    if address in _TRANSLATED:
        return [last]
    teredo = address.teredo
    outer = address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None) or address
    return [outer, *tunnelled]


@lru_cache(maxsize=4)
def _read_networks(given: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(ipaddress.ip_network(str(text)) for text in given)


def _parse_address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def post(address: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """Send a POST request and return the answer. Raises ``CallFailed``."""
    deadline = monotonic() + settings().webhook_timeout
    try:
        check_address(address)
    except ValueError as error:
        raise CallFailed(str(error)) from error
    parts = urlsplit(address)
    port = parts.port or _PORTS[parts.scheme]
    places = _look_up(parts.hostname or "", port)
    try:
        with _connect(parts, places, deadline) as connected:
            return _exchange(connected, parts, port, headers, body, deadline)
    except TimeoutError as error:
        raise CallFailed(f"No answer within {settings().webhook_timeout:g} s.") from error
    except ssl.SSLError as error:
        raise CallFailed(f"TLS failed: {error.reason or error}.") from error
    except OSError as error:
        raise CallFailed(f"The connection failed: {error.strerror or error}.") from error
    except http.client.HTTPException as error:
        raise CallFailed(f"The answer is no HTTP: {type(error).__name__}.", is_endpoint=False) from error


def _look_up(host: str, port: int) -> list[tuple[int, Any]]:
    """Look up a host name once, and return its addresses. Raises ``CallFailed`` if any of them may not be called."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise CallFailed("The name of the host was not found.") from error
    for *_, place in found:
        address = _parse_address(str(place[0]))
        # Check all of them and not only the one that is used: the owner of the name can influence which one that is.
        if address is None or not is_allowed(address):
            raise CallFailed(f"The host is at {place[0]}, which is private.{_hint('webhook_networks', True)}")
    return [(family, place) for family, *_, place in found]


def _connect(parts: SplitResult, places: list[tuple[int, Any]], deadline: float) -> socket.socket:
    """Connect to the first of the addresses that accepts, with TLS for the host name."""
    last: OSError = TimeoutError()
    for index, (family, place) in enumerate(places):
        connected = socket.socket(family, socket.SOCK_STREAM)
        try:
            # Give each address a share of the time, so that one that does not answer leaves time for the others.
            connected.settimeout(_find_left(deadline) / (len(places) - index))
            connected.connect(place)
            # Head and body are two small packets; without this the second would wait for an acknowledgement of the
            # first.
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connected.settimeout(_find_left(deadline))
            if parts.scheme == "http":
                return connected
            return _open_context().wrap_socket(connected, server_hostname=parts.hostname)
        except BaseException as error:
            connected.close()
            if not isinstance(error, OSError) or isinstance(error, ssl.SSLError):
                raise
            last = error
    raise last


@lru_cache(maxsize=1)
def _open_context() -> ssl.SSLContext:
    return ssl.create_default_context()


def _find_left(deadline: float) -> float:
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _exchange(
    connected: socket.socket,
    parts: SplitResult,
    port: int,
    headers: Mapping[str, str],
    body: bytes,
    deadline: float,
) -> Answer:
    connection = http.client.HTTPConnection(parts.hostname or "", port)
    connection.sock = _Wire(connected, deadline)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection.request("POST", target, body, {"Host": parts.netloc, "Connection": "close", **headers})
    found = connection.getresponse()
    return Answer(found.status, found.getheader("Retry-After", ""))


class _Wire:
    """Socket in the form that ``http.client`` uses; all its waits end at the same moment."""

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        self._connected, self._deadline = connected, deadline

    def sendall(self, data: bytes) -> None:
        self._connected.settimeout(_find_left(self._deadline))
        self._connected.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Bounded(self._connected, self._deadline))

    def close(self) -> None:
        """Do nothing, because the function that opened the connection closes it."""


class _Bounded(io.RawIOBase):
    """Answer of a server, with limits, because a server may send forever, or one byte a second."""

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        self._connected, self._deadline, self._left = connected, deadline, _MOST_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._left <= 0:
            raise http.client.LineTooLong("answer")
        self._connected.settimeout(_find_left(self._deadline))
        count = self._connected.recv_into(memoryview(buffer)[: self._left])
        self._left -= count
        return count
