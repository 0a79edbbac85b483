"""Every change of a publishing model's rows is told, by whichever call of Django's it is made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import NotSupportedError, connection, transaction
from django.db.models import F, QuerySet, Subquery
from django.test.utils import CaptureQueriesContext

from session_mgmt.exceptions import NumberOutOfRange, PublicationTooLarge
from session_mgmt.models import Outbox
from session_mgmt.protocol.patterns import compile_pattern
from session_mgmt.publishing import get_publisher
from session_mgmt.publishing.publisher import set_publisher
from tests.publishing.conftest import Told, take_publications
from tests.shop.models import Customer, Note, Order, Tag, UrgentOrder

pytestmark = pytest.mark.django_db


@pytest.fixture
def ann() -> Customer:
    return Customer.objects.create(name="Ann")


@pytest.fixture
def bob() -> Customer:
    return Customer.objects.create(name="Bob")


@pytest.fixture
def order(ann: Customer, told: Told) -> Order:
    made = Order.objects.create(customer=ann)
    told()
    return made


def orders_of(customer: Customer) -> str:
    return f"orders:{customer.pk}"


def test_a_row_is_told_as_the_database_has_it(ann: Customer) -> None:
    tag = Tag.objects.create(name="t")
    made = Order.objects.create(customer=ann, total="3.5", created=datetime(2026, 1, 2, tzinfo=UTC))
    made.tags.add(tag)
    take_publications()
    Order.objects.filter(pk=made.pk).update(status="elsewhere")
    take_publications()
    made.total = F("total") + 1
    made.save(update_fields=["total"])
    row = {"id": made.pk, "customer": ann.pk, "status": "elsewhere", "total": "4.50", "tags": [tag.pk], "courier": None}
    key = {"created": "2026-01-02T00:00:00.000000Z", "status": "elsewhere", "total": "4.50", "id": made.pk}
    assert take_publications() == [(orders_of(ann), {"op": "put", "pk": str(made.pk), "row": row, "key": key})]


Change = Callable[[Order, Customer], Any]
# What each does with an order of Ann's: "put" changes it, "move" makes it Bob's.
CHANGES: dict[str, tuple[str, Change]] = {
    "save": ("put", lambda order, _: order.save()),
    "save of a field": ("put", lambda order, _: order.save(update_fields=["status"])),
    "save of another instance": ("move", lambda order, bob: Order(pk=order.pk, customer=bob).save()),
    "asave": ("put", lambda order, _: order.asave()),
    "update": ("put", lambda order, _: Order.objects.filter(status="open").update(status="paid")),
    "update of its own condition": ("put", lambda order, _: Order.objects.filter(status="open").update(status="open")),
    "update of nothing": ("put", lambda order, _: Order.objects.filter(pk=order.pk).update()),
    "aupdate": ("put", lambda order, _: Order.objects.filter(pk=order.pk).aupdate(status="paid")),
    "update of a joined query": ("put", lambda order, _: Order.objects.filter(customer__name="Ann").update(total=1)),
    "update by a value": ("put", lambda order, _: Order.objects.annotate(x=F("total")).update(total=F("x") + 1)),
    "update that moves": ("move", lambda order, bob: Order.objects.update(customer=bob)),
    "update by name of the column": ("move", lambda order, bob: Order.objects.update(customer_id=bob.pk)),
    "bulk_update": ("put", lambda order, _: Order.objects.bulk_update([order], ["status"])),
    "bulk_update that moves": (
        "move",
        lambda order, bob: (setattr(order, "customer", bob), Order.objects.bulk_update([order], ["customer"])),
    ),
    "abulk_update": ("put", lambda order, _: Order.objects.abulk_update([order], ["status"])),
    "update_or_create": ("move", lambda order, bob: Order.objects.update_or_create({"customer": bob}, pk=order.pk)),
    "aupdate_or_create": ("put", lambda order, _: Order.objects.aupdate_or_create({"status": "paid"}, pk=order.pk)),
    "update of related rows": ("put", lambda order, _: order.customer.orders.update(status="paid")),
    "update_or_create of related rows": (
        "put",
        lambda order, _: order.customer.orders.update_or_create(defaults={"status": "paid"}, pk=order.pk),
    ),
    "add to related rows": ("move", lambda order, bob: bob.orders.add(order)),
    "set of related rows": ("move", lambda order, bob: bob.orders.set([order])),
    "remove from related rows": ("leave", lambda order, _: order.customer.orders.remove(order)),
    "clear of related rows": ("leave", lambda order, _: order.customer.orders.clear()),
    "manager of all rows": ("put", lambda order, _: Order._base_manager.update(status="paid")),
    "upsert": (
        "put",
        lambda order, bob: Order.objects.bulk_create(
            [Order(pk=order.pk, customer=order.customer, status="paid")],
            update_conflicts=True,
            unique_fields=["pk"],
            update_fields=["status"],
        ),
    ),
    "proxy": ("put", lambda order, _: UrgentOrder.objects.get().save()),
    "update of a proxy": ("move", lambda order, bob: UrgentOrder.objects.update(customer=bob)),
    "add to a relation": ("put", lambda order, _: order.tags.add(Tag.objects.create(name="t"))),
    "create in a relation": ("put", lambda order, _: order.tags.create(name="t")),
    "add from the other side": ("put", lambda order, _: Tag.objects.create(name="t").order_set.add(order)),
    "delete": ("del", lambda order, _: order.delete()),
    "adelete": ("del", lambda order, _: order.adelete()),
    "delete of a query": ("del", lambda order, _: Order.objects.filter(status="open").delete()),
    "adelete of a query": ("del", lambda order, _: Order.objects.all().adelete()),
    "delete of a proxy": ("del", lambda order, _: UrgentOrder.objects.get().delete()),
    "delete of a query of a proxy": ("del", lambda order, _: UrgentOrder.objects.all().delete()),
    "delete of a sorted query": ("del", lambda order, _: Order.objects.order_by("status").delete()),
    "delete of a joined query": ("del", lambda order, _: Order.objects.filter(customer__name="Ann").delete()),
    "delete by the manager of all rows": ("del", lambda order, _: Order._base_manager.all().delete()),
    "delete of related rows": ("del", lambda order, _: order.customer.orders.all().delete()),
    "cascade": ("del", lambda order, _: order.customer.delete()),
    "cascade of a query": ("del", lambda order, _: Customer.objects.filter(name="Ann").delete()),
    "nothing": ("", lambda order, _: Order.objects.filter(status="lost").update(status="open")),
    "nothing deleted": ("", lambda order, _: Order.objects.filter(status="lost").delete()),
    "get_or_create of one that exists": ("", lambda order, _: Order.objects.get_or_create(pk=order.pk)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_is_told(name: str, order: Order, bob: Customer, told: Told) -> None:
    kind, change = CHANGES[name]
    assert order.customer is not None
    old, pk = orders_of(order.customer), str(order.pk)
    answer = change(order, bob)
    if asyncio.iscoroutine(answer):
        async_to_sync(_await)(answer)
    expected = {
        "put": [(old, "put", pk)],
        "move": [(old, "del", pk), (orders_of(bob), "put", pk)],
        "leave": [(old, "del", pk)],
        "del": [(old, "del", pk)],
        "": [],
    }
    assert told() == expected[kind]


async def _await(answer: Any) -> Any:
    return await answer


MAKE: dict[str, Callable[[Customer], Any]] = {
    "create": lambda ann: Order.objects.create(customer=ann),
    "save": lambda ann: Order(customer=ann).save(),
    "forced": lambda ann: Order(pk=7, customer=ann).save(force_insert=True),
    "get_or_create": lambda ann: Order.objects.get_or_create(customer=ann),
    "update_or_create": lambda ann: Order.objects.update_or_create({"customer": ann}, status="new"),
    "bulk_create": lambda ann: Order.objects.bulk_create([Order(customer=ann)]),
    "create of a related row": lambda ann: ann.orders.create(),
    "bulk_create of a related row": lambda ann: ann.orders.bulk_create([Order(customer=ann)]),
    "ignore_conflicts": lambda ann: Order.objects.bulk_create([Order(pk=7, customer=ann)], ignore_conflicts=True),
    "proxy": lambda ann: UrgentOrder.objects.create(customer=ann),
}


@pytest.mark.parametrize("name", MAKE)
def test_every_new_row_is_told(name: str, ann: Customer, told: Told) -> None:
    told()
    MAKE[name](ann)
    assert told() == [(orders_of(ann), "put", str(Order.objects.get().pk))]


def test_a_parent_that_is_deleted_leaves_the_row_without_it(order: Order, told: Told) -> None:
    courier = Tag.objects.create(name="c")
    Order.objects.update(courier=courier)
    told()
    courier.delete()
    ((_, body),) = take_publications()
    assert (body["op"], body["row"]["courier"]) == ("put", None)


def test_rows_on_both_ends_of_a_relation_are_told(told: Told) -> None:
    ann, bob = Note.objects.create(key="ann", folder="a"), Note.objects.create(key="bob", folder="b")
    told()
    for change in (lambda: ann.friends.add(bob), lambda: ann.friends.clear(), lambda: bob.friends.set([ann])):
        change()
        assert sorted(told()) == [("notes:a", "put", "ann"), ("notes:b", "put", "bob")]
    ann.friends.add(bob)
    assert told() == [], "they were friends before"


@pytest.mark.parametrize("change", ["remove", "clear", "set"])
def test_what_leaves_a_relation_is_told_from_either_side(change: str, order: Order, told: Told) -> None:
    for side in ("order", "tag"):
        tag = Tag.objects.create(name="t")
        order.tags.add(tag)
        told()
        manager, other = (order.tags, tag) if side == "order" else (tag.order_set, order)
        getattr(manager, change)(*{"remove": [other], "clear": [], "set": [[]]}[change])
        assert [op for _, op, _ in told()] == ["put"]


def test_a_row_in_no_topic_is_told_to_nobody(told: Told) -> None:
    note = Note.objects.create(key="n", folder="a", draft=True)
    assert told() == []
    Note.objects.update(draft=False)
    assert told() == [("notes:a", "put", "n")]
    note.draft = True
    note.save()
    assert told() == [("notes:a", "del", "n")]
    Note.objects.all().delete()
    Order.objects.create(customer=None)
    assert told() == []


def test_a_row_is_deleted_where_the_database_has_it(order: Order, bob: Customer, told: Told) -> None:
    Order.objects.filter(pk=order.pk).update(customer=bob)
    told()
    pk = str(order.pk)
    order.delete()
    assert told() == [(orders_of(bob), "del", pk)]


def test_what_the_transaction_takes_back_is_told_to_nobody(order: Order, told: Told) -> None:
    class Stop(Exception):
        pass

    changes: list[Callable[[Order], Any]] = [
        lambda order: order.save(),
        lambda order: order.delete(),
        lambda order: Order.objects.update(status="paid"),
        lambda order: Order.objects.bulk_create([Order(customer=order.customer)]),
    ]
    for change in changes:
        with pytest.raises(Stop), transaction.atomic():
            change(order)
            raise Stop
        assert told() == []
        order = Order.objects.get()


TOO_LARGE = 1_000_000


@pytest.mark.parametrize("kind", ["save", "update", "bulk_create", "m2m"])
def test_a_change_that_cannot_be_told_is_not_made(kind: str, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    note = Note.objects.create(key="n", folder="a")
    friend = Note.objects.create(key="f", folder="a")
    told()
    publisher = get_publisher(Note)
    assert publisher is not None
    monkeypatch.setattr(publisher._resolved, "_function", lambda row: "x" * TOO_LARGE)
    calls: dict[str, Callable[[], Any]] = {
        "save": lambda: Note(key="n", folder="b").save(),
        "update": lambda: Note.objects.update(folder="b"),
        "bulk_create": lambda: Note.objects.bulk_create([Note(key="m", folder="b")]),
        "m2m": lambda: note.friends.add(friend),
    }
    with pytest.raises(PublicationTooLarge), transaction.atomic():
        calls[kind]()
    assert set(Note.objects.values_list("key", "folder", "friends")) == {("n", "a", None), ("f", "a", None)}
    assert told() == []


def test_a_change_of_many_rows_that_looks_at_others_of_them_changes_and_tells_all(ann: Customer, told: Told) -> None:
    rows = [Order(customer=ann, status="new", total=1) for _ in range(502)]
    rows[0].status = "open"
    Order.objects.bulk_create(rows)
    told()
    assert Order.objects.filter(customer__orders__status="open").update(status="paid") == len(rows)
    assert {pk for _, _, pk in told()} == {str(row.pk) for row in rows}
    first = Order.objects.order_by("pk").values("total")[:1]
    Order.objects.update(total=Subquery(first) + 1)
    assert set(Order.objects.values_list("status", "total")) == {("paid", Decimal(2))}


def test_an_upsert_by_another_field_tells_of_the_rows_that_it_has_changed(ann: Customer, told: Told) -> None:
    known = [Order.objects.create(customer=ann, number=str(number)) for number in range(2)]
    Order.objects.create(customer=ann)
    told()
    news = [Order(pk=7000, customer=ann, number="0"), Order(customer=ann, number="1"), Order(pk=7001, customer=ann)]
    for new in news:
        new.status = "paid"
    Order.objects.bulk_create(news, update_conflicts=True, unique_fields=["number"], update_fields=["status"])
    changed = set(Order.objects.filter(status="paid").values_list("pk", flat=True))
    assert changed == {known[0].pk, known[1].pk, 7001}
    assert {pk for _, _, pk in told()} == {str(pk) for pk in changed}


def count_statements(change: Callable[[], Any]) -> int:
    with CaptureQueriesContext(connection) as queries:
        change()
    return len(queries)


def test_two_rows_cost_as_many_statements_as_eighty(ann: Customer, bob: Customer) -> None:
    # A statement of Django's has a hundred rows at most, on SQLite.
    few, many = 2, 80
    costs: dict[int, list[int]] = {}
    for number in (few, many):
        rows = [Order(customer=ann) for _ in range(number)]
        mine = Order.objects.filter(customer__in=[ann, bob])
        costs[number] = [
            count_statements(lambda rows=rows: Order.objects.bulk_create(rows, batch_size=1000)),  # type: ignore[misc]
            count_statements(lambda mine=mine: mine.update(status="paid")),  # type: ignore[misc]
            count_statements(lambda mine=mine: mine.update(customer=bob)),  # type: ignore[misc]
            count_statements(lambda mine=mine: mine.delete()),  # type: ignore[misc]
        ]
        assert Outbox.objects.filter(kind="publish").count() == number * 5
        Outbox.objects.all().delete()
    assert costs[few] == costs[many]


def test_what_cannot_be_told_is_refused(order: Order, told: Told) -> None:
    assert order.customer is not None
    with pytest.raises(NotSupportedError, match="ignore_conflicts"):
        Order.objects.bulk_create([Order()], ignore_conflicts=True)
    with pytest.raises(NotSupportedError, match="update_or_create"):
        Order.objects.bulk_create([order], update_conflicts=True, unique_fields=["pk"], update_fields=["customer"])
    with pytest.raises(NotSupportedError, match="cannot change"):
        Order.objects.update(pk=9)
    with pytest.raises(RuntimeError, match="no transaction spans both"):
        order.save(using="elsewhere")
    with pytest.raises(TypeError):
        Order.objects.all()[:1].update(status="paid")
    with pytest.raises(TypeError):
        Order.objects.all()[:1].delete()
    with pytest.raises(TypeError):
        Order.objects.values("pk").delete()
    with pytest.raises(AttributeError):
        Order.objects.delete()
    assert told() == []


def test_a_topic_that_would_be_another_one_is_refused(told: Told) -> None:
    with pytest.raises(TypeError, match="is no topic"), transaction.atomic():
        Note.objects.create(key="n", folder="\n")
    assert not Note.objects.exists()


def test_keys_say_how_they_are_compared() -> None:
    publisher = get_publisher(UrgentOrder)
    assert publisher is get_publisher(Order) is not None
    assert publisher.keys == ("created", "status", "total")
    assert publisher.kinds == {"created": "text", "status": "text", "total": "decimal", "id": "number"}
    assert publisher.key_of(Order(pk=2**60, total=Decimal("1.5"))) == {
        "created": None,
        "status": "open",
        "total": "1.5",
        "id": str(2**60),
    }
    assert get_publisher(Tag) is None


@pytest.mark.parametrize("topic", [None, "notes:{folder}"])
def test_a_row_older_than_the_declaration_that_names_no_topic_is_mended_and_deleted(told: Told, topic: Any) -> None:
    before = get_publisher(Note)
    assert before is not None
    set_publisher(before if topic is None else replace(before, topic=compile_pattern(topic)))
    try:
        # Without a word to anybody, as rows that were there before the model published.
        rows = [Note(key=key, folder="no\ntopic") for key in ("mended", "moved", "deleted", "gone")]
        QuerySet(Note).bulk_create(rows)
        mended, _, deleted, _ = rows
        mended.folder = "a"
        mended.save()
        Note.objects.filter(key="moved").update(folder="a")
        deleted.delete()
        Note.objects.filter(key="gone").delete()
        assert told() == [("notes:a", "put", "mended"), ("notes:a", "put", "moved")]
        assert Note.objects.count() == 2
        with pytest.raises((TypeError, ValueError), match="no topic"):
            Note.objects.create(key="new", folder="no\ntopic")
    finally:
        set_publisher(before)


def test_a_value_that_json_cannot_carry_is_refused_by_its_place_in_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    publisher = get_publisher(Note)
    assert publisher is not None
    monkeypatch.setattr(publisher._resolved, "_function", lambda row: {"sizes": [1, 2**53]})
    with pytest.raises(NumberOutOfRange, match=r"at /row/sizes/1\.$") as refused, transaction.atomic():
        Note.objects.create(key="n", folder="a")
    assert refused.value.facts["path"] == "/row/sizes/1"
