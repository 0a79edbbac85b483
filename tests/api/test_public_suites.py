"""What others publish to test JSON programs, through the REST calls. Any JSON value may be a whole document here."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from session_mgmt.documents import errors, strict
from session_mgmt.documents.canonical import encode_canonical
from session_mgmt.documents.limits import Limits
from session_mgmt.documents.values import are_equal, normalise_number
from tests.api.calls import Caller, refused
from tests.documents.test_normalise import MERGES
from tests.suites import json_patch, parsing
from tests.suites.canonical import PUBLISHED, bits, digest, double, vectors

# A document is bytes to every database.
pytestmark = [pytest.mark.django_db, pytest.mark.sqlite]
MAIN = "sessions/{id}/state/main/"
# Refused for what it says about this document: 409. Refused whatever document it is meant for: 400.
STATUS = {"patch_failed": 409, "invalid_patch": 400, "invalid_path": 400}


def held(mine: Caller) -> Any:
    return mine.get(MAIN).json()["data"]


def put(mine: Caller, document: Any) -> str:
    """Make this the document; its ETag."""
    answer = mine.put(MAIN, document)
    assert answer.status_code == 200, answer.content
    etag: str = answer["ETag"]
    return etag


def test_json_patch_tests_pass_over_rest(mine: Caller, packages: Path) -> None:
    for case in json_patch.cases(packages):
        etag = put(mine, case.document)
        answer = mine.patch(MAIN, {"patch": case.patch})
        if case.fails:
            name = answer.json()["name"]
            assert refused(answer, name, STATUS[name]), case.name
            assert mine.get(MAIN, If_None_Match=etag).status_code == 304, case.name
        else:
            assert answer.status_code == 200, (case.name, answer.content)
            assert are_equal(held(mine), case.expected), case.name


@pytest.mark.parametrize("raw", json_patch.DUPLICATES)
def test_a_patch_with_two_op_members_is_refused(mine: Caller, raw: bytes) -> None:
    etag = put(mine, {"foo": "bar"})
    assert refused(mine.patch(MAIN, raw=raw), "invalid_json", 400)
    assert mine.get(MAIN)["ETag"] == etag


def test_the_merge_patches_of_rfc_7396_appendix_a_pass_over_rest(mine: Caller) -> None:
    assert sum("appendix A" in case["name"] for case in MERGES) == 15
    for case in MERGES:
        put(mine, case["document"])
        answer = mine.patch(MAIN, {"merge": case["merge"]})
        assert answer.status_code == 200, (case["name"], answer.content)
        assert are_equal(held(mine), case["result"]), case["name"]


def code(raw: bytes) -> str:
    """The code of the error that the parser has for these bytes, or nothing."""
    try:
        strict.parse_json(raw, Limits(), 2**20)
    except errors.DocumentError as error:
        return error.code
    return ""


def test_what_jsontestsuite_says_is_json_becomes_the_document(mine: Caller, packages: Path) -> None:
    for text in parsing.texts(packages):
        if text.accepted:
            assert mine.put(MAIN, raw=text.raw).status_code == 200, text.name
            assert are_equal(held(mine), strict.parse_json(text.raw, Limits(), 2**20)), text.name


def test_what_jsontestsuite_says_is_no_json_is_refused_with_the_code_of_the_parser(
    mine: Caller, packages: Path
) -> None:
    etag = put(mine, {"kept": True})
    for text in parsing.texts(packages):
        if not text.accepted:
            assert refused(mine.put(MAIN, raw=text.raw), code(text.raw), 400), text.name
    answer = mine.get(MAIN)
    assert (answer["ETag"], answer.json()["data"]) == (etag, {"kept": True})


def checksum(mine: Caller) -> str:
    """The checksum that the server tells of the head."""
    assert mine.post(MAIN + "compress/").status_code == 200
    told = mine.get(MAIN).json()
    assert told["checksum_version"] == told["version"]
    found: str = told["checksum"]
    return found


def test_the_files_of_rfc_8785_have_the_checksums_of_the_published_bytes(mine: Caller, packages: Path) -> None:
    for vector in vectors(packages):
        for text in (vector.text, vector.canonical):
            assert mine.put(MAIN, raw=text).status_code == 200, vector.name
            assert checksum(mine) == hashlib.sha256(vector.canonical).hexdigest(), vector.name


def test_the_first_published_numbers_come_back_with_the_published_digest(mine: Caller, packages: Path) -> None:
    """Integers beyond 2^53-1 are the only ones that documents refuse; they are put back in for the digest."""
    numbers = bits(packages, 10_000)
    carried = [normalise_number(double(of_bits)) is not None for of_bits in numbers]
    text = b"[%s]" % b",".join(encode_canonical(double(of)) for of, fits in zip(numbers, carried, strict=True) if fits)
    assert mine.put(MAIN, raw=text).status_code == 200
    back = iter(held(mine))
    spelled = [encode_canonical(next(back) if fits else double(of)) for of, fits in zip(numbers, carried, strict=True)]
    assert digest(numbers, spelled) == PUBLISHED[10_000]
    assert checksum(mine) == hashlib.sha256(text).hexdigest()


def test_a_number_that_documents_do_not_carry_is_refused_with_its_code(mine: Caller, packages: Path) -> None:
    etag = put(mine, {"kept": True})
    beyond = [double(of) for of in bits(packages, 2_000) if normalise_number(double(of)) is None]
    assert len(beyond) > 10
    for value in beyond:
        assert 2**53 <= abs(value) < 1e21
        answer = mine.put(MAIN, raw=b"[%s]" % encode_canonical(value))
        assert refused(answer, "number_out_of_range", 400), json.dumps(value)
    assert mine.get(MAIN)["ETag"] == etag
