"""Encryption of stored bodies: AES-256-GCM, with a key per document; a body can be decrypted only for its own row.

Needs the package `cryptography`; everything else in this folder works without it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from session_mgmt.documents.errors import UnreadableBody

_FORMAT: Final = b"\x01"
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_LENGTH_BYTES: Final = 4
_VERSION_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class RowPlace:
    """Row of a sealed body: `kind` (snapshot, revision, receipt and others), document id, epoch, version, codec."""

    kind: str
    document: bytes
    epoch: str
    version: int
    codec: int

    def associated_data(self, key_id: str) -> bytes:
        """Return the bytes that the tag also covers, so that a body is not accepted for another row,
        version or codec.
        """
        fields = (self.kind.encode(), self.document, self.epoch.encode(), key_id.encode())
        numbers = self.version.to_bytes(_VERSION_BYTES, "big") + self.codec.to_bytes(1, "big")
        # Put lengths in front, or the end of one field could be mistaken for the start of the next.
        return _FORMAT + numbers + b"".join(len(field).to_bytes(_LENGTH_BYTES, "big") + field for field in fields)


@dataclass(frozen=True, slots=True)
class Sealed:
    """Encrypted body. All three fields are stored."""

    key_id: str
    nonce: bytes
    data: bytes


class Keyring:
    """Master keys by id, 32 bytes each. The first one encrypts, all of them decrypt."""

    def __init__(self, keys: Sequence[tuple[str, bytes]]) -> None:
        if not keys:
            raise ValueError("A keyring holds at least one key.")
        self._keys = dict(keys)
        if len(self._keys) != len(keys):
            raise ValueError("The key ids of a keyring differ.")
        if any(len(key) != _KEY_BYTES for key in self._keys.values()):
            raise ValueError(f"A master key has {_KEY_BYTES} bytes.")
        self.writing = keys[0][0]

    def derive_key(self, kind: str, document: bytes, key_id: str | None = None) -> bytes:
        """Return the 32-byte key for one document and purpose, by default from the master key that encrypts."""
        master = self._keys.get(self.writing if key_id is None else key_id)
        if master is None:
            raise UnreadableBody("The key of a stored body is not in the keyring.")
        # One key per purpose and document (HKDF, RFC 5869), so that few random nonces share a key and none is repeated.
        info = f"session_mgmt/v1/{kind}".encode()
        return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=document, info=info).derive(master)

    def holds_key(self, key_id: str) -> bool:
        """Return True if bodies with this key can be read."""
        return key_id in self._keys


def seal_body(keyring: Keyring, place: RowPlace, body: bytes, key_id: str | None = None) -> Sealed:
    """Encrypt a body for its place, by default with the first master key. Compress it before, because encrypted data
    cannot be compressed.
    """
    key_id = keyring.writing if key_id is None else key_id
    key = keyring.derive_key(place.kind, place.document, key_id)
    # Random, because after a restored backup a counter would repeat nonces, which breaks GCM.
    nonce = os.urandom(_NONCE_BYTES)
    return Sealed(key_id, nonce, AESGCM(key).encrypt(nonce, body, place.associated_data(key_id)))


def unseal_body(keyring: Keyring, place: RowPlace, sealed: Sealed) -> bytes:
    """Decrypt a body. Raises UnreadableBody for an unknown key, a damaged body, or one from another place."""
    key = keyring.derive_key(place.kind, place.document, sealed.key_id)
    try:
        return AESGCM(key).decrypt(sealed.nonce, sealed.data, place.associated_data(sealed.key_id))
    # A nonce of another length raises ValueError. Both give the same error, because only a forger needs the difference.
    except (InvalidTag, ValueError) as error:
        raise UnreadableBody("A stored body is damaged, or belongs to another place.") from error
