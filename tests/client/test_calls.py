"""What the Python client asks of a document over HTTP, against the real REST side."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import pytest

from session_mgmt import shortcuts
from session_mgmt.client import MISSING, Refused, Unanswered
from session_mgmt.client.core import Core
from session_mgmt.client.listeners import Listeners
from session_mgmt.client.rest import Rest
from session_mgmt.client.state import StateDocument
from session_mgmt.client.storage import Saved

pytestmark = pytest.mark.django_db(transaction=True)


class Port:
    """Shell of a client that never had a connection."""

    def __init__(self, rest: Rest, session: str) -> None:
        self.core, self.changes, self._rest, self._session = Core(Saved()), Listeners(), rest, session

    def update(self, *_: Any) -> Any:
        raise AssertionError("no connection")

    create_if_absent = follow_log = update

    async def call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        return await self._rest.call(method, f"sessions/{self._session}/{path}", body, headers)

    def apply_sync(self, doc: str, answer: dict[str, Any]) -> None:
        list(self.core.apply_sync(doc, answer))


@pytest.fixture
def session() -> Any:
    created = shortcuts.create_session()
    shortcuts.state.replace(created.session, {"n": 1, "a/b": "\u20ac"})
    shortcuts.state.persist(created.session, "before/the sale")
    shortcuts.state.replace(created.session, {"n": 2})
    return created


@pytest.fixture
def asked(live_server: Any, session: Any) -> Callable[[Callable[[StateDocument], Any]], Any]:
    """Run an async function with the session's documents."""

    def run(work: Callable[[StateDocument], Any]) -> Any:
        async def inside() -> Any:
            async with httpx.AsyncClient(trust_env=False) as http:
                rest = Rest(http, f"{live_server.url}/api/", lambda: session.token.secret)
                return await work(StateDocument("main", Port(rest, str(session.session.pk))))

        return asyncio.run(inside())

    return run


def test_a_document_is_told_with_what_the_server_knows_of_it(asked: Any) -> None:
    async def work(state: StateDocument) -> None:
        known = await state.info()
        assert (known.name, known.data, known.version, known.encrypted) == ("main", {"n": 2}, 2, False)
        sizes = await state.sizes()
        assert (sizes.version, sizes.size >= 7) == (2, True)
        assert (await state.compress()).exact is True

    asked(work)


def test_history_comes_in_pages_and_versions_are_read(asked: Any) -> None:
    async def work(state: StateDocument) -> None:
        page = await state.history(limit=1)
        rest = await state.history(before=page.next)
        assert [(entry.version, entry.kind, entry.client_id) for entry in page.results] == [(2, "replace", None)]
        assert [(entry.version, entry.labels) for entry in rest.results] == [(1, ["before/the sale"])]
        assert (rest.next, rest.oldest) == (None, 0)
        assert await state.read_at(1) == await state.read_at("before/the sale") == {"n": 1, "a/b": "\u20ac"}
        assert {op["path"] for op in await state.diff(1)} == {op["path"] for op in await state.diff(2, 1)}
        with pytest.raises(Refused) as refused:
            await state.read_at(9)
        assert (refused.value.name, refused.value.code, refused.value.temporary) == ("not_found", 106, False)

    asked(work)


def test_checkpoints_are_kept_restored_and_given_up(asked: Any) -> None:
    async def work(state: StateDocument) -> None:
        assert (await state.persist()).label == "v2"
        assert [point.label for point in await state.checkpoints()] == ["before/the sale", "v2"]
        with pytest.raises(Refused, match="precondition_failed"):
            await state.restore(1, if_match=["00", 1, "00"])
        head = (await state.info()).position
        assert (await state.restore("before/the sale", if_match=head)).version == 3
        assert (await state.restore(2)).version == 4
        await state.forget("before/the sale")
        with pytest.raises(Refused, match="not_found"):
            await state.forget("before/the sale")

    asked(work)


def test_synchronising_brings_the_replica_up_without_a_connection(asked: Any, session: Any) -> None:
    async def work(state: StateDocument) -> None:
        assert await state.sync() == 2
        assert (state.get(), state.size()) == ({"n": 2}, 7)
        assert state.checksum() == hashlib.sha256(b'{"n":2}').hexdigest()
        await asyncio.to_thread(shortcuts.state.update, session.session, {"m": 3})
        assert await state.sync() == 3
        assert await state.sync() == 3
        assert state.get() == {"n": 2, "m": 3}

    asked(work)


def test_a_kept_conflict_is_listed_and_decided_once(asked: Any) -> None:
    async def work(state: StateDocument) -> None:
        change = {"ops": [["del", "/n"]], "base": 1, "strategy": "manual"}
        await state._port.call("PATCH", "state/main/", change)
        (conflict,) = await state.conflicts()
        assert (conflict.path, conflict.server, conflict.client) == ("/n", 2, MISSING)
        assert (await state.resolve(conflict.id, "value", 9)).version == 3
        with pytest.raises(Refused) as refused:
            await state.resolve(conflict.id, "server")
        assert refused.value.name == "conflict"
        assert await state.conflicts() == []
        assert [kept.resolution for kept in await state.conflicts(include_resolved=True)] == ["value"]
        assert (await state.info()).data == {"n": 9}

    asked(work)


async def test_a_server_that_does_not_answer_is_no_refusal() -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("gone", request=request)

    async with httpx.AsyncClient(transport=httpx.MockTransport(broken)) as http:
        with pytest.raises(Unanswered, match="gone"):
            await Rest(http, "http://shop.test/api/", lambda: "sma_1").call("GET", "x/")


async def test_a_proxy_that_answers_in_the_servers_place_is_temporary() -> None:
    answer = httpx.MockTransport(lambda _: httpx.Response(502, text="<html>"))
    async with httpx.AsyncClient(transport=answer) as http:
        with pytest.raises(Refused, match="http_502") as refused:
            await Rest(http, "http://shop.test/api/", lambda: "sma_1").call("GET", "x/")
    assert refused.value.temporary
