"""HTTP request heads, as far as the demo's proxy must understand them. No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

# The two clients of the page, and everything else: the page around them, the admin, other programs.
CLIENTS = ("one", "two")
OTHERS = ""

_REPLACED = {"connection", "x-forwarded-for", "x-forwarded-proto"}
_PAGE = re.compile(r"/client/(\w+)/")


@dataclass(frozen=True, slots=True)
class Head:
    """Request line with its header fields, names in lower case."""

    method: str
    target: str
    fields: tuple[tuple[str, str], ...]

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def is_upgrade(self) -> bool:
        return self.read_field("upgrade").lower() == "websocket"

    @property
    def client(self) -> str:
        """Client of this request, by its own address or by the page that it comes from."""
        via = parse_qs(urlsplit(self.target).query).get("via", [""])[0]
        page = _PAGE.match(self.path) or _PAGE.match(urlsplit(self.read_field("referer")).path)
        name = via or (page.group(1) if page else OTHERS)
        return name if name in CLIENTS else OTHERS

    @property
    def is_cross_site(self) -> bool:
        """True if a page of another site sent it."""
        origin = self.read_field("origin")
        return bool(origin) and urlsplit(origin).netloc != self.read_field("host")

    def read_field(self, name: str) -> str:
        return next((value for known, value in self.fields if known == name), "")

    def build_forwarded(self, peer: str) -> bytes:
        """Return the head to pass on, for one request only: a connection belongs to one client to its end."""
        kept = [f"{name}: {value}" for name, value in self.fields if name not in _REPLACED]
        kept += [f"connection: {'Upgrade' if self.is_upgrade else 'close'}", f"x-forwarded-for: {peer}"]
        return "\r\n".join([f"{self.method} {self.target} HTTP/1.1", *kept, "", ""]).encode("latin-1")


def parse_head(raw: bytes) -> Head | None:
    """Parse the head of a request; return ``None`` for anything else."""
    first, *lines = raw.decode("latin-1").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        return None
    pairs = [line.partition(":") for line in lines if line]
    if not all(colon for _, colon, _ in pairs):
        return None
    return Head(parts[0], parts[1], tuple((name.strip().lower(), value.strip()) for name, _, value in pairs))


def build_response(status: str, body: bytes, content_type: str, **fields: str) -> bytes:
    """Return a whole response, after which the connection ends."""
    head = {"content-type": content_type, "content-length": str(len(body)), "cache-control": "no-store"} | fields
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in head.items()), "connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body
