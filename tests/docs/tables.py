"""Tables of the reference, made from the code: ``make reference`` writes them into their pages.

A page holds ``<!-- table: name -->`` and ``<!-- end -->``; what is between them is made, the rest is written by people.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import django
from django.core.management import load_command_class

ROOT = Path(__file__).resolve().parent.parent.parent
REFERENCE = ROOT / "docs" / "reference"
OPENAPI = REFERENCE / "openapi.json"
MARKED = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
COMMANDS = ROOT / "session_mgmt" / "management" / "commands"
# Options that Django gives to every command.
_COMMON = {
    "help",
    "version",
    "verbosity",
    "settings",
    "pythonpath",
    "traceback",
    "no_color",
    "force_color",
    "skip_checks",
}


def settings_list() -> str:
    from session_mgmt.conf import Settings

    return "".join(_item(f"`{f.name}` ({_default(f)})", f.metadata["reason"]) for f in fields(Settings))


def _item(name: str, text: str) -> str:
    """Return one list item, wrapped as prose is."""
    words = f"{name}: {text}" if text else name
    return textwrap.fill(words, 100, initial_indent="- ", subsequent_indent="  ", break_long_words=False) + "\n"


def _default(setting: Field[Any]) -> str:
    made = setting.default_factory is not MISSING
    value = setting.default_factory() if made else setting.default  # type: ignore[misc]
    if isinstance(value, timedelta):
        return _time(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1024 and value % 1024 == 0:
        return f"{value // 1024} KB" if value < 1024 * 1024 else f"{value // 1024**2} MB"
    return f"`{value!r}`"


def _time(value: timedelta) -> str:
    seconds = int(value.total_seconds())
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds % size == 0 and seconds > size:
            return f"{seconds // size} {unit}"
    return f"{seconds} seconds"


def errors_table() -> str:
    from session_mgmt.exceptions import list_errors

    rows = [
        (str(e.number), f"`{e.name}`", str(e.status), str(e.close or ""), "yes" if e.temporary else "", e.message)
        for e in list_errors()
    ]
    return table(("code", "name", "HTTP", "close", "temporary", "meaning"), rows)


def calls_list() -> str:
    return "".join(
        _item(f"`{method.upper()} {path}`", _describe_call(call))
        for path, methods in openapi()["paths"].items()
        for method, call in methods.items()
    )


def _describe_call(call: dict[str, Any]) -> str:
    answer = call.get("description", "").strip()
    return f"{call.get('summary', '').rstrip('.')}." + (f" Answer: {answer}" if answer else "")


def commands_table() -> str:
    names = sorted(path.stem for path in COMMANDS.glob("*.py") if path.stem != "__init__")
    return "\n".join(part for name in names for part in _command(name))


def _command(name: str) -> Iterator[str]:
    command = load_command_class("session_mgmt", name)
    yield f"### {name}\n\n{textwrap.fill(command.help, 100)}\n"
    rows = [(f"`{_call(action)}`", action.help or "") for action in _own(command.create_parser("manage.py", name))]
    yield table(("option", "effect"), rows)


def _own(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in parser._actions if action.dest not in _COMMON]


def _call(action: argparse.Action) -> str:
    if not action.option_strings:
        return action.dest.upper()
    return action.option_strings[-1] + ("" if action.nargs == 0 else f" {action.dest.upper()}")


def openapi() -> dict[str, Any]:
    from session_mgmt.api import description

    made = description.build_schema("/api/")
    assert made is not None
    # Through JSON: translated texts and ordered classes become what the file holds.
    told: dict[str, Any] = json.loads(json.dumps(made, default=str))
    return told


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


TABLES: dict[str, Callable[[], str]] = {
    "settings": settings_list,
    "errors": errors_table,
    "calls": calls_list,
    "commands": commands_table,
}


def filled(page: str) -> str:
    """A page with its tables as the code has them now."""
    return MARKED.sub(lambda found: found[1] + TABLES[found[2]]() + found[3], page)


def pages() -> list[Path]:
    return [page for page in sorted(REFERENCE.glob("*.md")) if MARKED.search(page.read_text(encoding="utf-8"))]


def openapi_text() -> str:
    return json.dumps(openapi(), indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    for page in pages():
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
    OPENAPI.write_text(openapi_text(), encoding="utf-8")


if __name__ == "__main__":
    main()
