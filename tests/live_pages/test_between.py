"""Whatever is committed while a page is read: nothing is missed, and with the mixin the page is of one moment."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import NotSupportedError, connection, transaction

from session_mgmt.actions.topics import snapshots
from session_mgmt.pagination.paginator import LiveCursorPagination
from session_mgmt.shortcuts import create_session, drain
from tests.live_pages.client import Client
from tests.live_pages.reading import ExactOrderList, OrderList, Visitor, deliver
from tests.shop import models as shop
from tests.shop.serializers import OrderSerializer

pytestmark = pytest.mark.django_db(transaction=True)
# Each is followed by what is read next: the places, the rows, what is prefetched, and what the serializer reads.
STEPS = [(snapshots, "find_places"), (LiveCursorPagination, "_find"), (LiveCursorPagination, "_tell_live")]
STEPS += [(OrderList, "get_queryset"), (OrderSerializer, "to_representation")]


@pytest.fixture
def customer() -> shop.Customer:
    made = shop.Customer.objects.create(name="Ann")
    tag = shop.Tag.objects.create(name="t")
    for number in range(3):
        shop.Order.objects.create(customer=made, total=number).tags.add(tag)
    drain()
    return made


def commit_elsewhere(customer: shop.Customer) -> None:
    """Commit changes of all kinds on another connection, and leave them in the outbox."""

    def commit() -> None:
        try:
            with transaction.atomic():
                first, second, *_ = shop.Order.objects.filter(customer=customer).order_by("pk")
                first.tags.clear()
                second.total = 7
                second.save()
                shop.Order.objects.create(customer=customer, total=1)
                shop.Order.objects.filter(customer=customer).order_by("-pk")[0].delete()
                shop.Order.objects.create(customer=customer, total=2)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as threads:
        threads.submit(commit).result()


def show(customer: shop.Customer) -> list[Any]:
    rows = shop.Order.objects.filter(customer=customer).order_by("-total", "pk")
    return [dict(row) for row in OrderSerializer(rows, many=True).data]


def commit_once_before(monkeypatch: pytest.MonkeyPatch, owner: Any, step: str, commit: Callable[[], None]) -> list[int]:
    """Commit before the first call of a step."""
    original, calls = getattr(owner, step), []

    def commit_first(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            commit()
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, step, commit_first)
    return calls


@pytest.mark.parametrize("view", [ExactOrderList, OrderList])
@pytest.mark.parametrize(("owner", "step"), STEPS, ids=lambda value: value if isinstance(value, str) else "")
def test_nothing_is_missed(
    owner: Any, step: str, view: Any, customer: shop.Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor = Visitor(create_session().token.secret, view=view, customer=customer.pk)
    before = show(customer)
    calls = commit_once_before(monkeypatch, owner, step, lambda: commit_elsewhere(customer))
    page = visitor.read(ordering="-total", page_size=10)
    assert calls
    monkeypatch.undo()
    is_exact = view is ExactOrderList
    assert page["live"]["exact"] == is_exact
    if is_exact:
        # Of one moment: before the commit, or behind all of it.
        assert page["results"] in (before, show(customer))
        assert (page["live"]["position"][1] == 3 + 3) == (page["results"] == before)
    client = Client(page)
    drain()
    deliver(client, f"orders:{customer.pk}")
    assert client.rows == show(customer)


def test_inside_a_transaction_of_the_project_a_page_is_not_exact(customer: shop.Customer) -> None:
    visitor = Visitor(create_session().token.secret, customer=customer.pk)
    with transaction.atomic():
        page = visitor.read(ordering="-total")
        assert not page["live"]["exact"] and page["results"] == show(customer)


class ListThatWrites(ExactOrderList):
    def get_queryset(self) -> Any:
        shop.Tag.objects.create(name="seen")
        return super().get_queryset()


def test_a_view_that_writes_while_its_page_is_read_is_a_fault_and_no_outage(customer: shop.Customer) -> None:
    visitor = Visitor(create_session().token.secret, view=ListThatWrites, customer=customer.pk)
    with pytest.raises(NotSupportedError, match="LivePages"):
        visitor.ask()
