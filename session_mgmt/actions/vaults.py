"""Encryption at rest of one document: how its rows are sealed and opened, and the keys of its hashes.

All rows of a document are under one master key, ``StateDocument.key_id``, and change it together. Chain, paths, digests
and checksum are hashed under a secret of the document's own, which outlives the master keys: paths must stay comparable
while keys are rotated.

In an encrypted document a plain column is refused, not read: somebody has put it there.
"""

from __future__ import annotations

import binascii
import hmac
import os
import uuid
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import orjson

from session_mgmt.conf import settings
from session_mgmt.documents import veil
from session_mgmt.documents.errors import DocumentError
from session_mgmt.exceptions import StateUnreadable

if TYPE_CHECKING:
    from session_mgmt.documents.sealing import Keyring

try:
    from session_mgmt.documents import sealing
except ImportError:  # the extra `crypto` is not installed
    sealing = None  # type: ignore[assignment]

SNAPSHOT = "snapshot"
REVISION = "revision"
ASKED = "asked"
CONFLICT = "conflict"
RECEIPT = "receipt"
OUTBOX = "outbox"
WEBHOOK = "webhook"
# The key of an HMAC with SHA-256.
SECRET_BYTES = 32
_SECRET = "document"
# First byte of a sealed column; JSON never starts with it.
_MARK = 1
# Before the operations of a revision that has something in its column ``asked``; JSON never starts with it either.
_MERGED = b"+"
# No path begins with it.
_PATHS_MARK = "#"
_PATHS_MARK_BYTES = 12
_NONCE_BYTES = 12
_MOST_ID_BYTES = 40


def load_keyring() -> Keyring | None:
    """Return the keys of the settings.

    Raises ``ValueError`` for malformed ones, ``StateUnreadable`` without ``cryptography``.
    """
    pairs = settings().state_keys
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise ValueError("Each of them is a pair of a key id and a key.")
    # Cached by value: tests and rotations change the settings of a running process.
    return _build_keyring(tuple((str(name), key) for name, key in pairs)) if pairs else None


@lru_cache(maxsize=4)
def _build_keyring(pairs: tuple[tuple[str, str | bytes], ...]) -> Keyring:
    if sealing is None:
        raise StateUnreadable("Encryption needs the package cryptography.")
    # Its length is written as one byte in front of each sealed column, and its column has room for so much.
    if any(not name or len(name.encode()) > _MOST_ID_BYTES for name, _ in pairs):
        raise ValueError(f"A key id has 1 to {_MOST_ID_BYTES} bytes.")
    try:
        return sealing.Keyring([(name, b64decode(key, validate=True)) for name, key in pairs])
    except binascii.Error as error:
        raise ValueError("A key is not base64.") from error


def is_encrypted_name(name: str) -> bool:
    """Tell whether new documents of this name are encrypted."""
    wanted = settings().encrypt_state
    return wanted if isinstance(wanted, bool) else name in wanted


def must_be_sealed(name: str) -> bool:
    """Tell whether a plain document of this name must be a forgery, and not merely older than its encryption."""
    # Without the setting a plain document is believed: encryption may have been switched on after it was made.
    return settings().require_encryption and is_encrypted_name(name)


def require_keyring() -> Keyring:
    """Return the keys. Raises ``StateUnreadable`` without any."""
    try:
        found = load_keyring()
    except ValueError as error:
        raise StateUnreadable("The keys of the settings cannot be used.") from error
    if found is None:
        raise StateUnreadable("There is no key.")
    return found


@dataclass(frozen=True, slots=True)
class Vault:
    """One encrypted document. ``document`` is its row's number, ``key_id`` the master key of all its rows."""

    ring: Keyring = field(repr=False)
    document: int
    key_id: str
    secret: bytes = field(repr=False)

    def _derive_key(self, purpose: bytes) -> bytes:
        # A key for each purpose: equal inputs of two kinds, such as a path and a body, must not have equal hashes.
        return hmac.digest(self.secret, purpose, "sha256")

    @property
    def chain_key(self) -> bytes:
        return self._derive_key(b"chain")

    @property
    def digest_key(self) -> bytes:
        return self._derive_key(b"digest")

    @property
    def path_key(self) -> bytes:
        return self._derive_key(b"paths")

    def seal_body(self, version: int, codec: int, body: bytes) -> tuple[bytes, bytes]:
        """Return a snapshot's nonce and body."""
        sealed = sealing.seal_body(self.ring, self._make_place(SNAPSHOT, version, codec), body, self.key_id)
        return sealed.nonce, sealed.data

    def open_body(self, version: int, codec: int, key_id: str, nonce: bytes, body: bytes) -> bytes:
        """Decrypt the snapshot's body. Raises ``StateUnreadable``."""
        sealed = sealing.Sealed(key_id, nonce, body)
        return _unseal(self.ring, self._make_place(SNAPSHOT, version, codec), sealed)

    def seal_column(self, kind: str, version: int, body: bytes, *, part: int = 0, row: str = "") -> bytes:
        """Seal a column of a row that belongs to a version; ``part`` numbers the columns, ``row`` names one of many."""
        return _wrap_sealed(sealing.seal_body(self.ring, self._make_place(kind, version, part, row), body, self.key_id))

    def open_column(self, kind: str, version: int, stored: bytes, *, part: int = 0, row: str = "") -> bytes:
        """Return the column again. Raises ``StateUnreadable``, also for a plain one."""
        return _unseal(self.ring, self._make_place(kind, version, part, row), _unwrap_sealed(stored))

    def seal_ops(self, version: int, ops: bytes, *, merged: bool = False) -> bytes:
        """Seal operations as a revision stores them; ``merged``: it also holds the operations asked for."""
        return self.seal_column(REVISION, version, _MERGED + ops if merged else ops)

    def hide_paths(self, paths: Sequence[str]) -> tuple[str, ...]:
        """Return touched paths as they can be compared and not read."""
        return veil.hide_paths(self.path_key, paths)

    def mark_paths(self, version: int, hidden: Sequence[str]) -> bytes:
        """Return hidden paths as a revision stores them: without a mark, removed paths would hide a conflict."""
        body = orjson.dumps(hidden)
        mark = hmac.digest(self._derive_key(b"marks"), version.to_bytes(8, "big") + body, "sha256")
        return orjson.dumps([_PATHS_MARK + mark[:_PATHS_MARK_BYTES].hex(), *hidden])

    def open_marked_paths(self, version: int, stored: bytes) -> tuple[str, ...]:
        """Return the hidden paths without their mark. Raises ``StateUnreadable``."""
        # The mark comes first.
        hidden = _parse_paths(stored)[1:]
        # In constant time, as with every comparison of a secret value.
        if not hmac.compare_digest(self.mark_paths(version, hidden), stored):
            raise StateUnreadable("The paths of a revision are not those that it was written with.")
        return hidden

    def reveal_paths(self, hidden: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
        """Stored paths as far as ``known`` ones share them."""
        return veil.reveal_paths(self.path_key, hidden, known)

    def _make_place(self, kind: str, version: int, codec: int, row: str = "") -> sealing.RowPlace:
        # Not the epoch, which changes when a backup was put back: the secret says as well which document this is.
        life = self._derive_key(b"life")[:16].hex()
        return sealing.RowPlace(kind, self.document.to_bytes(8, "big"), life + row, version, codec)


def new_secret(session: uuid.UUID, name: str) -> tuple[str, bytes]:
    """Return the master key's id and the sealed secret of a new encrypted document.

    Raises ``StateUnreadable`` without a key.
    """
    keys = require_keyring()
    # Random and not derived from the master key, which it outlives.
    return keys.writing, seal_secret(keys, session, name, os.urandom(SECRET_BYTES), keys.writing)


def seal_secret(keys: Keyring, session: uuid.UUID, name: str, secret: bytes, key_id: str) -> bytes:
    """Return a document's secret as its row stores it."""
    # Bound to session and name: a secret copied into another row opens nothing.
    sealed = sealing.seal_body(keys, _secret_place(session, name), secret, key_id)
    return sealed.nonce + sealed.data


def vault_of(document: int, session: uuid.UUID, name: str, key_id: str, secret: bytes) -> Vault | None:
    """Return the vault of a document's row, ``None`` if it is not encrypted. Raises ``StateUnreadable``."""
    if not key_id:
        if must_be_sealed(name):
            raise StateUnreadable("A document is plain and has to be encrypted.")
        return None
    keys = require_keyring()
    sealed = sealing.Sealed(key_id, bytes(secret[:_NONCE_BYTES]), bytes(secret[_NONCE_BYTES:]))
    return Vault(keys, document, key_id, _unseal(keys, _secret_place(session, name), sealed))


def _secret_place(session: uuid.UUID, name: str) -> sealing.RowPlace:
    # Not by the row's number, which it gets only when it is stored.
    return sealing.RowPlace(_SECRET, session.bytes + name.encode(), "", 0, 0)


# -- columns of a document that may or may not be encrypted. All raise ``StateUnreadable``. ----------------------------


def open_column(vault: Vault | None, kind: str, version: int, stored: bytes, *, part: int = 0, row: str = "") -> bytes:
    """Return a column of one of its rows."""
    if vault is not None:
        return vault.open_column(kind, version, stored, part=part, row=row)
    # Never handed on as if it were a value: JSON parsers downstream would blame the wrong thing.
    if is_sealed(stored):
        raise StateUnreadable("A row is sealed and its document has no key.")
    return stored


def open_ops(vault: Vault | None, version: int, stored: bytes) -> bytes:
    """Return a revision's operations."""
    return open_column(vault, REVISION, version, stored).removeprefix(_MERGED)


def open_merge(vault: Vault | None, version: int, ops: bytes, asked: bytes | None) -> tuple[bytes, bytes | None]:
    """Return a revision's operations, and those that its client had asked for, if they are a merge."""
    opened = open_column(vault, REVISION, version, ops)
    # A column that is NULL has no seal of its own, so its neighbour vouches for it.
    if vault is not None and opened.startswith(_MERGED) != (asked is not None):
        raise StateUnreadable("The operations that a client had asked for were taken away or put there.")
    return opened.removeprefix(_MERGED), None if asked is None else open_column(vault, ASKED, version, asked)


def seal_paths(vault: Vault | None, version: int, paths: Sequence[str]) -> bytes:
    """Return the paths that a revision touches, as it stores them."""
    return orjson.dumps(paths) if vault is None else vault.mark_paths(version, vault.hide_paths(paths))


def open_paths(vault: Vault | None, version: int, stored: bytes) -> tuple[str, ...]:
    """Return the paths, hidden where they are."""
    if vault is not None:
        return vault.open_marked_paths(version, stored)
    paths = _parse_paths(stored)
    if any(path.startswith(_PATHS_MARK) for path in paths):
        raise StateUnreadable("Paths are hidden and their document has no key.")
    return paths


def _parse_paths(stored: bytes) -> tuple[str, ...]:
    try:
        found = orjson.loads(stored)
    except orjson.JSONDecodeError as error:
        raise StateUnreadable("The paths of a revision are no JSON.") from error
    if not isinstance(found, list) or not all(isinstance(path, str) for path in found):
        raise StateUnreadable("The paths of a revision are no list of texts.")
    return tuple(found)


# -- rows that belong to no document -----------------------------------------------------------------------------------


def find_private_keyring() -> Keyring | None:
    """Return the keys, if there are any.

    Receipts hold parts of written values, also while ``encrypt_state`` is off and documents are still encrypted.
    """
    now = settings()
    return require_keyring() if now.encrypt_state or now.state_keys else None


def seal_row(keys: Keyring, kind: str, owner: bytes, number: int, body: bytes) -> bytes:
    """Return a body for one column of a row, under the writing key."""
    return _wrap_sealed(sealing.seal_body(keys, sealing.RowPlace(kind, owner, "", number, 0), body))


def open_row(kind: str, owner: bytes, number: int, stored: bytes) -> bytes:
    """Decrypt a body of one column; a plain one stays as it is. Raises ``StateUnreadable``."""
    if not is_sealed(stored):
        refuse_plain()
        return stored
    return _unseal(require_keyring(), sealing.RowPlace(kind, owner, "", number, 0), _unwrap_sealed(stored))


def refuse_plain() -> None:
    """Raise ``StateUnreadable`` where every receipt and outbox entry is sealed, so that a plain one is a forgery."""
    if settings().require_encryption and settings().encrypt_state:
        raise StateUnreadable("A row is plain and has to be sealed.")


def is_sealed(stored: bytes) -> bool:
    """Tell whether a column holds a sealed body."""
    return stored[:1] == bytes([_MARK])


def key_id_of(stored: bytes) -> str:
    """Return the master key that a sealed column is under. Raises ``StateUnreadable``."""
    return _unwrap_sealed(stored).key_id


def make_prefix(key_id: str) -> bytes:
    """Return the first bytes of every column that is sealed under this key."""
    return bytes([_MARK, len(key_id.encode())]) + key_id.encode()


def _wrap_sealed(sealed: sealing.Sealed) -> bytes:
    return make_prefix(sealed.key_id) + sealed.nonce + sealed.data


def _unwrap_sealed(stored: bytes) -> sealing.Sealed:
    if sealing is None or not is_sealed(stored) or len(stored) < 2 + stored[1] + _NONCE_BYTES:
        raise StateUnreadable("A stored body is not sealed.")
    end = 2 + stored[1]
    name = stored[2:end].decode(errors="replace")
    return sealing.Sealed(name, stored[end : end + _NONCE_BYTES], stored[end + _NONCE_BYTES :])


def _unseal(keys: Keyring, place: sealing.RowPlace, sealed: sealing.Sealed) -> bytes:
    try:
        return sealing.unseal_body(keys, place, sealed)
    except DocumentError as error:
        raise StateUnreadable(str(error)) from error
