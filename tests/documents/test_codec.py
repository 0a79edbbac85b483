"""Compression: what is worth it, what comes back, and what a planted row cannot do."""

from __future__ import annotations

import contextlib
import random
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from session_mgmt.documents import codec
from session_mgmt.documents.errors import UnreadableBody

LIMIT = 2**20
NOISE = random.Random(1).randbytes(20_000)


@given(st.binary(max_size=50), st.integers(0, 2000), st.integers(0, 200))
def test_a_body_survives(piece: bytes, times: int, threshold: int) -> None:
    body = piece * times
    encoded = codec.encode_body(body, threshold=threshold)
    assert codec.decode_body(encoded.codec, encoded.data, max(len(body), 1)) == body
    assert len(encoded.data) <= len(body)


def test_bodies_up_to_the_threshold_and_those_without_savings_stay_raw() -> None:
    assert codec.encode_body(b"a" * 10_240).codec == codec.RAW
    assert codec.encode_body(b"a" * 10_241).codec == codec.ZSTD
    assert codec.encode_body(NOISE) == codec.Encoded(codec.RAW, NOISE)


def test_a_json_state_saves_at_least_thirty_per_cent() -> None:
    body = b",".join(b'{"product":%d,"quantity":%d,"note":"n%d"}' % (at, at % 7, at * 31) for at in range(1000))
    assert len(codec.encode_body(body).data) < 0.7 * len(body)


def test_without_zstandard_zlib_is_written_and_read(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = codec.encode_body(b"a" * 20_000)
    monkeypatch.setattr(codec, "zstandard", None)
    encoded = codec.encode_body(b"a" * 20_000)
    assert encoded.codec == codec.ZLIB
    assert codec.decode_body(encoded.codec, encoded.data, LIMIT) == b"a" * 20_000
    with pytest.raises(UnreadableBody):
        codec.decode_body(packed.codec, packed.data, LIMIT)


def _zstd(body: bytes, *, state_size: bool = True) -> bytes:
    return zstandard.ZstdCompressor(level=3, write_content_size=state_size).compress(body)


def _lying_frame() -> bytes:
    """A frame of 4 MB whose header states 1 MB (the size field has 4 bytes behind magic and descriptor)."""
    frame = bytearray(_zstd(bytes(4 * LIMIT)))
    assert zstandard.frame_content_size(bytes(frame)) == 4 * LIMIT
    at = bytes(frame).index((4 * LIMIT).to_bytes(4, "little"))
    frame[at : at + 4] = LIMIT.to_bytes(4, "little")
    return bytes(frame)


def _wide_window() -> bytes:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=26)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return packer.compress(NOISE) + packer.flush()


BODY = b"some state, " * 1000
DAMAGED = {
    "raw beyond the limit": (codec.RAW, bytes(LIMIT + 1)),
    "zlib bomb": (codec.ZLIB, zlib.compress(bytes(50 * LIMIT))),
    "zstd bomb": (codec.ZSTD, _zstd(bytes(50 * LIMIT))),
    "zstd that lies about its size": (codec.ZSTD, _lying_frame()),
    "zstd that does not state its size": (codec.ZSTD, _zstd(BODY, state_size=False)),
    "zstd with a window of 64 MB": (codec.ZSTD, _wide_window()),
    "zlib cut short": (codec.ZLIB, zlib.compress(BODY)[:-5]),
    "zlib with something behind it": (codec.ZLIB, zlib.compress(BODY) + b"x"),
    "zstd cut short": (codec.ZSTD, _zstd(BODY)[:-1]),
    "zlib read as zstd": (codec.ZSTD, zlib.compress(BODY)),
    "zstd read as zlib": (codec.ZLIB, _zstd(BODY)),
    "empty zlib": (codec.ZLIB, b""),
    "empty zstd": (codec.ZSTD, b""),
    "unknown codec": (9, BODY),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_or_planted_body_is_unreadable(name: str) -> None:
    with pytest.raises(UnreadableBody):
        codec.decode_body(*DAMAGED[name], LIMIT)


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_a_flipped_byte_is_never_another_body(at: int, mask: int) -> None:
    encoded = codec.encode_body(BODY, threshold=0)
    data = bytearray(encoded.data)
    data[at % len(data)] ^= mask
    with contextlib.suppress(UnreadableBody):
        assert codec.decode_body(encoded.codec, bytes(data), LIMIT) == BODY
