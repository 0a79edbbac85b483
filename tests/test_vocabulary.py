"""Both clients and the server name one thing by the same words, and `docs/reference/vocabulary.md` lists them all."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from typing import Any

import pytest

from session_mgmt import shortcuts, signals
from session_mgmt.api import shapes
from session_mgmt.client import SessionClient, Sync
from session_mgmt.client.devices import ConnectionFigures, Sessions
from session_mgmt.client.state import StateDocument
from session_mgmt.client.stats import Latency, Stats
from session_mgmt.client.topics import Topics
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs/reference/vocabulary.md").read_text(encoding="utf-8")
TYPINGS = (ROOT / "session_mgmt/static/session_mgmt/session-client.d.ts").read_text(encoding="utf-8")
# Members that the parts of the JavaScript client need from each other.
INTERNAL = {"Topics": {"takeEphemeral", "clearListeners"}}
PARTS = {"connection": "ConnectionControls", "auth": "Auth", "sessions": "Sessions"}
Row = tuple[str, str, str]


def read_rows(heading: str) -> list[Row]:
    """Return the names of one section of the page: JavaScript, Python, server."""
    section = PAGE.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = []
    for line in section.splitlines():
        cells = [cell.strip().strip("`") for cell in line.split("|")[1:4]]
        if len(cells) == 3 and not line.startswith(("| ---", "| JavaScript")):
            rows.append((cells[0], cells[1], cells[2]))
    assert rows
    return rows


SECTIONS = ("Documents", "Topics", "Client and session", "Figures", "Options")
DOCUMENTS, TOPICS, CLIENT, FIGURES, OPTIONS = map(read_rows, SECTIONS)
LONG_NAMES = dict(re.findall(r"`(\w+)`\s+\(`(\w+)`\)", PAGE.split("has long names too", 1)[1].split("\n\n", 1)[0]))


def build_snake_case(name: str) -> str:
    return re.sub(r"[A-Z]", lambda match: "_" + match[0].lower(), name.rsplit(".", 1)[-1])


def list_python_names(class_: type) -> set[str]:
    """Return the public members of a class, attributes of its instances included."""
    assigned = re.findall(r"self\.([a-z]\w*)\b(?:: [^=]+)? = ", inspect.getsource(class_.__init__))  # type: ignore[misc]
    return {name for name in [*vars(class_), *assigned] if not name.startswith("_")}


def list_javascript_names(class_: str) -> set[str]:
    """Return the public members of a class of the JavaScript client, those that a part lends it included."""
    lender = re.search(rf"^export interface {class_}\b.* extends Pick<(\w+), ", TYPINGS, re.MULTILINE)
    lent = list_javascript_names(lender[1]) if lender else set()
    found = re.search(rf"^(?:export )?declare class {class_}\b.*?^}}", TYPINGS, re.MULTILINE | re.DOTALL)
    assert found
    members = re.findall(r"^\t(?!private )(?:static |readonly |get |set )*(\w+)[<(:?]", found[0], re.MULTILINE)
    return (set(members) | lent) - {"constructor"} - INTERNAL.get(class_, set())


@pytest.mark.parametrize("row", [*DOCUMENTS, *TOPICS, *CLIENT, *FIGURES, *OPTIONS], ids=lambda row: "/".join(row))
def test_a_row_has_the_same_words_in_every_cell(row: Row) -> None:
    javascript, python, server = row
    assert len({build_snake_case(javascript), python.rsplit(".", 1)[-1], server} - {""}) == 1
    assert "." not in python or python.split(".")[0] == javascript.split(".")[0]


@pytest.mark.parametrize(
    ("class_", "rows"), [(StateDocument, DOCUMENTS), (Topics, TOPICS), (SessionClient, CLIENT)], ids=str
)
def test_the_python_client_has_exactly_the_names_of_the_table(class_: type, rows: list[Row]) -> None:
    assert list_python_names(class_) == {python for _, python, _ in rows if python and "." not in python}


def test_the_parts_of_the_python_client_have_exactly_the_names_of_the_table() -> None:
    names = {f"sessions.{name}" for name in list_python_names(Sessions)}
    assert names == {python for _, python, _ in CLIENT if "." in python}


def test_the_server_has_exactly_the_names_of_the_table() -> None:
    assert list_python_names_of_state() == {server for _, _, server in DOCUMENTS if server}
    functions = {name for name in shortcuts.__all__ if name.islower() and not is_async(getattr(shortcuts, name))}
    assert functions == {server for _, _, server in [*TOPICS, *CLIENT] if server}


def list_python_names_of_state() -> set[str]:
    names = {name for name in vars(type(shortcuts.state)) if not name.startswith("_")}
    return {name for name in names if not is_async(getattr(shortcuts.state, name))}


def is_async(function: Any) -> bool:
    """Return whether this is the async version of a function, which has its name with an ``a`` in front."""
    return inspect.iscoroutinefunction(function)


def test_the_javascript_client_has_exactly_the_names_of_the_table() -> None:
    assert list_javascript_names("StateDocument") - set(LONG_NAMES) == {name for name, *_ in DOCUMENTS if name}
    assert list_javascript_names("Topics") == {name for name, *_ in TOPICS if name}
    assert list_javascript_names("SessionClient") == {name for name, *_ in CLIENT if name and "." not in name}
    for part, class_ in PARTS.items():
        names = {name.split(".")[1] for name, *_ in CLIENT if name.startswith(f"{part}.")}
        assert list_javascript_names(class_) == names, part


def list_interface_names(interface: str) -> set[str]:
    found = re.search(rf"^export interface {interface} {{\n(.*?)^}}", TYPINGS, re.MULTILINE | re.DOTALL)
    assert found
    return set(re.findall(r"^\t(\w+): ", found[1], re.MULTILINE))


def test_figures_have_exactly_the_names_of_the_table() -> None:
    javascript, python, server = ({row[side] for row in FIGURES if row[side]} for side in range(3))
    latency = list_interface_names("Latency")
    assert latency == {field.name for field in fields(Latency)} == set(shapes.FIGURES["latency"]["properties"])
    assert javascript == list_interface_names("ClientStats") - {"latency"} | {f"latency.{name}" for name in latency}
    told = {field.name for field in fields(Stats) if not field.name.startswith("_")}
    assert python == told - {"latency"} | {f"latency.{name}" for name in latency}
    assert server - latency < {field.name for field in fields(ConnectionFigures)}
    events = {"heartbeat_missed"} & set(dir(signals))
    assert events and all(f"\t{name}: [" in TYPINGS for name in events)


def test_a_long_name_of_the_javascript_client_stands_beside_its_short_one() -> None:
    names = list_javascript_names("StateDocument")
    assert len(LONG_NAMES) == 9
    assert set(LONG_NAMES) | set(LONG_NAMES.values()) <= names | {""} and "delete" in names


def test_an_option_has_its_name_in_javascript() -> None:
    assert [name for name, *_ in OPTIONS if not re.search(rf"\b{name}\??:", TYPINGS)] == []


def list_parameters(*owners: Any) -> set[str]:
    calls = [call for owner in owners for _, call in inspect.getmembers(owner, callable)]
    signatures = [inspect.signature(call) for call in calls if inspect.isroutine(call) and hasattr(call, "__code__")]
    return {name for signature in signatures for name in signature.parameters}


def test_an_option_has_its_name_in_python() -> None:
    client = list_parameters(SessionClient, StateDocument, Topics) | set(inspect.signature(Sync).parameters)
    client |= set(inspect.signature(SessionClient.start).parameters)
    assert {python for _, python, _ in OPTIONS if python} - client == set()
    server = list_parameters(type(shortcuts.state))
    for call in (shortcuts.publish, shortcuts.create_session):
        server |= set(inspect.signature(call).parameters)
    assert {server_ for _, _, server_ in OPTIONS if server_} - server == set()
