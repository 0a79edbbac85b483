"""Compression of stored bodies: each body has the number of its codec, and the size of decompressed data is limited."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from io import BytesIO
from types import ModuleType
from typing import Final

from session_mgmt.documents.errors import UnreadableBody

try:
    import zstandard
except ImportError:  # the extra `zstd` is not installed
    zstandard: ModuleType | None = None  # type: ignore[no-redef]

RAW: Final = 0
ZLIB: Final = 1
ZSTD: Final = 2

_ZLIB_LEVEL: Final = 6
_ZSTD_LEVEL: Final = 3
# A frame may require a window of gigabytes, which the decoder would allocate before the first byte.
_ZSTD_WINDOW_BYTES: Final = 8 * 2**20
# Every reader must decompress, so a smaller saving is not worth it.
_WORTH_IT: Final = 0.9


@dataclass(frozen=True, slots=True)
class Encoded:
    """Stored body, and the number of the codec that reads it."""

    codec: int
    data: bytes


def encode_body(body: bytes, *, threshold: int = 10 * 1024) -> Encoded:
    """Compress a body larger than `threshold` bytes if that saves at least 10 %; otherwise keep it raw."""
    if len(body) <= threshold:
        return Encoded(RAW, body)
    packed = _compress(body)
    return packed if len(packed.data) <= len(body) * _WORTH_IT else Encoded(RAW, body)


def decode_body(codec: int, data: bytes, limit: int) -> bytes:
    """Return the body, at most `limit` bytes, whatever its stored header says. Raises UnreadableBody."""
    unpack = _UNPACKERS.get(codec)
    if unpack is None:
        raise UnreadableBody(f"Unknown codec {codec}.")
    body = unpack(data, limit)
    if len(body) > limit:
        raise UnreadableBody(f"A stored body is larger than {limit} bytes.")
    return body


def unpacks_beyond(codec: int, data: bytes, most: int) -> bool:
    """Return True if a body has more than `most` bytes, without decompressing much more than that."""
    try:
        decode_body(codec, data, most)
    except UnreadableBody:
        # Damaged or larger; in both cases its reader raises the right error.
        return True
    return False


def _compress(body: bytes) -> Encoded:
    if zstandard is None:
        return Encoded(ZLIB, zlib.compress(body, _ZLIB_LEVEL))
    # Add a checksum, which zlib has anyway, so that a flipped bit is noticed before anything is parsed.
    return Encoded(ZSTD, zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compress(body))


def _read_raw(data: bytes, limit: int) -> bytes:
    return bytes(data)


def _read_zlib(data: bytes, limit: int) -> bytes:
    stream = zlib.decompressobj()
    try:
        # One byte above the limit shows that a body is too large, and stops a decompression bomb.
        body = stream.decompress(data, limit + 1)
    except zlib.error as error:
        raise UnreadableBody("A stored body is damaged.") from error
    # Within the limit the stream has ended, unless the data was cut or something was appended.
    if len(body) <= limit and (not stream.eof or stream.unused_data):
        raise UnreadableBody("A stored body is damaged.")
    return body


def _read_zstd(data: bytes, limit: int) -> bytes:
    if zstandard is None:
        raise UnreadableBody("A stored body needs the package zstandard.")
    try:
        stated = zstandard.frame_content_size(data)
        if not 0 <= stated <= limit:
            raise UnreadableBody(f"A stored body is larger than {limit} bytes, or does not state its size.")
        # Not decompress(max_output_size=…), which is ignored if the frame states a size, even a wrong one.
        reader = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES).stream_reader(BytesIO(data))
        # One byte more than stated: a frame that states a smaller size is damaged or a bomb.
        body = reader.read(stated + 1)
    except zstandard.ZstdError as error:
        raise UnreadableBody("A stored body is damaged.") from error
    # If the data was cut, the reader ends without an error.
    if len(body) != stated:
        raise UnreadableBody("A stored body is damaged.")
    return body


_UNPACKERS: Final = {RAW: _read_raw, ZLIB: _read_zlib, ZSTD: _read_zstd}
