"""Build a document from its stored parts: the body of a snapshot, and the operations after it.

Functions take and return bytes, so that another process can run them.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Any

import orjson

from session_mgmt.documents import canonical, codec, operations, size, strict
from session_mgmt.documents.codec import Encoded
from session_mgmt.documents.diff import make_json_patch
from session_mgmt.documents.editor import Editor
from session_mgmt.documents.errors import UnreadableBody
from session_mgmt.documents.limits import Extent
from session_mgmt.documents.values import JSON, are_equal, bound_number

# To read and apply a revision takes as long as to parse this many bytes of a document (5 us, measured).
REVISION_BYTES = 200
# A reader may have up to this part more work than with a new snapshot.
SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Parts:
    """Stored parts of a document. ``stored`` is None if the log begins at version 0.

    ``limit`` is the largest decompressed size in bytes; ``key`` is the key of the digest, if it has one.
    """

    ops: tuple[bytes, ...]
    limit: int
    codec: int = codec.RAW
    stored: bytes | None = None
    digest: bytes = b""
    key: bytes | None = field(default=None, repr=False)

    def exceeds(self, most: int) -> bool:
        """Return True if more than ``most`` bytes must be decoded.

        A small document may have large parts: a snapshot from before it was emptied, or large values that replaced each
        other.
        """
        room = most - sum(map(len, self.ops))
        if self.stored is None or room < 0:
            return room < 0
        # A small compressed body may have a large content.
        return len(self.stored) > room or codec.unpacks_beyond(self.codec, self.stored, room)


@dataclass(frozen=True, slots=True)
class Packed:
    """Whole document in the form in which it is stored, with its ``size``, ``digest`` and ``checksum``."""

    encoded: Encoded
    size: Extent
    digest: bytes
    checksum: str


def is_long(pending: int, pending_bytes: int, size: int) -> bool:
    """Return True if ``pending`` revisions with ``pending_bytes`` of operations are many for a document of ``size``
    bytes.

    A snapshot costs O(size). If it is made after a number of revisions in proportion to the size, the cost per revision
    is the same for every size.
    """
    return pending * REVISION_BYTES + pending_bytes >= size * SHARE


def compute_body_digest(raw: bytes, key: bytes | None) -> bytes:
    """Return the SHA-256 of a body, or with ``key`` an HMAC, because a plain hash would let somebody
    confirm guesses.
    """
    return hashlib.sha256(raw).digest() if key is None else hmac.digest(key, raw, "sha256")


# Of canonical bytes, so that clients in other languages can compute the same checksum.
def compute_value_checksum(value: JSON, key: bytes | None) -> str:
    """Return the checksum of the RFC 8785 bytes in hex; with ``key`` it is opaque."""
    return compute_body_digest(canonical.encode_canonical(value), key).hex()


def read_body(parts: Parts) -> bytes:
    """Return the snapshot's compact JSON after a check of its digest. Raises UnreadableBody."""
    if parts.stored is None:
        return b"{}"
    raw = codec.decode_body(parts.codec, parts.stored, parts.limit)
    if not hmac.compare_digest(compute_body_digest(raw, parts.key), parts.digest):
        # If a damaged body or {} were served instead, clients would take it for the true document.
        raise UnreadableBody("A stored body does not have its digest.")
    return raw


def build_value(parts: Parts) -> JSON:
    """Return the document. Raises UnreadableBody."""
    try:
        data = orjson.loads(read_body(parts))
    except orjson.JSONDecodeError as error:
        raise UnreadableBody("A stored body is no JSON.") from error
    # Private, because the value was just read from bytes and nothing else refers to it.
    return _replay(Editor(data, private=True), parts.ops)


def replay_ops(data: JSON, revisions: tuple[bytes, ...]) -> JSON:
    """Return the document after these revisions. The input stays as it is."""
    # Not private, because the value is from a cache and others read it.
    return _replay(Editor(data), revisions)


def _replay(editor: Editor, revisions: tuple[bytes, ...]) -> JSON:
    for ops in revisions:
        editor.apply(operations.decode_ops(ops))
    return editor.document


def build_raw(parts: Parts) -> bytes:
    """Return the document as compact JSON; without operations it is not parsed. Raises UnreadableBody."""
    return strict.dump_json(build_value(parts)) if parts.ops else read_body(parts)


def build_raw_and_checksum(parts: Parts) -> tuple[bytes, str]:
    """Return the document as compact JSON, and the SHA-256 of its RFC 8785 text. Raises UnreadableBody."""
    value = build_value(parts)
    return strict.dump_json(value), canonical.compute_checksum(value)


def measure_parts(parts: Parts) -> int:
    """Return the size of the document in bytes, as compact JSON. Raises UnreadableBody."""
    return len(build_raw(parts))


def is_value(parts: Parts, data: JSON) -> bool:
    """Return True if the document equals ``data``. Raises UnreadableBody."""
    return are_equal(build_value(parts), data)


def diff_parts(before: Parts, after: Parts) -> list[dict[str, Any]]:
    """Return the difference of two documents as an RFC 6902 patch. Raises UnreadableBody."""
    return make_json_patch(build_value(before), build_value(after))


def pack_parts(parts: Parts, threshold: int) -> Packed:
    """Return the document in the form of a snapshot, compressed above ``threshold`` bytes. Raises UnreadableBody."""
    return pack_value(build_value(parts), threshold, parts.key)


def pack_value(data: Any, threshold: int, key: bytes | None) -> Packed:
    """Return a decoded document in the form of a snapshot, like ``pack_parts``."""
    plain = strict.dump_json(data)
    return Packed(
        codec.encode_body(plain, threshold=threshold),
        Extent(len(plain), size.count_keys(data), bound_number(data)),
        compute_body_digest(plain, key),
        compute_value_checksum(data, key),
    )
