"""What encryption at rest knows of one document: how its rows are sealed and opened, and the keys of its hashes.

All rows of a document are under one master key, ``StateDocument.key_id``, and change it together. Chain, paths,
digests and checksum are hashed
under a secret of the document's own, which outlives the master keys: paths must stay comparable while keys are rotated.
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
RECEIPT = "receipt"
OUTBOX = "outbox"
SECRET_BYTES = 32
_SECRET = "document"
# First byte of what is sealed inside one column; JSON never starts with it.
_MARK = 1
_NONCE_BYTES = 12
_MOST_ID_BYTES = 40


def keyring() -> Keyring | None:
    """The keys of the settings.

    Raises ``ValueError`` for malformed ones, ``StateUnreadable`` without ``cryptography``.
    """
    pairs = settings().state_keys
    return _keyring(tuple((str(name), key) for name, key in pairs)) if pairs else None


@lru_cache(maxsize=4)
def _keyring(pairs: tuple[tuple[str, str | bytes], ...]) -> Keyring:
    if sealing is None:
        raise StateUnreadable("Encryption needs the package cryptography.")
    if any(not name or len(name.encode()) > _MOST_ID_BYTES for name, _ in pairs):
        raise ValueError(f"A key id has 1 to {_MOST_ID_BYTES} bytes.")
    try:
        return sealing.Keyring([(name, b64decode(key, validate=True)) for name, key in pairs])
    except binascii.Error as error:
        raise ValueError("A key is not base64.") from error


def encrypts(name: str) -> bool:
    """Whether new documents of this name are encrypted."""
    wanted = settings().encrypt_state
    return wanted if isinstance(wanted, bool) else name in wanted


def ring() -> Keyring:
    """The keys. Raises ``StateUnreadable`` without any."""
    try:
        found = keyring()
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

    def _derived(self, purpose: bytes) -> bytes:
        return hmac.digest(self.secret, purpose, "sha256")

    @property
    def chain_key(self) -> bytes:
        return self._derived(b"chain")

    @property
    def digest_key(self) -> bytes:
        return self._derived(b"digest")

    @property
    def path_key(self) -> bytes:
        return self._derived(b"paths")

    def seal_body(self, version: int, codec: int, body: bytes) -> tuple[bytes, bytes]:
        """A snapshot's nonce and body."""
        sealed = sealing.seal(self.ring, self._place(SNAPSHOT, version, codec), body, self.key_id)
        return sealed.nonce, sealed.data

    def open_body(self, version: int, codec: int, key_id: str, nonce: bytes, body: bytes) -> bytes:
        """The snapshot's body again. Raises ``StateUnreadable``."""
        sealed = sealing.Sealed(key_id, nonce, body)
        return _opened(self.ring, self._place(SNAPSHOT, version, codec), sealed)

    def seal_ops(self, version: int, ops: bytes) -> bytes:
        """Operations as a revision stores them."""
        return _envelope(sealing.seal(self.ring, self._place(REVISION, version), ops, self.key_id))

    def open_ops(self, version: int, stored: bytes) -> bytes:
        """The operations again. Raises ``StateUnreadable``, also for plain ones: somebody has put them there."""
        return _opened(self.ring, self._place(REVISION, version), _out_of_envelope(stored))

    def hide(self, paths: Sequence[str]) -> tuple[str, ...]:
        """Touched paths as a revision stores them."""
        return veil.hide(self.path_key, paths)

    def reveal(self, hidden: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
        """Stored paths as far as ``known`` ones share them."""
        return veil.reveal(self.path_key, hidden, known)

    def _place(self, kind: str, version: int, codec: int = 0) -> sealing.Place:
        # Not the epoch, which changes when a backup was put back: the secret says as well which document this is.
        life = self._derived(b"life")[:16].hex()
        return sealing.Place(kind, self.document.to_bytes(8, "big"), life, version, codec)


def new_secret(session: uuid.UUID, name: str) -> tuple[str, bytes]:
    """The master key's id and the sealed secret of a new encrypted document.

    Raises ``StateUnreadable`` without a key.
    """
    keys = ring()
    return keys.writing, wrap(keys, session, name, os.urandom(SECRET_BYTES), keys.writing)


def wrap(keys: Keyring, session: uuid.UUID, name: str, secret: bytes, key_id: str) -> bytes:
    """A document's secret as its row stores it."""
    sealed = sealing.seal(keys, _secret_place(session, name), secret, key_id)
    return sealed.nonce + sealed.data


def vault_of(document: int, session: uuid.UUID, name: str, key_id: str, secret: bytes) -> Vault | None:
    """The vault of a document's row, ``None`` if it is not encrypted. Raises ``StateUnreadable``."""
    if not key_id:
        return None
    keys = ring()
    sealed = sealing.Sealed(key_id, bytes(secret[:_NONCE_BYTES]), bytes(secret[_NONCE_BYTES:]))
    return Vault(keys, document, key_id, _opened(keys, _secret_place(session, name), sealed))


def _secret_place(session: uuid.UUID, name: str) -> sealing.Place:
    return sealing.Place(_SECRET, session.bytes + name.encode(), "", 0, 0)


def open_ops(vault: Vault | None, version: int, stored: bytes) -> bytes:
    """A revision's operations, of a document that may or may not be encrypted."""
    if vault is not None:
        return vault.open_ops(version, stored)
    if is_sealed(stored):
        raise StateUnreadable("A revision is sealed and its document has no key.")
    return stored


# -- rows that belong to no document
# ------------------------------------------------------------------------------------


def private() -> Keyring | None:
    """The keys, if any document is encrypted: receipts and wishes hold parts of what was written."""
    return ring() if settings().encrypt_state else None


def seal_row(keys: Keyring, kind: str, owner: bytes, number: int, body: bytes) -> bytes:
    """A body for one column of a row, under the writing key."""
    return _envelope(sealing.seal(keys, sealing.Place(kind, owner, "", number, 0), body))


def open_row(kind: str, owner: bytes, number: int, stored: bytes) -> bytes:
    """The body again; a plain one as it is. Raises ``StateUnreadable``."""
    if not is_sealed(stored):
        return stored
    return _opened(ring(), sealing.Place(kind, owner, "", number, 0), _out_of_envelope(stored))


def is_sealed(stored: bytes) -> bool:
    """Whether a column holds a sealed body."""
    return stored[:1] == bytes([_MARK])


def key_id_of(stored: bytes) -> str:
    """The master key that a sealed column is under."""
    return _out_of_envelope(stored).key_id


def _envelope(sealed: sealing.Sealed) -> bytes:
    name = sealed.key_id.encode()
    return bytes([_MARK, len(name)]) + name + sealed.nonce + sealed.data


def _out_of_envelope(stored: bytes) -> sealing.Sealed:
    if sealing is None or not is_sealed(stored) or len(stored) < 2 + stored[1] + _NONCE_BYTES:
        raise StateUnreadable("A stored body is not sealed.")
    end = 2 + stored[1]
    name = stored[2:end].decode(errors="replace")
    return sealing.Sealed(name, stored[end : end + _NONCE_BYTES], stored[end + _NONCE_BYTES :])


def _opened(keys: Keyring, place: sealing.Place, sealed: sealing.Sealed) -> bytes:
    try:
        return sealing.unseal(keys, place, sealed)
    except DocumentError as error:
        raise StateUnreadable(str(error)) from error
