"""The first lines of an HTTP request, as far as the demo's proxy must understand them. No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

# The two clients of the page, and everything else: the page around them, the admin, other programs.
CLIENTS = ("one", "two")
OTHERS = ""

_OURS = {"connection", "x-forwarded-for", "x-forwarded-proto"}
_PAGE = re.compile(r"/client/(\w+)/")


@dataclass(frozen=True, slots=True)
class Head:
    """A request line with its header fields, names in lower case."""

    method: str
    target: str
    fields: tuple[tuple[str, str], ...]

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def is_upgrade(self) -> bool:
        return self.field("upgrade").lower() == "websocket"

    @property
    def client(self) -> str:
        """Which client this request is of: by its own address, or by the page that it comes from."""
        via = parse_qs(urlsplit(self.target).query).get("via", [""])[0]
        page = _PAGE.match(self.path) or _PAGE.match(urlsplit(self.field("referer")).path)
        name = via or (page.group(1) if page else OTHERS)
        return name if name in CLIENTS else OTHERS

    @property
    def is_from_elsewhere(self) -> bool:
        """Whether another site's page sent it."""
        origin = self.field("origin")
        return bool(origin) and urlsplit(origin).netloc != self.field("host")

    def field(self, name: str) -> str:
        return next((value for known, value in self.fields if known == name), "")

    def forwarded(self, peer: str) -> bytes:
        """The head to pass on, for one request only: so a connection is one client's from first byte to last."""
        kept = [f"{name}: {value}" for name, value in self.fields if name not in _OURS]
        kept += [f"connection: {'Upgrade' if self.is_upgrade else 'close'}", f"x-forwarded-for: {peer}"]
        return "\r\n".join([f"{self.method} {self.target} HTTP/1.1", *kept, "", ""]).encode("latin-1")


def parse(raw: bytes) -> Head | None:
    """The head of a request, or ``None`` if it is none."""
    first, *lines = raw.decode("latin-1").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        return None
    pairs = [line.partition(":") for line in lines if line]
    if not all(colon for _, colon, _ in pairs):
        return None
    return Head(parts[0], parts[1], tuple((name.strip().lower(), value.strip()) for name, _, value in pairs))


def answer(status: str, body: bytes, content_type: str, **fields: str) -> bytes:
    """A whole response after which the connection ends."""
    head = {"content-type": content_type, "content-length": str(len(body)), "cache-control": "no-store"} | fields
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in head.items()), "connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body
