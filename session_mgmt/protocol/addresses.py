"""Names as parts of addresses: each name has an address over HTTP too, so one that can have none is none."""

from __future__ import annotations


def fits_address(name: str) -> bool:
    """Return whether an address may hold this name. Clients and proxies resolve ``.`` and ``..``, encoded ones too."""
    return not {".", ".."} & set(name.split("/"))
