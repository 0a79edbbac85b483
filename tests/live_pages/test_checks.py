"""A view whose pages cannot be what they promise is told at start, with a hint."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection, transaction
from django.utils.decorators import method_decorator
from rest_framework.filters import OrderingFilter
from rest_framework.generics import ListAPIView
from rest_framework.pagination import PageNumberPagination
from rest_framework.serializers import ModelSerializer

from session_mgmt.pagination import LiveCursorPagination, LivePages, checks
from tests.live_pages.reading import ExactOrderList, OrderList
from tests.shop.models import Order

pytestmark = pytest.mark.sqlite


class Fine(ExactOrderList):
    queryset = Order.objects.all()


class SparseSerializer(ModelSerializer[Order]):
    class Meta:
        model = Order
        fields = ("id", "total")


@method_decorator(transaction.non_atomic_requests, name="dispatch")
class OutsideTransactions(Fine):
    pass


# No view, so that no other test's check finds it.
class OtherPages(LivePages):
    pagination_class = PageNumberPagination


class Replica:
    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "replica"


def told(monkeypatch: pytest.MonkeyPatch, *views: Any) -> list[tuple[str, str]]:
    monkeypatch.setattr(checks, "_iter_subclasses", lambda class_: views)
    return [(str(one.id), f"{one.msg} {one.hint}") for one in checks.check_live_pages()]


def test_views_are_found_and_fine() -> None:
    assert {Fine, OrderList} <= set(checks._iter_subclasses(ListAPIView))
    assert checks.check_live_pages() == []


def test_a_page_of_another_class_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    ((id_, text),) = told(monkeypatch, OtherPages, Fine)
    assert id_ == "session_mgmt.W022" and "OtherPages" in text and LiveCursorPagination.__name__ in text


def test_a_view_in_a_transaction_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    ((_, text),) = told(monkeypatch, Fine, OutsideTransactions, OrderList)
    assert "Fine" in text and "non_atomic_requests" in text


def test_a_view_that_reads_elsewhere_is_told(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.DATABASE_ROUTERS = [Replica()]
    ((_, text),) = told(monkeypatch, Fine, OrderList)
    assert "'replica'" in text and ".using('default')" in text
    monkeypatch.setattr(Fine, "queryset", Order.objects.using("default"))
    assert told(monkeypatch, Fine) == []


@pytest.mark.parametrize(("orders", "hidden"), [(["courier"], "courier"), (["created", "-pk"], ""), ("__all__", "")])
def test_an_order_that_only_an_encrypted_cursor_may_hold_is_told_without_the_package(
    monkeypatch: pytest.MonkeyPatch, orders: Any, hidden: str
) -> None:
    monkeypatch.setattr(Fine, "serializer_class", SparseSerializer)
    monkeypatch.setattr(Fine, "ordering_fields", orders)
    assert told(monkeypatch, Fine) == []
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    found = [text for _, text in told(monkeypatch, Fine)]
    assert len(found) == bool(hidden) and all(f"orders by {hidden}," in text and "[crypto]" in text for text in found)
    monkeypatch.setattr(Fine, "serializer_class", ExactOrderList.serializer_class)
    assert told(monkeypatch, Fine) == []


class ForRequests(SparseSerializer):
    """Shows fields by the request, as many do."""

    def get_fields(self) -> Any:
        return super().get_fields() if self.context["request"].user else {}


def test_a_serializer_that_needs_a_request_ends_no_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fine, "serializer_class", ForRequests)
    monkeypatch.setattr(Fine, "ordering_fields", ["courier"])
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    assert told(monkeypatch, Fine) == []


@pytest.mark.parametrize(
    ("members", "name"),
    [
        ({"queryset": Order.objects.order_by("customer__name")}, "customer__name"),
        ({"pagination_class": type("ByTags", (LiveCursorPagination,), {"ordering": ("-total", "tags")})}, "tags"),
        ({"ordering": "nosuch", "filter_backends": [OrderingFilter]}, "nosuch"),
        ({"ordering_fields": ["total", ("nosuch", "Label")], "filter_backends": [OrderingFilter]}, "nosuch"),
        # Without a filter nobody reads them.
        ({"ordering": "nosuch", "ordering_fields": "__all__", "filter_backends": []}, ""),
    ],
)
def test_an_ordering_that_no_page_can_have_is_told(
    monkeypatch: pytest.MonkeyPatch, members: dict[str, Any], name: str
) -> None:
    for member, value in members.items():
        monkeypatch.setattr(Fine, member, value, raising=False)
    texts = [text for _, text in told(monkeypatch, Fine) if "ordering" in text]
    assert [f"'{name}'" in text for text in texts] == [True] * bool(name)
