"""Touched paths under a key: a reader of the database learns no names, and cannot confirm guesses of names.

Every token becomes the hash of the pointer that ends with it, so equality and ancestry of paths survive, and one name
in two places looks like two names. The marks of `pointer` stay in front.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from typing import Final

from session_mgmt.documents import pointer

# 96 bits, 16 characters; two paths that share one by accident would only be a conflict that is none.
_TOKEN_BYTES: Final = 12
_TOKEN_LENGTH: Final = _TOKEN_BYTES * 4 // 3


def hide_paths(key: bytes, paths: Iterable[str]) -> tuple[str, ...]:
    """Return the paths as they are stored, sorted."""
    tokens: dict[str, str] = {}
    return tuple(sorted(_find_mark(path) + _hide_pointer(key, pointer.strip_mark(path), tokens) for path in paths))


def may_be_hidden(token: str) -> bool:
    """Tell whether a token of a stored path may be a hash."""
    return len(token) == _TOKEN_LENGTH


def reveal_paths(key: bytes, hidden: Iterable[str], known: Iterable[str]) -> tuple[str, ...]:
    """Return stored paths in plain text, as far as `known` plain paths share them; anything below stays hidden.

    Against `known` the result overlaps exactly where the plain paths would.
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
