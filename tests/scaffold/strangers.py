"""Count, for each walk of docs/topics/architecture.md, the files that a reader passes without needing them.

    python -m tests.scaffold.strangers

A stranger is a file of a room on the walk that is not on the walk itself. Standard library only.
"""

from __future__ import annotations

import re
import sys
from collections import Counter

from tests.scaffold.language import ROOT

PACKAGE = ROOT / "session_mgmt"
PAGE = ROOT / "docs" / "topics" / "architecture.md"


def read_walks(page: str) -> dict[str, list[str]]:
    """Return the files of each walk of the page, in order."""
    part = page.partition("\n## Walks\n")[2].partition("\n## ")[0]
    return {
        walk.partition("\n")[0]: re.findall(r"^\d+\. `([\w/.]+)`", walk, re.MULTILINE)
        for walk in part.split("\n### ")[1:]
    }


def count_strangers(walk: list[str]) -> Counter[str]:
    """Return the number of strangers in each room of a walk."""
    rooms = {file.rpartition("/")[0] for file in walk}
    files = {room: {path.name for path in (PACKAGE / room).glob("*.py")} - {"__init__.py"} for room in rooms}
    return Counter({room: len(names - {file.rpartition("/")[2] for file in walk}) for room, names in files.items()})


def main() -> int:
    print(f"{'walk':44}{'files':>7}{'strangers':>11}{'most in a room':>16}")
    for title, walk in read_walks(PAGE.read_text(encoding="utf-8")).items():
        strangers = count_strangers(walk)
        room, most = strangers.most_common(1)[0]
        print(f"{title:44}{len(set(walk)):>7}{strangers.total():>11}{most:>6} {room}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
