"""A whole document from its bytes: the one change that is large, made ready where it holds nobody up."""

from __future__ import annotations

from dataclasses import dataclass

from session_mgmt.documents import operations, rebuild, size, strict, touched
from session_mgmt.documents.limits import Limits
from session_mgmt.documents.normalise import from_replace
from session_mgmt.documents.rebuild import Parts


@dataclass(frozen=True, slots=True)
class Replacement:
    """A document that replaces another: ``ops`` encoded, the ``paths`` they touch, its ``size`` as compact JSON."""

    ops: bytes
    paths: tuple[str, ...]
    growth: int
    size: int


def replacement(raw: bytes, limits: Limits, max_bytes: int) -> Replacement:
    """Parse and check a document; for another process too, so bytes in and bytes out. Raises a DocumentError."""
    return replacing(strict.loads(raw, limits, max_bytes))


def restoring(parts: Parts) -> Replacement:
    """As ``replacement``, of what is stored. Raises StateUnreadable."""
    return replacing(rebuild.value(parts))


def replacing(data: object) -> Replacement:
    """As ``replacement``, for a value that was checked."""
    ops = from_replace(data)
    return Replacement(operations.encode(ops), touched.paths(ops), size.growth(ops), size.size(data))
