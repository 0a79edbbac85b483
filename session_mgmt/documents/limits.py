"""The limits of a document and of a change to it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds, each inclusive and each with its own error code.

    `document_bytes` compact UTF-8 JSON; `depth` nested containers (a scalar has 0); `keys` members of all objects of
    one value together; `key_bytes` and `string_bytes` UTF-8; `ops` operations of one change (RFC 6902 or total).
    """

    document_bytes: int = 5 * 2**20
    depth: int = 64
    keys: int = 100_000
    key_bytes: int = 1024
    string_bytes: int = 2**20
    ops: int = 500
