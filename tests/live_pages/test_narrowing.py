"""The conditions of a query set are read back: as topic, as filters that a client can judge, or as others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from django.db import models
from django.db.models import F, Q, QuerySet
from django.test.utils import isolate_apps

from session_mgmt.pagination import collations
from session_mgmt.pagination.narrowing import Narrowing, read_narrowing
from session_mgmt.pagination.ordering import make_ordering
from session_mgmt.publishing import get_publisher, publishes
from tests.shop.models import Customer, Order

pytestmark = [pytest.mark.sqlite, pytest.mark.django_db]
MOMENT = datetime(2026, 1, 2, tzinfo=UTC)
OF_ANN = Order.objects.filter(customer=7)
JUDGED: list[tuple[Any, dict[str, Any]]] = [
    (Q(), {}),
    (Q(status="open"), {"status": "open"}),
    (Q(status="open") & Q(total=Decimal("1.50")), {"status": "open", "total": "1.50"}),
    (Q(status__in=["a", None]), {"status": "a"}),
    (Q(total__in=[1, 2]), {"total": {"in": ["1.00", "2.00"]}}),
    (Q(total=0.1) & Q(pk=3), {"total": "0.10", "id": 3}),
    (Q(total=Decimal("-0")), {"total": "0.00"}),
    (Q(status__in=[]), {"status": {"in": []}}),
    (Q(created=None), {"created": None}),
    (Q(created__isnull=True), {"created": None}),
    (Q(created=MOMENT), {"created": "2026-01-02T00:00:00.000000Z"}),
    (Q(pk=3), {"id": 3}),
]
OTHERS: list[Any] = [
    ~Q(status="open"),
    Q(status="open") | Q(total=1),
    Q(status__iexact="open"),
    Q(status__contains="o"),
    Q(total__gt=1),
    Q(total=Decimal("1.505")),
    Q(total__in=[1, Decimal("1e40")]),
    Q(created__year=2026),
    Q(created__isnull=False),
    Q(courier=1),
    Q(customer__name="Ann"),
    Q(customer__name="Ann", tags=1),
    Q(status=F("status")),
    Q(status="open") & Q(status="paid"),
    Q(status__in=[str(number) for number in range(51)]),
    Q(pk__in=Order.objects.filter(status="open")),
    Q(pk__in=Order.objects.filter(status="open").values("pk")),
]


def read(queryset: QuerySet[Any], topic: str | None = None) -> Narrowing:
    publisher = get_publisher(queryset.model)
    assert publisher is not None
    return read_narrowing(queryset, publisher, topic)


@pytest.mark.parametrize(("condition", "filters"), JUDGED, ids=range(len(JUDGED)))
def test_a_client_judges_values_of_keys(condition: Q, filters: dict[str, Any]) -> None:
    assert read(OF_ANN.filter(condition)) == Narrowing("orders:7", filters, False)


@pytest.mark.parametrize("condition", OTHERS, ids=range(len(OTHERS)))
def test_only_the_server_judges_the_rest(condition: Q) -> None:
    assert read(OF_ANN.filter(condition)).has_others


def test_values_of_filters_are_written_as_publications_write_those_of_rows() -> None:
    values = {"status": "open", "total": "9.5", "created": datetime(2026, 1, 2, 1, tzinfo=timezone(timedelta(hours=1)))}
    made = Order.objects.create(customer_id=Customer.objects.create().pk, **values)
    publisher = get_publisher(Order)
    assert publisher is not None
    (row,) = Order.objects.filter(**values)
    assert read(OF_ANN.filter(**values, pk=str(made.pk))).filters == publisher.key_of(row)


def test_the_topic_is_that_of_all_rows_or_none() -> None:
    for queryset in (
        Order.objects.all(),
        Order.objects.filter(customer__in=[1, 2]),
        Order.objects.filter(customer=None),
    ):
        assert read(queryset).topic is None
    assert read(Order.objects.filter(customer__in=[7])).topic == "orders:7"
    assert read(Order.objects.filter(customer_id=7)).topic == "orders:7"
    assert read(Order.objects.all(), "orders:all") == Narrowing("orders:all", {}, False)
    assert read(OF_ANN.union(OF_ANN)).has_others and read(OF_ANN.none()).has_others


@isolate_apps("tests.shop")
def test_texts_that_are_not_compared_by_bytes_are_left_to_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    @publishes("words:{id}", serializer=lambda row: {}, keys=("word", "code", "plain"))
    class Word(models.Model):
        word = models.CharField(max_length=9, db_collation="NOCASE")
        code = models.CharField(max_length=9, db_collation="BINARY")
        plain = models.CharField(max_length=9)

        class Meta:
            app_label = "shop"

    narrowing = read(Word.objects.filter(word="a", code="b", plain="c"))
    assert (narrowing.filters, narrowing.has_others) == ({"code": "b", "plain": "c"}, True)

    def kinds() -> list[str]:
        made = make_ordering(Word, ["word", "code", "plain"], get_publisher(Word), "default")
        return [term.kind for term in made.terms]

    assert kinds() == ["unknown", "text", "text", "number"]
    # A database of another locale orders its texts by that, and still takes equal bytes alone for equal.
    monkeypatch.setattr(collations, "_is_database_by_bytes", lambda using: False)
    assert kinds() == ["unknown", "text", "unknown", "number"]
    assert read(Word.objects.filter(plain="c")).filters == {"plain": "c"}
