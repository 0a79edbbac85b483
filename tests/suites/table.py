"""Table of real documents in the documentation. `python -m tests.suites.table` measures and writes it."""

from __future__ import annotations

import re
import textwrap
from statistics import median

from tests import programs
from tests.docs.pages import ROOT
from tests.docs.tables import table
from tests.suites import corpus, packages
from tests.suites.corpus import Stored, saved

PAGE = ROOT / "docs" / "topics" / "conformance.md"
_PLACE = re.compile(r"(<!-- corpus -->\n).*?(<!-- end -->)", re.DOTALL)
_ROW = re.compile(r"^\| `(.+?)` \| ([\d,]+) \| ([\d,]+) \| .*? \| ([\d,]+) \|", re.MULTILINE)


def written() -> list[Stored]:
    """Read the rows that the page has now."""
    return [
        Stored(name, *(int(number.replace(",", "")) for number in numbers))
        for name, *numbers in _ROW.findall(PAGE.read_text(encoding="utf-8"))
    ]


def text(rows: list[Stored]) -> str:
    """Render the summary and one line per document."""
    head = ("document", "compact JSON", "zstd", "smaller by, %", "zlib", "smaller by, %")
    return _summary(rows) + "\n" + table(head, [_cells(row) for row in rows])


def _summary(rows: list[Stored]) -> str:
    shares = sorted(saved(row.size, row.zstd) for row in rows)
    enough = sum(share >= corpus.WANTED for share in shares)
    size = sum(row.size for row in rows)
    zstd = _percent(saved(size, sum(row.zstd for row in rows)))
    zlib = _percent(saved(size, sum(row.zlib for row in rows)))
    words = (
        f"{len(rows)} documents, {size / 1e6:.1f} MB: **{zstd} smaller together** with zstd, {zlib} with zlib. With"
        f" zstd {enough} of them are at least 70 % smaller; the median is {_percent(median(shares))}, the least"
        f" {_percent(shares[0])}, the most {_percent(shares[-1])}."
    )
    return textwrap.fill(words, 100) + "\n"


def _cells(row: Stored) -> tuple[str, ...]:
    zstd, zlib = saved(row.size, row.zstd), saved(row.size, row.zlib)
    mark = "" if zstd >= corpus.WANTED else " \\*"
    return (
        f"`{row.name}`",
        f"{row.size:,}",
        f"{row.zstd:,}",
        f"{zstd:.1%}".rstrip("%") + mark,
        f"{row.zlib:,}",
        f"{zlib:.1%}".rstrip("%"),
    )


def _percent(share: float) -> str:
    return f"{share:.1%}".replace("%", " %")


def main() -> None:
    programs.install_missing(["Node"])
    rows = corpus.measured(corpus.documents(packages.installed()))
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(_PLACE.sub(lambda found: found[1] + text(rows) + found[2], page), encoding="utf-8")


if __name__ == "__main__":
    main()
