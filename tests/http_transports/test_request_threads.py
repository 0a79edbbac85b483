"""Threads for calls that pass through Django: used again by later calls, and never by two at once."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import httpx
import pytest
from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.test import override_settings
from django.urls import include, path

from session_mgmt.api.connections import CallView
from session_mgmt.consumers import http_application, request_threads
from session_mgmt.consumers.request_threads import RequestThreads

pytestmark = pytest.mark.sqlite
PATIENCE = 60.0
urlpatterns = [path("other/", include("session_mgmt.urls"))]


async def find_thread(threads: RequestThreads) -> int:
    """Return the thread of a request; Django's handler enters a context of its own inside."""
    async with threads.lend(), ThreadSensitiveContext():
        first = await sync_to_async(threading.get_ident)()
        assert await sync_to_async(threading.get_ident)() == first
        return int(first)


async def wait_for_idle(threads: RequestThreads, count: int) -> None:
    while len(threads._idle) != count:
        await asyncio.sleep(0)


async def test_the_thread_of_a_request_serves_the_next_one() -> None:
    threads = RequestThreads()
    first = await find_thread(threads)
    await wait_for_idle(threads, 1)
    assert await find_thread(threads) == first != threading.get_ident()
    await wait_for_idle(threads, 1)


async def test_a_thread_whose_client_has_left_serves_nobody_until_its_work_is_done() -> None:
    threads, begun, end = RequestThreads(), threading.Event(), threading.Event()

    def work() -> int:
        begun.set()
        end.wait(2 * PATIENCE)
        return threading.get_ident()

    async def serve() -> None:
        async with threads.lend():
            await sync_to_async(work)()

    request = asyncio.create_task(serve())
    while not begun.is_set():
        await asyncio.sleep(0)
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    try:
        assert not threads._idle
        # It would wait behind the work.
        await asyncio.wait_for(find_thread(threads), PATIENCE)
        await wait_for_idle(threads, 1)
    finally:
        end.set()
    await wait_for_idle(threads, 2)


async def test_few_threads_are_kept_after_a_storm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_threads, "MOST_IDLE", 2)
    threads, meeting = RequestThreads(), threading.Barrier(5)

    async def serve() -> threading.Thread:
        async with threads.lend():
            await sync_to_async(meeting.wait)(PATIENCE)
            return await sync_to_async(threading.current_thread)()

    used = await asyncio.gather(*(serve() for _ in range(5)))
    assert len(set(used)) == 5
    while sum(thread.is_alive() for thread in used) > 2:
        await asyncio.sleep(0)
    assert len(threads._idle) == 2


async def test_older_versions_of_asgiref_lend_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_threads, "_CAN_LEND", False)
    threads = RequestThreads()
    assert await find_thread(threads) != threading.get_ident()
    assert not threads._idle


@pytest.mark.django_db(transaction=True)
async def test_calls_pass_through_djangos_middleware_on_a_thread_that_is_lent(
    tabs: Any, created: Any, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(CallView, "answer", note_thread(seen))
    tab = tabs(created.token.secret)
    await tab.attach({})
    await tab.exchange({"type": "ping", "id": 1})
    assert len(seen) == 2 and all(name.startswith("session_mgmt-request") for name in seen)


def test_polls_are_found_by_the_urls_that_count_now() -> None:
    assert http_application._is_poll({"path": "/api/connections/poll/"})
    assert not http_application._is_poll({"path": "/other/connections/poll/"})
    with override_settings(ROOT_URLCONF=__name__):
        assert not http_application._is_poll({"path": "/api/connections/poll/"})
        assert http_application._is_poll({"path": "/other/connections/poll/"})


def note_thread(seen: list[str]) -> Any:
    original = CallView.answer

    def answer(self: Any, request: Any, **more: Any) -> Any:
        seen.append(threading.current_thread().name)
        return original(self, request, **more)

    return answer
