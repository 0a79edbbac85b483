"""Watch which threads hold database connections: PostgreSQL drops no test database that somebody still uses.

Only the main thread and the app's own threads, which `bridge().close()` ends, may keep one beyond a test.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from asgiref.sync import SyncToAsync
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

OF_THE_APP = "session_mgmt"
_opened: weakref.WeakKeyDictionary[BaseDatabaseWrapper, threading.Thread] = weakref.WeakKeyDictionary()


@contextmanager
def watching() -> Iterator[None]:
    """Note who opens connections, and let threads of tests close theirs at their end. The app's must do so alone."""
    connect, run = BaseDatabaseWrapper.connect, threading.Thread.run

    def connect_and_note(wrapper: BaseDatabaseWrapper) -> None:
        connect(wrapper)
        _opened[wrapper] = threading.current_thread()

    def run_and_close(thread: threading.Thread) -> None:
        try:
            run(thread)
        finally:
            if not thread.name.startswith(OF_THE_APP):
                connections.close_all()

    BaseDatabaseWrapper.connect = connect_and_note  # type: ignore[method-assign, assignment]
    threading.Thread.run = run_and_close  # type: ignore[method-assign, assignment]
    yield
    BaseDatabaseWrapper.connect, threading.Thread.run = connect, run  # type: ignore[method-assign]


@contextmanager
def thread_of_async_code() -> Iterator[None]:
    """Give asgiref a thread that ends: the one on which it runs all sync code lives, connected, as long as the process.

    Nobody closes a connection there as a request does at its end, when a test awaits `acreate_session` or `aget`.
    """
    before: Any = SyncToAsync.single_thread_executor
    with ThreadPoolExecutor(max_workers=1) as own:
        SyncToAsync.single_thread_executor = own
        yield
    SyncToAsync.single_thread_executor = before


def list_held(*, by_app: bool) -> list[str]:
    """Return the names of threads beside the main one that hold a connection; those of the app only if asked for."""
    holders = [thread for wrapper, thread in list(_opened.items()) if wrapper.connection is not None]
    return sorted(
        thread.name
        for thread in holders
        if thread is not threading.main_thread() and (by_app or not thread.name.startswith(OF_THE_APP))
    )
