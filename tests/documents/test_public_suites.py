"""What others publish to test JSON programs, through the pure functions; tests/api and tests/consumers go on."""

from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import rfc8785

from session_mgmt.documents import errors, normalise, operations, strict
from session_mgmt.documents.canonical import encode_canonical
from session_mgmt.documents.json_patch import translate_json_patch
from session_mgmt.documents.limits import Limits
from session_mgmt.documents.values import are_equal
from tests.suites import json_patch, parsing
from tests.suites.canonical import PUBLISHED, bits, digest, double, vectors

LIMITS = Limits()
LARGE = 2**20


def loads(raw: bytes) -> Any:
    return strict.parse_json(raw, LIMITS, LARGE)


def patched(case: json_patch.Case) -> Any:
    """The document after the patch, or the error; by both ways in, which must agree."""
    before = copy.deepcopy(case.document)
    try:
        outcome = operations.apply_ops(case.document, normalise.make_ops("patch", case.patch, case.document, LIMITS))
        assert outcome == operations.apply_ops(case.document, translate_json_patch(case.patch, case.document, LIMITS))
    except errors.DocumentError as error:
        outcome = type(error)
    assert case.document == before, case.name
    return outcome


def test_json_patch_tests_pass(packages: Path) -> None:
    cases = json_patch.cases(packages)
    assert (len(cases), sum(case.fails for case in cases)) == (110, 34)
    refusals = (errors.PatchFailed, errors.InvalidPatch, errors.InvalidPath)
    for case in cases:
        outcome = patched(case)
        assert outcome in refusals if case.fails else are_equal(outcome, case.expected), case.name


@pytest.mark.parametrize("raw", json_patch.DUPLICATES)
def test_a_patch_with_two_op_members_is_no_json(raw: bytes) -> None:
    with pytest.raises(errors.InvalidJSON):
        loads(raw)


def test_the_bytes_of_undecodable_texts_are_those_that_the_package_has_decoded(packages: Path) -> None:
    texts = parsing.texts(packages)
    assert set(parsing.BYTES) == {text.name for text in texts if "\ufffd" in text.decoded}
    for text in texts:
        assert text.raw.decode("utf-8", "replace") == text.decoded, text.name


def verdict(raw: bytes) -> str:
    """The code of the refusal, or nothing."""
    try:
        loads(raw)
    except errors.DocumentError as error:
        return error.code
    return ""


def test_jsontestsuite_gets_its_verdicts_but_for_four_on_purpose(packages: Path) -> None:
    verdicts = {text: verdict(text.raw) for text in parsing.texts(packages)}
    assert Counter(text.name[0] for text in verdicts) == {"y": 95, "n": 188, "i": 35}
    assert {text.name for text, code in verdicts.items() if bool(code) is text.accepted} == set()
    assert {text.name for text, code in verdicts.items() if code and text.name[0] == "y"} == set(
        parsing.REFUSED_ON_PURPOSE
    )
    codes = Counter(code for text, code in verdicts.items() if text.name[0] == "i")
    assert codes == {"": 2, "invalid_json": 24, "number_out_of_range": 8, "too_deep": 1}


def test_the_files_of_rfc_8785_have_the_published_bytes(packages: Path) -> None:
    found = vectors(packages)
    assert [vector.name for vector in found] == ["arrays", "french", "structures", "unicode", "values", "weird"]
    for vector in found:
        assert encode_canonical(loads(vector.text)) == vector.canonical, vector.name
        assert encode_canonical(loads(vector.canonical)) == vector.canonical, vector.name


# RFC 8785 appendix B, in bits; NaN and the infinities have no JSON.
APPENDIX_B = {
    0x0000000000000000: b"0",
    0x8000000000000000: b"0",
    0x0000000000000001: b"5e-324",
    0x8000000000000001: b"-5e-324",
    0x7FEFFFFFFFFFFFFF: b"1.7976931348623157e+308",
    0xFFEFFFFFFFFFFFFF: b"-1.7976931348623157e+308",
    0x4340000000000000: b"9007199254740992",
    0xC340000000000000: b"-9007199254740992",
    0x4430000000000000: b"295147905179352830000",
    0x44B52D02C7E14AF5: b"9.999999999999997e+22",
    0x44B52D02C7E14AF6: b"1e+23",
    0x44B52D02C7E14AF7: b"1.0000000000000001e+23",
    0x444B1AE4D6E2EF4E: b"999999999999999700000",
    0x444B1AE4D6E2EF4F: b"999999999999999900000",
    0x444B1AE4D6E2EF50: b"1e+21",
    0x3EB0C6F7A0B5ED8C: b"9.999999999999997e-7",
    0x3EB0C6F7A0B5ED8D: b"0.000001",
    0x41B3DE4355555553: b"333333333.3333332",
    0x41B3DE4355555554: b"333333333.33333325",
    0x41B3DE4355555555: b"333333333.3333333",
    0x41B3DE4355555556: b"333333333.3333334",
    0x41B3DE4355555557: b"333333333.33333343",
    0xBECBF647612F3696: b"-0.0000033333333333333333",
    0x43143FF3C1CB0959: b"1424953923781206.2",
}


def test_the_numbers_of_rfc_8785_appendix_b_are_written_so() -> None:
    assert {of_bits: encode_canonical(double(of_bits)) for of_bits in APPENDIX_B} == APPENDIX_B


def test_the_first_published_numbers_have_the_published_digest_on_both_paths(packages: Path) -> None:
    numbers = bits(packages, 10_000)
    values = [double(number) for number in numbers]
    assert digest(numbers, map(encode_canonical, values)) == PUBLISHED[10_000]
    assert digest(numbers, map(rfc8785.dumps, values)) == PUBLISHED[10_000]
    # Together they go the slow way, one by one most of them the fast one.
    assert encode_canonical(values) == b"[%s]" % b",".join(map(encode_canonical, values))
