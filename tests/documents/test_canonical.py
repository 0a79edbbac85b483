"""RFC 8785 bytes, checksums, and the chain."""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from session_mgmt.documents import chain, errors, strict
from session_mgmt.documents.canonical import compute_checksum, encode_canonical
from session_mgmt.documents.limits import Limits
from session_mgmt.documents.values import normalise_number
from tests.documents.values import documents

LIMITS = Limits()
ODD_NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(
    [0.0, -0.0, 1.0, 1e-6, 5e-6, 9.999e-6, 1e-7, 1e-5, 1e16, 123e18, 1e20, 1e21, 1e22, 5e-324, 1.7976931348623157e308]
)
ODD_TEXTS = st.text(st.sampled_from('a0e.,]}"\\:[\n\x01\x7f\u2028\ue000\ufb33\uffff\U0001f600\U0010ffff'), max_size=8)
ODD = documents(keys=ODD_TEXTS, scalars=ODD_NUMBERS | ODD_TEXTS | st.none() | st.booleans())


@given(ODD)
def test_the_bytes_are_those_of_the_reference_implementation(value: Any) -> None:
    assert encode_canonical(value) == rfc8785.dumps(value)


@given(st.lists(st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("d", struct.pack("Q", bits))[0]), max_size=20))
def test_numbers_of_any_bits_are_written_as_javascript_does(values: list[float]) -> None:
    normal = [normal for value in values if (normal := normalise_number(value)) is not None]
    assert encode_canonical(normal) == rfc8785.dumps(normal)


@given(ODD.filter(lambda value: not isinstance(value, float)))
def test_canonical_bytes_can_be_read_back_to_the_same_bytes(value: Any) -> None:
    try:
        value = strict.check_value(value, LIMITS)
    except errors.DocumentError:
        return
    assert encode_canonical(strict.parse_json(encode_canonical(value), LIMITS, 2**20)) == encode_canonical(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"b":1,"a":[1.0,-0.0,1e2,0.000001,1e-7]}', '{"a":[1,0,100,0.000001,1e-7],"b":1}'),
        ('{"1e5":"0e1","x":"1.0,"}', '{"1e5":"0e1","x":"1.0,"}'),
        ('{"\\ufb33":1,"\\ud83d\\ude00":2,"\\u20ac":3}', '{"\u20ac":3,"\U0001f600":2,"\ufb33":1}'),
        ('"\\u000a\\u001f\\u007f\\/"', '"\\n\\u001f\x7f/"'),
        ("333333333.33333329", "333333333.3333333"),
        ("1E30", "1e+30"),
        ("4.50", "4.5"),
        ("2e-3", "0.002"),
    ],
)
def test_the_canonical_form_of_the_table(text: str, expected: str) -> None:
    assert encode_canonical(strict.parse_json(text, LIMITS, 2**20)) == expected.encode()


def test_the_order_of_keys_and_the_spelling_of_numbers_do_not_change_the_checksum() -> None:
    texts = ('{"a":1,"b":[1.0]}', '{ "b" : [1], "a" : 1e0 }')
    one, other = (compute_checksum(strict.parse_json(text, LIMITS, 100)) for text in texts)
    assert one == other == hashlib.sha256(b'{"a":1,"b":[1]}').hexdigest()


@pytest.mark.parametrize("value", [2**53, -(2**53), 2**70, {"a": [2**64]}])
def test_numbers_beyond_the_safe_integers_have_no_canonical_form(value: Any) -> None:
    with pytest.raises(errors.NumberOutOfRange):
        encode_canonical(value)


def test_what_is_no_json_has_no_canonical_form() -> None:
    for value in ({1: 2}, object(), "\ud800"):
        with pytest.raises(errors.InvalidJSON):
            encode_canonical(value)


def test_the_chain_is_reproducible_from_its_definition() -> None:
    ops = encode_canonical([["set", "/a", 1]])
    plain = chain.advance_chain(chain.GENESIS, 1, ops)
    assert bytes(32) == chain.GENESIS
    assert plain == hashlib.sha256(bytes(32) + (1).to_bytes(8, "big") + b'[["set","/a",1]]').digest()
    keyed = chain.advance_chain(plain, 2, ops, b"k" * 32)
    assert keyed == hmac.new(b"k" * 32, plain + (2).to_bytes(8, "big") + ops, "sha256").digest()
    assert chain.make_tag(keyed) == keyed.hex()[:16]


@given(st.binary(max_size=5), st.binary(max_size=5), st.integers(1, 3), st.integers(1, 3))
def test_another_history_gives_another_chain(one: bytes, other: bytes, version: int, another: int) -> None:
    same = (one, version) == (other, another)
    assert (
        chain.advance_chain(chain.GENESIS, version, one) == chain.advance_chain(chain.GENESIS, another, other)
    ) is same


def test_the_fast_path_agrees_on_a_large_document() -> None:
    rows = [{"id": f"{at:x}e{at}", "price": at / 100, "at": "12:30:00.0", "n": at} for at in range(2000)]
    document = strict.check_value({f"key{at}": row for at, row in enumerate(rows)}, LIMITS)
    assert encode_canonical(document) == rfc8785.dumps(document)
