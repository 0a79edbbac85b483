"""The lock of SQLite's only writer: our transactions look for it often, and no longer than the project allows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext

import pytest
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext

from session_mgmt.conf import settings
from session_mgmt.models import isolation, outages
from session_mgmt.models.isolation import LOOK_MILLISECONDS, open_transaction
from session_mgmt.models.late_transaction import open_late_transaction

pytestmark = [pytest.mark.sqlite, pytest.mark.django_db(transaction=True)]

PATIENCE = 60.0


def read_timeout() -> int:
    return int(connection.connection.execute("PRAGMA busy_timeout").fetchone()[0])


class Holder:
    """Thread that holds the lock until it is told to let go."""

    def __init__(self) -> None:
        self._holds, self._let_go = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._hold)

    def _hold(self) -> None:
        try:
            with transaction.atomic(using=settings().database):
                self._holds.set()
                self._let_go.wait(PATIENCE)
        finally:
            connection.close()

    def __enter__(self) -> Holder:
        self._thread.start()
        assert self._holds.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go()
        self._thread.join(PATIENCE)

    def let_go(self) -> None:
        self._let_go.set()


def open_at_once() -> None:
    with open_transaction(settings().database):
        assert connection.in_atomic_block and read_timeout() > LOOK_MILLISECONDS


def open_late() -> None:
    with open_late_transaction(settings().database, nullcontext()) as late:
        late.begin()
        assert read_timeout() > LOOK_MILLISECONDS


@pytest.mark.parametrize("open_", [open_at_once, open_late])
def test_a_lock_that_is_held_is_looked_for_again_and_again(
    open_: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.ensure_connection()
    waited: list[int] = []
    with Holder() as holder, CaptureQueriesContext(connection) as caught:

        def let_go_soon(error: BaseException) -> bool:
            waited.append(read_timeout())
            if len(waited) == 3:
                holder.let_go()
            return outages.is_lock_timeout(error)

        monkeypatch.setattr(isolation, "is_lock_timeout", let_go_soon)
        open_()
    assert len(waited) >= 3 and set(waited) == {LOOK_MILLISECONDS}
    # Whoever counts statements counts one.
    assert [query["sql"] for query in caught].count("BEGIN IMMEDIATE") == 1


def test_no_longer_than_the_project_allows() -> None:
    connection.ensure_connection()
    connection.connection.execute("PRAGMA busy_timeout = 20")
    try:
        with Holder(), pytest.raises(OperationalError) as caught:
            open_at_once()
        assert outages.is_lock_timeout(caught.value)
        assert read_timeout() == 20 and not connection.in_atomic_block
    finally:
        connection.close()
