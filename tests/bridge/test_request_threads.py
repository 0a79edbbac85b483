"""Threads of requests: each serves one at a time, none waits for another, and few stay."""

from __future__ import annotations

import threading
from concurrent.futures import wait
from time import monotonic

import pytest

from session_mgmt.bridge import request_threads
from session_mgmt.bridge.request_threads import RequestThreads

pytestmark = pytest.mark.sqlite
PATIENCE = 60.0


def wait_for_idle(threads: RequestThreads, count: int) -> None:
    pause, give_up = threading.Event(), monotonic() + PATIENCE
    while threads._idle != count:
        assert monotonic() < give_up
        pause.wait(0.001)


def test_a_thread_serves_the_next_request_when_it_is_free() -> None:
    threads = RequestThreads("one")
    first = threads.submit(threading.get_ident).result(PATIENCE)
    wait_for_idle(threads, 1)
    assert threads.submit(threading.get_ident).result(PATIENCE) == first != threading.get_ident()
    wait_for_idle(threads, 1)
    threads.close()


def test_requests_that_wait_for_each_other_all_go_on_and_few_threads_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_threads, "MOST_IDLE", 2)
    threads, meeting = RequestThreads("many"), threading.Barrier(5)

    def meet() -> threading.Thread:
        meeting.wait(PATIENCE)
        return threading.current_thread()

    futures = [threads.submit(meet) for _ in range(5)]
    used = [future.result(PATIENCE) for future in futures]
    wait_for_idle(threads, 2)
    threads.close()
    for thread in used:
        thread.join(PATIENCE)
    assert len(set(used)) == 5 and not any(thread.is_alive() for thread in used)
    with pytest.raises(RuntimeError):
        threads.submit(meet)


def test_an_error_is_the_requests_own() -> None:
    threads = RequestThreads("wrong")
    failed = threads.submit(lambda: 1 / 0)
    wait([failed], PATIENCE)
    assert isinstance(failed.exception(), ZeroDivisionError)
    wait_for_idle(threads, 1)
    assert threads.submit(lambda: 7).result(PATIENCE) == 7
    wait_for_idle(threads, 1)
    threads.close()


def test_a_thread_that_nobody_needs_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_threads, "IDLE_SECONDS", 0.0)
    threads = RequestThreads("short")
    threads.submit(threading.current_thread).result(PATIENCE).join(PATIENCE)
    assert threads._idle == 0
    # A job that is queued for a thread just when it leaves is done all the same.
    assert [threads.submit(lambda: 7).result(PATIENCE) for _ in range(200)] == [7] * 200
    threads.close()
