"""Touched paths encrypted with a key, so that a reader of the database cannot learn or guess names.

Every token becomes the keyed hash of the pointer that ends with it. So equal paths stay equal and ancestors stay
ancestors, while the same name at two places looks like two names. The marks of `pointer` stay in front.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from typing import Final

from session_mgmt.documents import pointer

# 96 bits, 16 characters. If two paths had the same hash by accident, the only effect would be a false conflict.
_TOKEN_BYTES: Final = 12
_TOKEN_LENGTH: Final = _TOKEN_BYTES * 4 // 3


def hide_paths(key: bytes, paths: Iterable[str]) -> tuple[str, ...]:
    """Return the paths in their stored form, sorted."""
    tokens: dict[str, str] = {}
    return tuple(sorted(_find_mark(path) + _hide_pointer(key, pointer.strip_mark(path), tokens) for path in paths))


def may_be_hidden(token: str) -> bool:
    """Return True if a token of a stored path may be a hash."""
    return len(token) == _TOKEN_LENGTH


def reveal_paths(key: bytes, hidden: Iterable[str], known: Iterable[str]) -> tuple[str, ...]:
    """Return stored paths as plain text, as far as the plain paths in `known` reveal them; tokens below stay hidden.

    The result overlaps `known` exactly where the plain paths would.
    """
    tokens: dict[str, str] = {}
    plain: dict[str, str] = {}
    for path in known:
        bare = pointer.strip_mark(path)
        for above in (bare, *pointer.iter_ancestors(bare)):
            plain[_hide_pointer(key, above, tokens)] = above
    return tuple(sorted(_find_mark(path) + _reveal_pointer(pointer.strip_mark(path), plain) for path in hidden))


def _find_mark(path: str) -> str:
    return path[:1] if path[:1] in pointer.MARKS else ""


def _hide_pointer(key: bytes, bare: str, tokens: dict[str, str]) -> str:
    made: list[str] = []
    while bare:
        if bare not in tokens:
            digest = hmac.digest(key, bare.encode(), "sha256")
            tokens[bare] = urlsafe_b64encode(digest[:_TOKEN_BYTES]).decode()
        made.append(tokens[bare])
        bare = pointer.parent_of(bare)
    return "".join(f"/{token}" for token in reversed(made))


def _reveal_pointer(path: str, plain: dict[str, str]) -> str:
    for above in (path, *pointer.iter_ancestors(path)):
        if above in plain:
            return plain[above] + path[len(above) :]
    return path
