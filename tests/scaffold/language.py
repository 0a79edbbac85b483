"""Measure how the code reads, beside a well-kept library. Standard library only.

    python -m tests.scaffold.language                              the package, and websockets beside it
    python -m tests.scaffold.language session_mgmt/api             some folders or files
    python -m tests.scaffold.language --names session_mgmt/api     list the names and docstrings that count

The figures are shares of functions and of prose. They are no verdict on a single name: `publish` is a good one.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent.parent
COMPARED = "websockets"
LEFT_OUT = {"migrations", "node_modules", "legacy"}
QUESTION_WORDS = {"what", "whether", "where", "who", "whose", "whom", "as", "of"}
ARTICLES = {"the", "a", "an", "one"}
# Participles without -ed that were, or could be, taken for names of functions.
IRREGULAR = {
    *("told", "made", "held", "kept", "found", "known", "given", "taken", "shown", "seen", "sent", "begun", "brought"),
    *("written", "done", "left", "lost", "met", "meant", "built", "gone", "drawn", "thrown", "woken"),
}
NO_PARTICIPLE = {"need", "feed", "seed", "speed", "proceed", "succeed", "exceed", "embed", "unneed", "shed"}
WORD = re.compile(r"[A-Za-z']+")


@dataclass
class Reading:
    """Counts of one tree. Lists hold the places, so that `--names` can print them."""

    functions: list[str] = field(default_factory=list)
    one_word: list[str] = field(default_factory=list)
    participles: list[str] = field(default_factory=list)
    docstrings: int = 0
    questions: list[str] = field(default_factory=list)
    articles: list[str] = field(default_factory=list)
    prose: str = ""
    lines: int = 0
    comments: int = 0
    file_lines: list[int] = field(default_factory=list)
    function_lines: list[int] = field(default_factory=list)

    def add_file(self, path: Path) -> None:
        """Count one Python file."""
        source = path.read_text(encoding="utf-8")
        self.lines += source.count("\n")
        self.file_lines.append(source.count("\n"))
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                self.comments += 1
                self.prose += token.string.lstrip("# ") + "\n"
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                self.prose += (ast.get_docstring(node) or "") + "\n"
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                self._add_function(node, f"{path}:{node.lineno} {node.name}")

    def _add_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, place: str) -> None:
        self.function_lines.append((node.end_lineno or node.lineno) - node.lineno + 1)
        docstring = ast.get_docstring(node)
        if docstring:
            self._add_opening(docstring, place)
        name = node.name.strip("_")
        if node.name.startswith("__"):
            return
        self.functions.append(place)
        if "_" not in name:
            self.one_word.append(place)
        if is_participle(name):
            self.participles.append(place)

    def _add_opening(self, docstring: str, place: str) -> None:
        self.docstrings += 1
        found = WORD.match(docstring)
        first = found[0].lower() if found else ""
        if first in QUESTION_WORDS:
            self.questions.append(f"{place}: {docstring.splitlines()[0]}")
        elif first in ARTICLES:
            self.articles.append(f"{place}: {docstring.splitlines()[0]}")

    def count_word(self, word: str) -> float:
        """Return how often a word stands in 1,000 words of docstrings and comments."""
        words = [found.lower() for found in WORD.findall(self.prose)]
        return 1000 * words.count(word) / max(1, len(words))


def is_participle(name: str) -> bool:
    """Tell whether a name is nothing but a participle; `is_closed` and `get_closed` are none."""
    parts = name.split("_")
    if parts[0] in {"is", "has", "was", "are", "get", "set", "test", "on", "count", "read", "list", "mark"}:
        return False
    word = parts[0]
    return word in IRREGULAR or (word.endswith("ed") and word not in NO_PARTICIPLE)


def find_files(places: list[Path]) -> Iterator[Path]:
    """Yield the Python files of folders, without generated and foreign ones."""
    for place in places:
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            if not LEFT_OUT & set(path.parts):
                yield path


def read(places: list[Path]) -> Reading:
    """Count all files of some places."""
    reading = Reading()
    for path in find_files(places):
        reading.add_file(path)
    return reading


def find_package(name: str) -> Path | None:
    """Return the folder of an installed package."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def find_longest_line(folder: Path) -> tuple[int, str]:
    """Return the length of the longest line of Markdown outside code, and where it stands."""
    longest = (0, "")
    for path in sorted(folder.rglob("*.md")):
        code = False
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            code = code != line.lstrip().startswith("```")
            if not code and len(line) > longest[0]:
                longest = (len(line), f"{path.relative_to(ROOT)}:{number}")
    return longest


def summarise(reading: Reading) -> dict[str, str]:
    """Return the figures of a tree as they are printed."""
    functions, docstrings = max(1, len(reading.functions)), max(1, reading.docstrings)
    return {
        "docstrings that open with What, Whether, Where, Who, As, Of": f"{len(reading.questions) / docstrings:.1%}",
        "... that open with The, A, An, One": f"{len(reading.articles) / docstrings:.1%}",
        "participles as function names": f"{len(reading.participles) / functions:.1%}",
        "one-word function names": f"{len(reading.one_word) / functions:.1%}",
        '"what" per 1,000 words of docstrings and comments': f"{reading.count_word('what'):.1f}",
        "comments per 100 lines": f"{100 * reading.comments / max(1, reading.lines):.1f}",
        "lines of a function, median and most": show_sizes(reading.function_lines),
        "lines of a file, median and most": show_sizes(reading.file_lines),
        "functions, files": f"{len(reading.functions)}, {len(reading.file_lines)}",
    }


def show_sizes(sizes: list[int]) -> str:
    """Return the median and the maximum of some sizes as text."""
    return f"{median(sizes or [0]):.0f}, {max(sizes or [0])}"


def print_table(columns: dict[str, dict[str, str]]) -> None:
    """Print figures side by side."""
    print(f"{'':72}" + "".join(f"{name:>16}" for name in columns))
    for row in next(iter(columns.values())):
        print(f"{row:72}" + "".join(f"{column[row]:>16}" for column in columns.values()))


def print_names(reading: Reading) -> None:
    """Print the places behind the figures."""
    groups = {
        "question words": reading.questions,
        "articles": reading.articles,
        "participles": reading.participles,
        "one word": reading.one_word,
    }
    for title, places in groups.items():
        print(f"\n== {title}: {len(places)}")
        print("\n".join(places))


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure how the code reads.")
    parser.add_argument("places", nargs="*", type=Path, help="folders or files; the package without any")
    parser.add_argument("--names", action="store_true", help="list the names and docstrings that count")
    arguments = parser.parse_args()
    places = arguments.places or [ROOT / "session_mgmt"]
    reading = read(places)
    columns = {"here": summarise(reading)}
    compared = find_package(COMPARED)
    if compared:
        columns[COMPARED] = summarise(read([compared]))
    print_table(columns)
    length, where = find_longest_line(ROOT / "docs")
    print(f"{'longest line of the docs outside code':72}{length:>16}  {where}")
    if arguments.names:
        print_names(reading)
    return 0


if __name__ == "__main__":
    sys.exit(main())
