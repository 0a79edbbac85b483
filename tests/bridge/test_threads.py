"""Threads of the bridge take turns between sessions."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError, connection

from session_mgmt.bridge import threads as module
from session_mgmt.bridge.threads import STOP_SECONDS, Threads, join_threads

PATIENCE = 60.0


@pytest.fixture
def one() -> Iterator[Threads]:
    threads = Threads("test", 1)
    yield threads
    threads.close()


def test_one_with_many_jobs_does_not_hold_up_the_others(one: Threads) -> None:
    done: list[str] = []
    begun, go = threading.Event(), threading.Event()

    def first() -> None:
        begun.set()
        assert go.wait(PATIENCE)
        done.append("greedy 0")

    futures = [one.submit(first, "greedy")]
    assert begun.wait(PATIENCE)
    futures += [one.submit(lambda number=number: done.append(f"greedy {number}"), "greedy") for number in (1, 2)]
    futures.append(one.submit(lambda: done.append("modest"), "modest"))
    go.set()
    for future in futures:
        future.result(PATIENCE)
    assert done == ["greedy 0", "modest", "greedy 1", "greedy 2"]


def test_jobs_of_one_key_never_run_at_the_same_time() -> None:
    several = Threads("test", 4)
    running, most, lock = [0], [0], threading.Lock()

    def work() -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        other.submit(lambda: None).result(PATIENCE)
        with lock:
            running[0] -= 1

    other = Threads("test", 1)
    for future in [several.submit(work, "key") for _ in range(20)]:
        future.result(PATIENCE)
    several.close()
    other.close()
    assert most == [1]


def test_jobs_without_a_key_run_side_by_side() -> None:
    several = Threads("test", 3)
    barrier = threading.Barrier(3, timeout=PATIENCE)
    for future in [several.submit(barrier.wait) for _ in range(3)]:
        future.result(PATIENCE)
    several.close()


def test_an_error_reaches_who_asked_and_a_cancelled_job_does_not_run(one: Threads) -> None:
    begun, go = threading.Event(), threading.Event()
    held = one.submit(lambda: (begun.set(), go.wait(PATIENCE)))
    assert begun.wait(PATIENCE)
    ran: list[int] = []
    cancelled, failing = one.submit(lambda: ran.append(1)), one.submit(lambda: 1 // 0)
    assert cancelled.cancel()
    go.set()
    held.result(PATIENCE)
    with pytest.raises(ZeroDivisionError):
        failing.result(PATIENCE)
    assert ran == [] and one.waiting == 0


@pytest.mark.parametrize("end", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_job_that_quits_is_an_error_for_who_asked_and_the_thread_goes_on(
    one: Threads, end: type[BaseException]
) -> None:
    def quit_program() -> None:
        raise end

    with pytest.raises(RuntimeError, match=end.__name__):
        one.submit(quit_program).result(30)
    assert one.submit(lambda: "next").result(30) == "next"


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_job_after_one_that_hid_a_lost_connection_has_a_new_one(one: Threads) -> None:
    def lose_connection() -> None:
        with contextlib.suppress(OperationalError), connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    def ask_database() -> Any:
        with connection.cursor() as cursor:
            return cursor.execute("SELECT 1").fetchone()

    one.submit(lose_connection).result(PATIENCE)
    assert one.submit(ask_database).result(PATIENCE) == (1,)


def test_threads_that_hang_are_waited_for_together_and_not_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, waited = [5.0], []

    class Hanging(threading.Thread):
        def join(self, timeout: float | None = None) -> None:
            assert timeout is not None
            waited.append(timeout)
            now[0] += timeout

    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    join_threads([Hanging() for _ in range(8)])
    assert waited == [STOP_SECONDS, *[0.0] * 7]
    join_threads([Hanging()], now[0] - 1.0)
    assert waited[8:] == [0.0]
