"""Nothing is left between two tests: no row beside those of `migrate`, and no thread with a database connection."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import OperationalError, connection
from django.db.backends.base.base import BaseDatabaseWrapper

from session_mgmt.models import ClientSession
from session_mgmt.models.tables import SESSION
from session_mgmt.shortcuts import acreate_session, create_session, publish
from tests.emptying import NEVER_EMPTIED, Emptier
from tests.held_connections import list_held, thread_of_async_code

pytestmark = pytest.mark.django_db(transaction=True)

# Soon enough for a test, and long after rows that nobody holds were deleted.
SHORT_WAIT = {"postgresql": "SET lock_timeout = '50ms'", "sqlite": "PRAGMA busy_timeout = 50"}


def list_permissions() -> list[str]:
    return sorted(Permission.objects.values_list("codename", flat=True))


@pytest.mark.parametrize("spoilt", [False, True], ids=["", "rows of migrate are gone too"])
def test_every_table_is_emptied_but_for_what_migrate_made(spoilt: bool) -> None:
    made = list_permissions()
    with closing(Emptier("default")) as emptier:
        user = get_user_model().objects.create_user("alice")
        user.user_permissions.add(*Permission.objects.all()[:2])
        create_session(user=user, metadata={"tab": 1})
        publish("room:1", 1)
        if spoilt:
            Permission.objects.all().delete()
        emptier.empty()
    for table in set(connection.introspection.django_table_names(only_existing=True)) - NEVER_EMPTIED:
        with connection.cursor() as cursor:
            cursor.execute(f'SELECT COUNT(*) FROM "{table}"')
            assert (table, cursor.fetchone()) == (table, (0,))
    assert list_permissions() == made


class Interrupted(Emptier):
    """Emptier that meets rows of a test which is not over; it waits a moment only, and they are free after that."""

    def __init__(self, blocker: BaseDatabaseWrapper) -> None:
        super().__init__("default")
        self.failures: list[OperationalError] = []
        self._blocker = blocker
        self._ask(SHORT_WAIT[connection.vendor], rows=False)

    def _delete_rows(self) -> None:
        try:
            super()._delete_rows()
        except OperationalError as error:
            self.failures.append(error)
            self._blocker.rollback()
            raise


def test_rows_that_a_test_still_holds_are_emptied_once_they_are_free() -> None:
    create_session()
    blocker = connection.copy()
    with closing(blocker):
        blocker.set_autocommit(False)
        with blocker.cursor() as cursor:
            cursor.execute(f"UPDATE {SESSION} SET tenant = 'other'")
        with closing(Interrupted(blocker)) as emptier:
            emptier.empty()
    assert len(emptier.failures) == 1
    assert not ClientSession.objects.exists()


def test_a_thread_that_keeps_a_connection_is_named_until_it_ends() -> None:
    with ThreadPoolExecutor(1, thread_name_prefix="keeper") as pool:
        pool.submit(ClientSession.objects.count).result()
        assert list_held(by_app=False) == ["keeper_0"]
    assert list_held(by_app=False) == []


async def test_the_thread_of_async_code_ends_with_its_test() -> None:
    with thread_of_async_code():
        await acreate_session()
        assert len(list_held(by_app=False)) == 1
    assert list_held(by_app=False) == []
