"""Real documents: as small as the documentation says, and the same again when they are read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.api.calls import Caller
from tests.api.conftest import alice, mine
from tests.suites import corpus, table

# The two largest take as long as all others together, and tests/api/test_heavy.py has documents of such a size.
PUT_AND_READ = 2**20

__all__ = ["alice", "mine"]


@pytest.fixture(scope="module")
def found(packages: Path) -> list[corpus.Document]:
    return corpus.documents(packages)


@pytest.fixture(scope="module")
def measured(found: list[corpus.Document]) -> list[corpus.Stored]:
    return corpus.measured(found)


@pytest.mark.sqlite
def test_real_documents_above_10_kb_are_stored_at_least_70_percent_smaller(measured: list[corpus.Stored]) -> None:
    size = sum(row.size for row in measured)
    assert len(measured) > 50
    assert corpus.saved(size, sum(row.zstd for row in measured)) >= corpus.WANTED
    assert corpus.saved(size, sum(row.zlib for row in measured)) >= corpus.WANTED
    less = {row.name for row in measured if corpus.saved(row.size, row.zstd) < corpus.WANTED}
    assert less <= corpus.EXCEPTIONS.keys()


@pytest.mark.sqlite
def test_the_table_of_the_documentation_is_what_is_measured(measured: list[corpus.Stored]) -> None:
    """Sizes to the byte; savings within a percent point, because libraries of compression differ a little."""
    written = table.written()
    assert [row.name for row in written] == [row.name for row in measured], "run: make corpus"
    for there, here in zip(written, measured, strict=True):
        assert there.size == here.size, (here.name, "run: make corpus")
        for old, new in ((there.zstd, here.zstd), (there.zlib, here.zlib)):
            assert abs(corpus.saved(there.size, old) - corpus.saved(here.size, new)) < 0.01, here.name


@pytest.mark.django_db(transaction=True)
@pytest.mark.sqlite
def test_real_documents_come_back_whole_with_the_size_and_checksum_that_others_find(
    mine: Caller, found: list[corpus.Document], measured: list[corpus.Stored], settings: Any
) -> None:
    settings.SESSION_MGMT = {"max_documents": len(found)}
    put_and_read = [document for document in found if len(document.body) <= PUT_AND_READ]
    assert len(put_and_read) == len(found) - 2
    stored = {row.name: row for row in measured}
    for at, (document, checksum) in enumerate(zip(put_and_read, corpus.checksums(put_and_read), strict=True)):
        name = f"sessions/{{id}}/state/corpus-{at}/"
        assert mine.put(name, raw=document.raw).status_code == 200, document.name
        sizes = mine.post(name + "compress/").json()
        packed = stored[document.name]
        assert (sizes["size"], sizes["stored"], sizes["exact"]) == (packed.size, packed.zstd, True), document.name
        told = mine.get(name).json()
        assert told["checksum"] == checksum, document.name
        assert told["data"] == json.loads(document.raw), document.name
