"""The Python client's page lists each name that only one of the two clients has: members, options, events, exports."""

from __future__ import annotations

import inspect
import json
import re

from session_mgmt import client as exports
from session_mgmt.client import SessionClient
from session_mgmt.client.options import OWN_EVENTS
from session_mgmt.protocol.events import EVENT_TYPES
from tests.docs.pages import ROOT, table_rows
from tests.test_vocabulary import CLIENT, DOCUMENTS, TOPICS, TYPINGS, build_snake_case

PAGE = ROOT / "docs/reference/python-client.md"
SOURCE = (ROOT / "session_mgmt/js/src/index.ts").read_text(encoding="utf-8")
PACKAGE = json.loads((ROOT / "session_mgmt/js/package.json").read_text(encoding="utf-8"))
ROWS = [[set(re.findall(r"`([^`]+)`", cell)) for cell in row[:2]] for row in table_rows(PAGE, "JavaScript")]
LISTED = [set().union(*(row[side] for row in ROWS)) for side in range(2)]
# Entries of the npm package for parts of the client, which pages can bundle.
PARTS = {"content", "http", "cache", "tabs", "debug"}


def read_interface(name: str) -> tuple[set[str], str]:
    """Return the members of an interface of the JavaScript client, and the interface that it extends."""
    found = re.search(rf"^export interface {name}(?: extends (\w+))? {{\n(.*?)^}}", TYPINGS, re.MULTILINE | re.DOTALL)
    assert found, name
    return set(re.findall(r'^\t"?([\w*]+)"?\??: ', found[2], re.MULTILINE)), found[1] or ""


def list_options() -> tuple[set[str], set[str]]:
    own, base = read_interface("StartOptions")
    return own | read_interface(base)[0], set(inspect.signature(SessionClient.start).parameters)


def list_events() -> tuple[set[str], set[str]]:
    return read_interface("SessionEvents")[0] - set(EVENT_TYPES), set(OWN_EVENTS)


def list_exports() -> tuple[set[str], set[str]]:
    """Return the exported values, and the entries of the npm package beside its main one."""
    named = re.findall(r"^export { (.*?) } from", SOURCE, re.MULTILINE)
    values = {name for line in named for name in line.split(", ") if not name.startswith("type ")}
    entries = {entry.removeprefix("./") for entry in PACKAGE["exports"] if not entry.endswith(".json")} - {"."}
    return values | entries - PARTS, set(exports.__all__)


def list_members() -> tuple[set[str], set[str]]:
    rows = [*DOCUMENTS, *TOPICS, *CLIENT]
    return {javascript for javascript, *_ in rows if javascript}, {python for _, python, _ in rows if python}


def test_each_difference_between_the_clients_is_explained() -> None:
    expected: list[set[str]] = [set(), set()]
    pairs = [list_options(), list_events(), list_exports()]
    # A member has another name in Python only if the vocabulary says so.
    for javascript, python, _ in [*DOCUMENTS, *TOPICS, *CLIENT]:
        if javascript and not python:
            expected[0].add(javascript)
        if python and not javascript:
            expected[1].add(python)
    for javascript_names, python_names in pairs:
        expected[0] |= {name for name in javascript_names if not {name, build_snake_case(name)} & python_names}
        expected[1] |= python_names - javascript_names - {build_snake_case(name) for name in javascript_names}
    assert (sorted(expected[0] - LISTED[0]), sorted(expected[1] - LISTED[1])) == ([], [])
    assert (sorted(LISTED[0] - expected[0]), sorted(LISTED[1] - expected[1])) == ([], [])


def test_each_difference_has_a_reason() -> None:
    assert all(row[2] for row in table_rows(PAGE, "JavaScript"))
    for side in range(2):
        assert sum(len(row[side]) for row in ROWS) == len(LISTED[side]), "each name stands once"
