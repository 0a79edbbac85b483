"""Names in addresses: what a client of HTTP resolves can name nothing, and leads nobody elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from session_mgmt.actions.access import is_document
from session_mgmt.client import Refused
from session_mgmt.client.core import Core
from session_mgmt.client.devices import Sessions
from session_mgmt.client.state import StateDocument
from session_mgmt.client.storage import Saved
from session_mgmt.protocol.patterns import compile_pattern, is_topic

pytestmark = pytest.mark.sqlite
RESOLVED = [".", "..", "a/..", "../a", "a/./b", "a/../b"]


@pytest.mark.parametrize("name", RESOLVED)
def test_what_an_address_resolves_is_no_name(name: str) -> None:
    assert (is_topic(name), is_document(name)) == (False, False)
    with pytest.raises(ValueError, match="no pattern"):
        compile_pattern(f"{name}/{{pk}}")


@pytest.mark.parametrize("name", ["...", "a..b", ".a", "orders:..", "a/b..", "..a/b"])
def test_other_dots_are_part_of_a_name(name: str) -> None:
    assert (is_topic(name), is_document(name)) == (True, "/" not in name)


class Nowhere:
    """Way to a server that nobody may take."""

    core = Core(Saved())

    async def call(self, *_: Any) -> None:
        raise AssertionError("the server was asked")


PORT: Any = Nowhere()
CALLS: dict[str, Callable[[str], Any]] = {
    "end": lambda name: Sessions(PORT, lambda: "own").end(name),
    "get_connections": lambda name: Sessions(PORT, lambda: "own").get_connections(name),
    "info": lambda name: StateDocument(name, PORT).info(),
    "read_at": lambda name: StateDocument("main", PORT).read_at(name),
    "forget": lambda name: StateDocument("main", PORT).forget(name),
    "resolve": lambda name: StateDocument("main", PORT).resolve(name, "server"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", RESOLVED)
def test_the_client_asks_for_no_such_name(call: str, name: str) -> None:
    # `DELETE devices/./` would log out all other devices.
    with pytest.raises(Refused) as refused:
        asyncio.run(CALLS[call](name))
    assert refused.value.name == "invalid_field"
