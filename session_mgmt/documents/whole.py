"""Replacement of a whole document from its bytes: a large change, prepared where no other work waits for it."""

from __future__ import annotations

from dataclasses import dataclass

from session_mgmt.documents import operations, rebuild, size, strict, touched
from session_mgmt.documents.limits import Extent, Growth, Limits
from session_mgmt.documents.normalise import make_replace_ops
from session_mgmt.documents.rebuild import Parts


@dataclass(frozen=True, slots=True)
class Replacement:
    """Document that replaces another one: encoded ``ops``, the ``paths`` that they touch, and its ``size``."""

    ops: bytes
    paths: tuple[str, ...]
    growth: Growth
    size: Extent


def parse_replacement(raw: bytes, limits: Limits, max_bytes: int) -> Replacement:
    """Parse and check a document. Takes and returns bytes, so that another process can run it. Raises a
    DocumentError.
    """
    return make_replacement(strict.parse_json(raw, limits, max_bytes))


def restore_parts(parts: Parts) -> Replacement:
    """Prepare a stored document as a replacement. Raises UnreadableBody."""
    return make_replacement(rebuild.build_value(parts))


def make_replacement(data: object) -> Replacement:
    """Prepare a checked value as a replacement."""
    ops = make_replace_ops(data)
    return Replacement(
        operations.encode_ops(ops), touched.list_stored_paths(ops), size.bound_growth(ops), size.measure_extent(data)
    )
