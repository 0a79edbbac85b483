"""RFC 8785: the files and the numbers that its authors publish."""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

VECTORS = Path("@truestamp", "canonify", "tests", "testdata")
_CONSTANT = re.compile(r"0x([0-9a-f]{16})n")
_FIRST_SERIAL, _SERIALS = 0x0010000000000000, 2000

# SHA-256 of the first lines of the file es6testfile100m, as published with the algorithm that makes it.
PUBLISHED = {
    1_000: "be18b62b6f69cdab33a7e0dae0d9cfa869fda80ddc712221570f9f40a5878687",
    10_000: "b9f7a8e75ef22a835685a52ccba7f7d6bdc99e34b010992cbc5864cd12be6892",
    100_000: "22776e6d4b49fa294a0d0f349268e5c28808fe7e0cb2bcbe28f63894e494d4c7",
}


@dataclass(frozen=True)
class Vector:
    """A JSON text and its canonical bytes."""

    name: str
    text: bytes
    canonical: bytes


def vectors(packages: Path) -> list[Vector]:
    folder = packages / VECTORS
    return [
        Vector(path.stem, path.read_bytes(), bytes.fromhex((folder / "outhex" / f"{path.stem}.txt").read_text()))
        for path in sorted((folder / "input").glob("*.json"))
    ]


def bits(packages: Path, count: int) -> list[int]:
    """The first doubles of the published sequence, as their 64 bits: edge cases, serial ones, then random ones."""
    # The last constant of the program is where the serial ones begin.
    *edges, _ = (int(digits, 16) for digits in _CONSTANT.findall((packages / VECTORS / "numgen.js").read_text()))
    serial = range(_FIRST_SERIAL, _FIRST_SERIAL + _SERIALS)
    return list(islice(chain(edges, serial, _random()), count))


def double(of_bits: int) -> float:
    value: float = struct.unpack(">d", of_bits.to_bytes(8, "big"))[0]
    return value


def digest(numbers: Iterable[int], written: Iterable[bytes]) -> str:
    """SHA-256 over the lines of the published file, with these spellings in it."""
    lines = (b"%x,%s\n" % pair for pair in zip(numbers, written, strict=True))
    return hashlib.sha256(b"".join(lines)).hexdigest()


def _random() -> Iterator[int]:
    """SHA-256 over and over, from 32 zero bytes; each digest is four doubles. Zeros and what is not finite drop out."""
    block = bytes(32)
    while True:
        block = hashlib.sha256(block).digest()
        for number in struct.unpack("<4Q", block):
            exponent = number >> 52 & 0x7FF
            if number & ~(1 << 63) and exponent != 0x7FF:
                yield number
