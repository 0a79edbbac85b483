"""Encryption at rest: only the right key at the right place opens a body."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_mgmt.documents.errors import UnreadableBody
from session_mgmt.documents.sealing import Keyring, RowPlace, Sealed, seal_body, unseal_body

OLD, NEW = ("2026-01", b"o" * 32), ("2026-11", b"n" * 32)
KEYRING = Keyring([NEW, OLD])
PLACE = RowPlace(kind="snapshot", document=b"d" * 16, epoch="9f2c1a77e0b34d55", version=7, codec=2)
BODY = b'{"cart":{"coupon":"WELCOME"}}'


@given(st.binary(max_size=200))
def test_a_sealed_body_opens_at_its_place(body: bytes) -> None:
    sealed = seal_body(KEYRING, PLACE, body)
    assert unseal_body(KEYRING, PLACE, sealed) == body
    assert (sealed.key_id, len(sealed.nonce), len(sealed.data)) == ("2026-11", 12, len(body) + 16)


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"kind": "revision"},
        {"document": b"e" * 16},
        {"epoch": "0f2c1a77e0b34d55"},
        {"version": 8},
        {"codec": 0},
        {"epoch": "", "document": b"d" * 16 + b"9f2c1a77e0b34d55"},
    ],
)
@pytest.mark.requirement("ASVS 11.3.2")
def test_a_row_cannot_pass_for_another_one(elsewhere: dict[str, Any]) -> None:
    sealed = seal_body(KEYRING, PLACE, BODY)
    with pytest.raises(UnreadableBody):
        unseal_body(KEYRING, replace(PLACE, **elsewhere), sealed)


@given(st.integers(0, 10**6), st.integers(0, 7))
def test_a_flipped_bit_is_noticed(at: int, bit: int) -> None:
    sealed = seal_body(KEYRING, PLACE, BODY)
    data = bytearray(sealed.data)
    data[at % len(data)] ^= 1 << bit
    with pytest.raises(UnreadableBody):
        unseal_body(KEYRING, PLACE, replace(sealed, data=bytes(data)))


@pytest.mark.parametrize(
    "sealed",
    [
        Sealed("2026-11", b"", b""),
        Sealed("2026-11", bytes(12), b""),
        Sealed("2026-11", bytes(12), bytes(16)),
        Sealed("lost", bytes(12), bytes(40)),
    ],
)
def test_nonsense_is_unreadable(sealed: Sealed) -> None:
    with pytest.raises(UnreadableBody):
        unseal_body(KEYRING, PLACE, sealed)


def test_after_a_rotation_old_bodies_are_read_and_new_ones_use_the_new_key() -> None:
    before = seal_body(Keyring([OLD]), PLACE, BODY)
    assert before.key_id == "2026-01"
    assert unseal_body(KEYRING, PLACE, before) == BODY
    assert seal_body(KEYRING, PLACE, BODY).key_id == "2026-11"
    with pytest.raises(UnreadableBody):
        unseal_body(Keyring([NEW]), PLACE, before)


def test_a_key_id_that_was_changed_in_the_row_is_noticed() -> None:
    twins = Keyring([("a", b"k" * 32), ("b", b"k" * 32)])
    sealed = seal_body(twins, PLACE, BODY)
    with pytest.raises(UnreadableBody):
        unseal_body(twins, PLACE, replace(sealed, key_id="b"))


def test_every_document_and_purpose_has_its_own_key() -> None:
    keys = {KEYRING.derive_key(kind, document) for kind in ("snapshot", "chain") for document in (b"1", b"2")}
    assert len(keys | {KEYRING.derive_key("chain", b"1", "2026-01")}) == 5
    assert KEYRING.derive_key("chain", b"1") == Keyring([NEW]).derive_key("chain", b"1")


@pytest.mark.requirement("ASVS 11.3.2")
def test_nonces_differ() -> None:
    assert len({seal_body(KEYRING, PLACE, BODY).nonce for _ in range(1000)}) == 1000


@pytest.mark.parametrize("keys", [[], [("a", b"short")], [("a", b"k" * 32), ("a", b"l" * 32)]])
def test_a_keyring_that_cannot_work_is_refused(keys: Any) -> None:
    with pytest.raises(ValueError):
        Keyring(keys)


def test_keys_do_not_show() -> None:
    assert "nnnn" not in repr(KEYRING) + str(vars(KEYRING).keys())
