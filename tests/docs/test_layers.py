"""The architecture page draws the layers that the import contracts hold, and the pages name modules that exist."""

from __future__ import annotations

import importlib
import re
import tomllib
from typing import Any

import pytest

from tests.docs.pages import PAGES, ROOT

PAGE = (ROOT / "docs/topics/architecture.md").read_text(encoding="utf-8")
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
LAYERS = {one["containers"][0]: one["layers"] for one in CONTRACTS if one["type"] == "layers"}
DRAWN = dict(zip(LAYERS, re.findall(r"^```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL), strict=False))
# Public name of the log for security events, and the server's own log.
NAMED = {"session_mgmt.security", "uvicorn.error"}


def read_names(layer: str) -> list[str]:
    return re.findall(r"\w+", layer)


def read_drawing(text: str) -> list[list[str]]:
    """Return the layers of a drawing: lines of names, without the descriptions beside and below them."""
    lines = [re.split(r"\s{2,}", line[1:])[0] for line in text.splitlines() if not line.startswith("  ")]
    joined = re.sub(r"\n(?=[:|])", " ", "\n".join(lines))
    return [read_names(line) for line in joined.splitlines()]


@pytest.mark.parametrize("room", LAYERS)
def test_the_page_draws_the_layers_that_are_checked(room: str) -> None:
    assert read_drawing(DRAWN[room]) == [read_names(layer) for layer in LAYERS[room]]


def test_a_logger_is_named_after_its_module() -> None:
    sources = [path.read_text(encoding="utf-8") for path in ROOT.glob("session_mgmt/**/*.py") if "js" not in path.parts]
    names = {name.strip('"') for text in sources for name in re.findall(r"getLogger\(([^)]*)\)", text)}
    assert names == {"__name__", *NAMED}


def exists(name: str) -> bool:
    """Return whether a dotted name is a module of the package, or something in one."""
    parent, _, last = name.rpartition(".")
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        found: Any = importlib.import_module(parent) if parent else None
        return hasattr(found, last)
    return True


def test_a_module_that_a_page_names_exists() -> None:
    named = {
        name
        for page in PAGES
        for name in re.findall(r"`(session_mgmt(?:\.[a-z_]\w*)+)`", page.read_text(encoding="utf-8"))
    }
    tasks = {"session_mgmt.cleanup_sessions", "session_mgmt.webhooks"}
    assert len(named) > 15
    assert [name for name in sorted(named - NAMED - tasks) if not exists(name)] == []
