"""After every change and every turn of a page, a client shows what the query gives for its range."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from django.db import transaction
from django.db.models import F

from session_mgmt.publishing import get_publisher
from session_mgmt.shortcuts import create_session, drain
from tests.live_pages.client import Client, Order
from tests.live_pages.reading import Visitor, deliver
from tests.shop import models as shop
from tests.shop.serializers import OrderSerializer

CASES = {
    "the newest first": {"ordering": "-created"},
    "several fields": {"ordering": "status,-total,created"},
    "a filter by keys": {"ordering": "total", "status": ["open", "paid"]},
    "a filter that only the server knows": {"ordering": "-created", "courier": ""},
    "an order that is not told": {"ordering": "courier"},
}
STEPS = 36
# Here all is read again after each of them.
COSTLY = {"an order that is not told": 16, "a filter that only the server knows": 24}
FIELDS = ["status", "total", "created", "customer", "courier"]


class Shop:
    """Random changes of orders, by every way in which Django changes rows."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.customers = [shop.Customer.objects.create(name=name) for name in ("Ann", "Bob")]
        self.tags = [shop.Tag.objects.create(name=name) for name in ("a", "b")]
        shop.Order.objects.bulk_create([self.make() for _ in range(24)])

    def make(self) -> shop.Order:
        customer = self._chance.choice([*self.customers[:1] * 4, *self.customers, None])
        drawn = {name: value for field in FIELDS for name, value in self.draw(field).items()}
        return shop.Order(**{**drawn, "customer": customer})

    def draw(self, field: str) -> dict[str, Any]:
        moments = [None, *(datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2))]
        moments.append(datetime(2026, 1, 1, microsecond=self._chance.randrange(3), tzinfo=UTC))
        values = {
            "status": ["open", "paid", "Sent", "é"],
            "total": ["9.50", "10.00", "-3.00", "9.50"],
            "created": moments,
            "customer": [*self.customers, None],
            "courier": [*self.tags, self.tags[0], None],
        }
        return {field: self._chance.choice(values[field])}

    def change(self) -> None:
        pks = list(shop.Order.objects.order_by("pk").values_list("pk", flat=True))
        some = shop.Order.objects.filter(pk__in=self._chance.sample(pks, min(len(pks), 3)))
        one = some.first()
        field = self._chance.choice(FIELDS)
        kinds = ["make", "make", "save", "save", "update", "tag", "delete", "delete some", "bulk", "several", "undone"]
        kind = "make" if one is None else self._chance.choice(kinds)
        if kind == "make":
            self.make().save()
        elif kind == "save":
            for name, value in self.draw(field).items():
                setattr(one, name, value)
            one.save()
        elif kind == "update":
            some.update(**self.draw(field))
        elif kind == "tag":
            one.tags.add(self._chance.choice(self.tags)) if not one.tags.exists() else one.tags.clear()
        elif kind == "delete":
            one.delete()
        elif kind == "delete some":
            some.filter(status="paid").delete()
        elif kind == "bulk":
            shop.Order.objects.bulk_create([self.make(), self.make()])
        elif kind == "several":
            with transaction.atomic():
                some.update(total=F("total") + 1)
                one.delete()
                self.make().save()
        else:
            with transaction.atomic():
                some.update(**self.draw(field))
                transaction.set_rollback(True)


class Reader:
    """Client of one list, with its reads and its topic."""

    def __init__(self, visitor: Visitor, query: dict[str, Any], number: int) -> None:
        self._visitor, self._query, self._customer = visitor, query, number
        # Most further rows that were told at once.
        self.most = 0
        page = visitor.read(**query)
        self._order, self._topic = Order(page["live"]["ordering"]), page["live"]["topic"]
        assert page["live"]["exact"] and self._topic == f"orders:{number}"
        self.client = Client(page)

    def hear(self, again: int) -> bool:
        """Hear all there is, some of it once more as after a cut, and read again what must be; tell whether any was."""
        drain()
        deliver(self.client, self._topic, max(0, self.client.place - again))
        self._compare_more()
        number = 0
        if self.client.is_stale or self.client.more:
            while number < len(self.client.refresh_addresses):
                self.client.begin_request()
                page = self._visitor.read(self.client.refresh_addresses[number])
                self.client.take_page(page, "refresh", number)
                number += 1
        return number > 0

    def turn(self, place: Shop, *, hears_first: bool) -> None:
        """Read the next page while rows change, and hear of that before the page or behind it."""
        if self.client.next is None:
            return
        self.client.begin_request()
        place.change()
        page = self._visitor.read(self.client.next)
        place.change()
        if hears_first and self.hear(0):
            # A client asks for one page at a time: one that was on its way is given up, and read again later.
            return
        self.client.take_page(page, "next")

    def _compare_more(self) -> None:
        """Compare the number of further rows with the query: none that it has is left out, and no other is counted than
        what the filter that only the server knows may leave out.
        """
        if not self._order.is_known or self.client.is_stale or self.client.is_waiting:
            return
        shown = {row["id"] for row in self.client.rows}
        wanted, possible = ({row["id"] for row in self._list_range(narrowed)} - shown for narrowed in (True, False))
        assert len(wanted) <= self.client.more <= len(possible)
        self.most = max(self.most, self.client.more)

    def compare(self) -> None:
        """Compare what is shown with the query, limited to the range of all pages."""
        assert [dict(row) for row in self.client.rows] == self._query_rows()
        assert not self.client.is_waiting

    def _query_rows(self) -> list[Any]:
        if not self._order.is_known:
            return [row for address in self.client.refresh_addresses for row in self._visitor.read(address)["results"]]
        return self._list_range(narrowed=True)

    def _list_range(self, narrowed: bool) -> list[Any]:
        """Return the rows of the query between the ends of the list, without ``narrowed`` by no filter that only the
        server knows.
        """
        found = shop.Order.objects.filter(customer=self._customer).order_by(*self._query["ordering"].split(","), "pk")
        if "status" in self._query:
            found = found.filter(status__in=self._query["status"])
        if narrowed and "courier" in self._query:
            found = found.filter(courier=self._query["courier"])
        publisher = get_publisher(shop.Order)
        after, until = self.client.range
        rows = []
        for row in found:
            key = self._order.read_key({"key": publisher.key_of(row)})
            if (after is None or self._order.compare(key, after) > 0) and (
                until is None or self._order.compare(key, until) <= 0
            ):
                rows.append(row)
        return orjson.loads(orjson.dumps(OrderSerializer(rows, many=True).data))


@pytest.mark.usefixtures("on_this_thread")
@pytest.mark.parametrize("name", CASES)
def test_what_is_shown_equals_the_query(name: str) -> None:
    chance = random.Random(name)
    place = Shop(chance)
    customer, tag = place.customers[0], place.tags[0]
    query = {name: tag.pk if name == "courier" else value for name, value in CASES[name].items()}
    reader = Reader(Visitor(create_session().token.secret, customer=customer.pk), query, customer.pk)
    for step in range(COSTLY.get(name, STEPS)):
        place.change()
        if step % 4 == 3:
            reader.turn(place, hears_first=chance.random() < 0.5)
        reader.hear(again=chance.choice([0, 0, 3]))
        reader.compare()
    assert len(reader.client.refresh_addresses) > 1, "pages were turned"
    assert (reader.most > 0) == (name == "a filter that only the server knows")
