"""Nothing is left between two tests: no row beside those of `migrate`, and no thread with a database connection."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection

from session_mgmt.models import ClientSession
from session_mgmt.shortcuts import acreate_session, create_session, publish
from tests.emptying import NEVER_EMPTIED, Emptier
from tests.held_connections import list_held, thread_of_async_code

pytestmark = pytest.mark.django_db(transaction=True)


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
