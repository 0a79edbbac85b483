"""Values as text for people: long texts are cut, and misleading characters are escaped."""

from __future__ import annotations

import json
import re
from itertools import islice
from typing import Final, NamedTuple

from session_mgmt.documents.values import JSON

# Escape control and format characters: a text with another writing direction can look like a different text, and a
# character without width is invisible. The joiners stay, because scripts and emoji need them.
_DECEPTIVE = re.compile(
    "[\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)
# Limit of the pieces of indented JSON that are made; each has at least one character.
_PIECES: Final = 20_000


class Shown(NamedTuple):
    """Text, and whether it was cut."""

    text: str
    is_cut: bool


def quote_text(text: str, most: int) -> Shown:
    """Return a string as JSON, with at most `most` of its characters."""
    return Shown(_escape_deceptive(json.dumps(text[:most], ensure_ascii=False)), len(text) > most)


def show_plainly(text: str, most: int) -> Shown:
    """Return a string without quotes, for names and for parts of strings."""
    shown, is_cut = quote_text(text, most)
    return Shown(shown[1:-1].replace('\\"', '"'), is_cut)


def show_indented(value: JSON, most: int) -> Shown:
    """Return about `most` characters of indented JSON at most; the rest of a large value is not encoded."""
    if isinstance(value, str):
        return quote_text(value, most)
    pieces: list[str] = []
    room = most
    # Piece by piece, because a value of 5 MB must not be encoded as a whole to show its first page.
    for piece in islice(json.JSONEncoder(ensure_ascii=False, indent=2).iterencode(value), _PIECES):
        pieces.append(piece[:room])
        room -= len(piece)
        if room < 0:
            return Shown(_escape_deceptive("".join(pieces)), True)
    return Shown(_escape_deceptive("".join(pieces)), len(pieces) == _PIECES)


def _escape_deceptive(text: str) -> str:
    return _DECEPTIVE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
