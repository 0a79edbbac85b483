"""Names as parts of URLs. Each name also has a URL, so a name that would make an invalid URL is refused."""

from __future__ import annotations


def fits_address(name: str) -> bool:
    """Return True if a URL can contain this name. Clients and proxies resolve ``.`` and ``..``, also if encoded."""
    return not {".", ".."} & set(name.split("/"))
