"""The Python client's delayed synchronisation: updates show at once, gather, and go as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_mgmt.client import Refused, SessionClient, Sync
from session_mgmt.client.coalesce import coalesce_operations
from session_mgmt.client.core import Core
from session_mgmt.client.storage import Saved
from session_mgmt.documents.operations import apply_ops
from session_mgmt.documents.replaced import digest_value
from tests.client.fake_server import FakeServer, Peer, connected, entries, fake_server, snapshot
from tests.client.test_core import no, revision, run, sent

PATHS = st.sampled_from(
    ["", "/a", "/b", "/a/b", "/a/0", "/a/1", "/a/-", "/l", "/l/0", "/l/1", "/l/0/x", "/l/-", "/a/b/c"]
)
VALUES = st.sampled_from([0, 1.5, "x", None, {}, {"b": 1}, [], [1, 2], {"b": {"c": 2}}])
OPS = st.one_of(
    st.tuples(st.sampled_from(["set", "ins"]), PATHS, VALUES).map(list),
    st.tuples(st.sampled_from(["del", "obj"]), PATHS).map(list),
    st.tuples(st.just("inc"), PATHS, st.sampled_from([1, -1, 0.5, 2**52])).map(list),
)
LISTS = st.lists(OPS, max_size=6)


@given(st.sampled_from([{}, {"a": {"b": 1}, "l": [1, {"x": 2}]}, [], {"a": [1, 2], "b": 2**53 - 1}]), LISTS, LISTS)
def test_coalesced_operations_give_what_the_single_ones_give(document: Any, earlier: Any, later: Any) -> None:
    def exactly(value: Any) -> str:
        return repr(value)

    one_by_one = apply_ops(apply_ops(document, earlier), later)
    if not _is_at_the_edge(one_by_one) or not any(op[0] == "inc" for op in [*earlier, *later]):
        assert exactly(apply_ops(document, coalesce_operations(earlier, later))) == exactly(one_by_one)


def _is_at_the_edge(value: Any) -> bool:
    """Whether a sum came near the bound, beyond which each `inc` does nothing and their sum something."""
    if isinstance(value, dict | list):
        return any(_is_at_the_edge(item) for item in (value.values() if isinstance(value, dict) else value))
    return isinstance(value, int | float) and abs(value) >= 2**51


def test_sets_of_one_path_replace_and_increments_add_up() -> None:
    ops = coalesce_operations([["set", "/x", 1], ["inc", "/n", 2]], [["set", "/x", 3], ["inc", "/n", 1]])
    assert ops == [["set", "/x", 3], ["inc", "/n", 3]]


def test_a_place_in_an_array_is_not_changed_before_its_turn() -> None:
    ops = [["set", "/l/2", "no place yet"], ["set", "/l/1", "second"], ["set", "/l/2", "third"]]
    assert apply_ops({"l": ["first"]}, coalesce_operations(ops[:2], ops[2:])) == {"l": ["first", "second", "third"]}


def gathering(**changes: Any) -> Core:
    core = Core(Saved(), delayed=True)
    core.open_replica("main")
    run(core, connected(**changes), snapshot("state:main", 0, {"x": 0}))
    return core


def test_updates_gather_in_one_number_and_go_on_flush() -> None:
    core = gathering()
    assert [core.add_update("main", [["set", "/x", n]])[0] for n in (1, 2)] == [1, 1]
    assert core.open_replica("main").view == {"x": 2}
    (frame,) = sent([*core.flush_draft()])
    assert (frame["seq"], frame["ops"], frame["base"]) == (1, [["set", "/x", 2]], 0)
    assert [*core.flush_draft()] == []
    assert core.add_update("main", [["set", "/x", 3]])[0] == 2


def test_the_digests_are_of_what_was_there_before_the_first_part() -> None:
    core = gathering()
    core.add_update("main", [["set", "/x", 1]])
    core.add_update("main", [["set", "/x", 2], ["set", "/y", 2]])
    assert next(iter(core.outbox))["replaced"] == {"/x": digest_value(0), "/y": None}


@pytest.mark.parametrize("other", ["document", "strategy", "base", "size"])
def test_another_ground_begins_another_update(other: str) -> None:
    core = gathering(limits={"ops": 2})
    core.add_update("main", [["set", "/x", 1]])
    if other == "base":
        run(core, entries("state:main", 1, revision([["set", "/y", 1]])))
    ops = [["set", "/x", 2]] if other != "size" else [["set", "/y", 1], ["set", "/z", 1]]
    seq, effects = core.add_update(
        "prefs" if other == "document" else "main", ops, "reject" if other == "strategy" else None
    )
    assert (seq, [frame["seq"] for frame in sent(effects)]) == (2, [1])


def test_a_publication_goes_behind_what_gathers() -> None:
    core = gathering()
    core.add_update("main", [["set", "/x", 1]])
    _, effects = core.add_write({"type": "publish", "topic": "a", "data": 1})
    assert [frame["type"] for frame in sent(effects)] == ["update", "publish"]


def test_a_reconnect_sends_what_was_sent_and_goes_on_gathering() -> None:
    core = gathering()
    core.add_update("main", [["set", "/x", 1]])
    run_all = sent([*core.flush_draft()])
    core.add_update("main", [["set", "/x", 2]])
    core.mark_disconnected()
    again = sent(run(core, connected(generation=2)))
    assert again == run_all
    assert [frame["seq"] for frame in sent([*core.flush_draft()])] == [2]


def test_a_refused_update_takes_all_its_parts_back() -> None:
    core = gathering()
    core.add_update("main", [["set", "/x", 1]])
    core.add_update("main", [["set", "/y", 1]])
    [*core.flush_draft()]
    run(core, no(1, "conflict", temporary=False))
    assert core.open_replica("main").view == {"x": 0}


# -- the shell ---------------------------------------------------------------------------------------------------------


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with fake_server() as running:
        yield running


async def joined(server: FakeServer, sync: Sync) -> tuple[SessionClient, Peer]:
    starting = asyncio.create_task(SessionClient.start(server.url, token="sma_test", sync=sync))
    peer = await server.accept()
    await peer.welcome()
    client = await starting
    await peer.send(snapshot("state:main", 0, {}))
    return client, peer


async def test_one_receipt_answers_all_that_gathered(server: FakeServer) -> None:
    client, peer = await joined(server, Sync("delayed", delay=0.01))
    answers = [client.state.set("/x", n) for n in range(3)]
    update = await peer.receive("update")
    assert (update["seq"], update["ops"]) == (1, [["set", "/x", 2]])
    await peer.send({"type": "receipt", "seq": 1, "ok": True, "position": ["e1", 1, "t1"]})
    assert {tuple((await answer)["position"]) for answer in answers} == {("e1", 1, "t1")}
    await client.close()


async def test_one_refusal_refuses_all_that_gathered(server: FakeServer) -> None:
    client, peer = await joined(server, Sync("delayed", delay=600))
    answers = [client.state.set("/x", n) for n in range(2)]
    client.flush()
    await peer.receive("update")
    error = {"code": 240, "name": "conflict", "temporary": False}
    await peer.send({"type": "receipt", "seq": 1, "ok": False, "error": error})
    for answer in answers:
        with pytest.raises(Refused, match="conflict"):
            await answer
    await client.close()


async def test_the_longest_wait_ends_it_however_many_follow(server: FakeServer) -> None:
    client, peer = await joined(server, Sync("delayed", delay=600, max_delay=0.01))
    client.state.set("/x", 1)
    assert (await peer.receive("update"))["ops"] == [["set", "/x", 1]]
    await client.close()


async def test_flushed_and_close_send_what_gathers(server: FakeServer) -> None:
    client, peer = await joined(server, Sync("delayed", delay=600, max_delay=600))
    client.state.set("/x", 1)
    waiting = asyncio.create_task(client.flushed())
    await peer.receive("update")
    await peer.send({"type": "receipt", "seq": 1, "ok": True})
    await waiting
    client.state.set("/x", 2)
    closing = asyncio.create_task(client.close())
    assert (await peer.receive("update"))["seq"] == 2
    await peer.receive("disconnect")
    await peer.close(1000)
    await closing


def test_a_mode_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="immediate or delayed"):
        Sync("sometimes")  # type: ignore[arg-type]
