"""Several database sessions at once, in step."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

from django.db import connection, transaction

PATIENCE = 60.0


class Held:
    """A transaction of somebody else that stays open until it is told to end."""

    def __init__(self, work: Callable[[], Any], *, commit: bool) -> None:
        self._begun, self._end = Event(), Event()
        self._pool = ThreadPoolExecutor(1)
        self._done: Future[None] = self._pool.submit(self._hold, work, commit)
        assert self._begun.wait(PATIENCE)

    def _hold(self, work: Callable[[], Any], commit: bool) -> None:
        try:
            with transaction.atomic():
                work()
                self._begun.set()
                assert self._end.wait(PATIENCE)
                transaction.set_rollback(not commit)
        finally:
            self._begun.set()
            connection.close()

    def end(self) -> None:
        self._end.set()
        self._done.result(PATIENCE)
        self._pool.shutdown()


@contextmanager
def held(work: Callable[[], Any], *, commit: bool = True) -> Any:
    """Hold a transaction open for the length of a block."""
    holding = Held(work, commit=commit)
    try:
        yield holding
    finally:
        holding.end()


def together(*works: Callable[[], Any]) -> list[Any]:
    """Run all at once, each on a database connection of its own."""

    def one(work: Callable[[], Any]) -> Any:
        try:
            return work()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(works)) as pool:
        return [future.result(PATIENCE * 2) for future in [pool.submit(one, work) for work in works]]
