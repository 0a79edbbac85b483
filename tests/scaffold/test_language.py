"""Keep the language of the code as plain as it is; `python -m tests.scaffold.language --names` shows what counts."""

from __future__ import annotations

import pytest

from tests.scaffold.language import ROOT, Reading, is_participle, read

PACKAGE = ROOT / "session_mgmt"


@pytest.fixture(scope="module")
def package() -> Reading:
    return read([PACKAGE])


def test_docstrings_of_functions_begin_with_a_verb(package: Reading) -> None:
    assert not package.questions
    assert not package.articles


def test_functions_are_named_by_a_verb(package: Reading) -> None:
    assert len(package.participles) <= 0.007 * len(package.functions), package.participles


def test_names_of_one_word_are_the_smaller_part(package: Reading) -> None:
    assert len(package.one_word) <= 0.36 * len(package.functions)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("told", True), ("settled", True), ("is_closed", False), ("feed", False), ("read_head", False), ("hidden", False)],
)
def test_a_participle_is_known(name: str, expected: bool) -> None:
    assert is_participle(name) is expected
