"""Client without asyncio: from several threads at once, from its own callbacks, and after its end."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from session_mgmt.client import Refused, Stopped, SyncSessionClient, blocking
from tests.client.fake_server import Peer, entries, fake_server, snapshot

# Few enough that no `ack` comes in between.
WRITERS, WRITES = 4, 5


async def answer_all(peer: Peer) -> None:
    """Take each write, as a server that has one document and nobody else."""
    version = 0
    while True:
        update = await peer.receive("update")
        version += 1
        body = {"ops": update["ops"], "client_id": "c_one", "seq": update["seq"]}
        receipt = {"type": "receipt", "seq": update["seq"], "ok": True, "position": ["e1", version, f"t{version}"]}
        await peer.send(entries("state:main", version, body), receipt)


async def use(
    work: Callable[[SyncSessionClient], Any], serve: Callable[[Peer], Awaitable[None]], **options: Any
) -> Any:
    """Run `work` in a thread against a server that does what `serve` says."""
    async with fake_server() as server:

        def run() -> Any:
            given = {"timeout": 10.0, "token": "sma_test", "transports": ["websocket"], **options}
            with SyncSessionClient(server.url, **given) as client:
                return work(client)

        working = asyncio.create_task(asyncio.to_thread(run))
        peer = await server.accept()
        await peer.welcome()
        await peer.send(snapshot("state:main", 0, {}))
        serving = asyncio.ensure_future(serve(peer))
        try:
            return await working
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


async def test_several_threads_write_and_read_at_once() -> None:
    def work(client: SyncSessionClient) -> Any:
        def write(_: int) -> list[bool]:
            return [client.state.inc("/n")["ok"] for _ in range(WRITES)]

        with ThreadPoolExecutor(WRITERS) as pool:
            oks = [ok for each in pool.map(write, range(WRITERS)) for ok in each]
        return oks, client.state.get("/n"), client.state.version, client.pending

    total = WRITERS * WRITES
    assert await use(work, answer_all) == ([True] * total, total, total, 0)


async def test_a_callback_that_calls_the_client_is_told_so_and_nothing_hangs() -> None:
    def work(client: SyncSessionClient) -> str:
        told: queue.Queue[str] = queue.Queue()

        def call_back(_: Any) -> None:
            with pytest.raises(RuntimeError) as problem:
                client.state.get()
            told.put(str(problem.value))

        unsubscribe = client.state.on("/n", call_back)
        client.state.set("/n", 1)
        unsubscribe()
        client.state.set("/n", 2)
        assert told.qsize() == 1
        return told.get()

    assert await use(work, answer_all) == blocking.OWN_THREAD


async def test_close_in_a_callback_is_refused_and_ends_nothing() -> None:
    told: queue.Queue[str] = queue.Queue()

    def work(client: SyncSessionClient) -> Any:
        def call_back(_: Any) -> None:
            with pytest.raises(RuntimeError) as problem:
                client.close()
            told.put(str(problem.value))

        client.state.on("/n", call_back)
        # While another thread closes the client, as well.
        client.on("stopped", call_back)
        client.state.set("/n", 1)
        return client.state.get("/n")

    assert await use(work, answer_all) == 1
    assert [told.get(), told.get()] == [blocking.OWN_THREAD] * 2


async def test_a_thread_that_waits_for_anything_is_told_that_the_client_was_closed() -> None:
    def work(client: SyncSessionClient) -> BaseException | None:
        begun = threading.Event()

        async def wait(_: Any) -> None:
            begun.set()
            await asyncio.Event().wait()

        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(client.run, wait)
            begun.wait()
            client.close()
            return waiting.exception()

    assert str(await use(work, answer_all, timeout=None)) == blocking.CLOSED


async def test_a_forked_process_is_told_that_the_client_is_not_its_own() -> None:
    def work(client: SyncSessionClient) -> None:
        own, client._thread._process = client._thread._process, -1
        for call in (lambda: client.state.get(), lambda: client.send(1), client.close):
            with pytest.raises(RuntimeError, match="fork"):
                call()
        client._thread._process = own

    await use(work, answer_all)


async def test_a_topic_is_read_in_a_plain_loop_and_left_when_the_loop_ends() -> None:
    left = asyncio.Event()

    async def serve(peer: Peer) -> None:
        asked = await peer.receive("subscribe")
        verdict = {"mode": "up_to_date", "reason": "from_now", "position": ["e1", 3, "t3"]}
        await peer.send({"type": "reply", "id": asked["id"], "verdict": verdict})
        await peer.send(entries("topic:orders:42", 4, "four", "five"))
        await peer.receive("unsubscribe")
        left.set()

    def work(client: SyncSessionClient) -> list[Any]:
        orders = client.topics.iterate("orders:42")
        seen = [next(orders), next(orders)]
        orders.close()
        return seen

    assert await use(work, serve) == ["four", "five"]
    await left.wait()


async def test_a_refusal_and_a_late_answer_are_raised_in_the_thread_that_asked() -> None:
    async def serve(peer: Peer) -> None:
        sent = await peer.receive("send")
        error = {"code": 254, "name": "no_handler", "temporary": False, "message": "…"}
        await peer.send({"type": "receipt", "seq": sent["seq"], "ok": False, "error": error})

    def work(client: SyncSessionClient) -> int:
        with pytest.raises(Refused, match="no_handler"):
            client.send({"do": "checkout"})
        # Only for the one that never comes; again, if the time was over before the write had begun.
        while not client.pending:
            client._thread._patience = 0.05
            with pytest.raises(TimeoutError):
                client.state.set("/late", 1)
            client._thread._patience = None
        return client.pending

    assert await use(work, serve) == 1


async def test_a_program_in_another_thread_is_told_of_the_end_and_the_thread_is_gone(tmp_path: Path) -> None:
    clients: list[SyncSessionClient] = []

    async def serve(peer: Peer) -> None:
        await peer.send({"type": "bye", "code": 4507, "name": "replaced", "reconnect": False})

    def work(client: SyncSessionClient) -> str:
        clients.append(client)
        with pytest.raises(Stopped):
            next(client.messages())
        return client.status

    assert await use(work, serve, storage=tmp_path / "client.json") == "failed"
    [client] = clients
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.state.set("/n", 1)
    assert not client._thread._thread.is_alive()


async def test_presence_is_seen_entered_and_left_without_an_event_loop() -> None:
    since, hall = "2026-11-28T00:00:00.000000Z", "topic:presence:hall"

    async def serve(peer: Peer) -> None:
        asked = await peer.receive("subscribe")
        verdict = {"mode": "up_to_date", "reason": "from_now", "position": ["e1", 3, "t3"]}
        await peer.send({"type": "reply", "id": asked["id"], "verdict": verdict})
        asked = await peer.receive("members")
        answer = {"position": ["e1", 3, "t3"], "count": 1, "members": {"a": {"data": 1, "since": since}}}
        await peer.send({"type": "reply", "id": asked["id"], **answer})
        asked = await peer.receive("enter")
        change = {"count": 2, "joined": {"b": {"data": asked["data"], "since": since}}, "changed": {}, "left": []}
        await peer.send(entries(hall, 4, change), {"type": "reply", "id": asked["id"], "member": "b"})
        asked = await peer.receive("leave")
        await peer.send({"type": "reply", "id": asked["id"]})

    def work(client: SyncSessionClient) -> Any:
        changes: queue.Queue[None] = queue.Queue()
        seen = client.topics.presence("hall")
        before = seen.count, list(seen.members)
        stop = seen.on("change", lambda: changes.put(None))
        member = seen.enter({"name": "Bea"})
        changes.get()
        after = seen.count, seen.members[member].data
        stop()
        seen.leave()
        seen.close()
        return before, member, after

    assert await use(work, serve) == ((1, ["a"]), "b", (2, {"name": "Bea"}))
