"""A change and what is told of it come together, and of two that meet at one row the later one tells the end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, transaction

from session_mgmt.bridge import bridge
from session_mgmt.models import Outbox
from session_mgmt.publishing import changes
from tests.publishing.conftest import take_publications
from tests.shop.models import Customer, Order, Tag


@pytest.fixture(autouse=True)
def kept_outbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave in the outbox what a commit puts there; nobody takes it but the test."""
    monkeypatch.setattr(bridge(), "nudge", lambda: None)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("change", ["save", "update", "delete", "query", "create"])
def test_neither_is_there_if_the_program_ends_in_between(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = Customer.objects.create(name="Ann")
    order = Order.objects.create(customer=ann)
    take_publications()

    def end(*_: Any) -> None:
        assert not connection.get_autocommit(), "the row is not committed yet"
        raise SystemExit

    monkeypatch.setattr(changes, "publish_all", end)
    order.status = "paid"
    calls: dict[str, Callable[[], Any]] = {
        "save": order.save,
        "update": lambda: Order.objects.update(status="paid"),
        "delete": order.delete,
        "query": Order.objects.all().delete,
        "create": lambda: Order.objects.bulk_create([Order(customer=ann)]),
    }
    with pytest.raises(SystemExit):
        calls[change]()
    assert list(Order.objects.values_list("pk", "status")) == [(order.pk, "open")]
    assert not Outbox.objects.exists()


def run_apart(change: Callable[[], Any]) -> Any:
    """Make a change on this thread's own connection."""
    try:
        return change()
    finally:
        connection.close()


def wait_until_blocked(started: Future[Any]) -> None:
    """Wait until another connection waits for a lock of this one."""
    pause = threading.Event()
    for _ in range(6000):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT COUNT(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
            )
            if cursor.fetchone()[0]:
                return
        assert not started.done(), "it did not wait for the other one"
        pause.wait(0.01)
    raise AssertionError("it waits for nothing")


def meet(first: Callable[[], Any], second: Callable[[], Any]) -> list[tuple[str, dict[str, Any]]]:
    """Make the second change wait for the first one's row; return what the second one tells."""
    with ThreadPoolExecutor(1) as threads:
        with transaction.atomic():
            first()
            started = threads.submit(run_apart, second)
            wait_until_blocked(started)
            mine = Outbox.objects.count()
        started.result(60)
    return take_publications()[mine:]


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("way", ["update", "save", "delete", "query"])
def test_a_row_leaves_the_topic_where_the_other_has_put_it(way: str) -> None:
    ann, bob, eve = (Customer.objects.create(name=name) for name in ("Ann", "Bob", "Eve"))
    order = Order.objects.create(customer=ann)
    take_publications()
    pk = str(order.pk)
    calls: dict[str, Callable[[], Any]] = {
        "update": lambda: Order.objects.filter(pk=pk).update(customer=eve),
        "save": lambda: Order(pk=order.pk, customer=eve).save(),
        "delete": lambda: Order.objects.get(pk=pk).delete(),
        "query": lambda: Order.objects.filter(pk=pk).delete(),
    }
    told = meet(lambda: Order.objects.filter(pk=pk).update(customer=bob), calls[way])
    gone = [(f"orders:{bob.pk}", "del", pk)]
    shown = [(f"orders:{eve.pk}", "put", pk)] if way in ("update", "save") else []
    assert [(topic, body["op"], body["pk"]) for topic, body in told] == gone + shown


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_of_two_that_add_to_one_row_the_later_one_tells_of_both() -> None:
    order = Order.objects.create(customer=Customer.objects.create(name="Ann"))
    one, other = Tag.objects.create(name="a"), Tag.objects.create(name="b")
    take_publications()
    ((_, body),) = meet(lambda: order.tags.add(one), lambda: Order.objects.get().tags.add(other))
    assert sorted(body["row"]["tags"]) == [one.pk, other.pk]
