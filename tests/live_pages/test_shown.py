"""A list that the TypeScript SDK shows by the real server is what the query gives for the range that was read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from asgiref.sync import sync_to_async
from django.urls import include, path

from session_mgmt.consumers.hub import hub
from session_mgmt.registry import topic
from tests import services
from tests.bad_input.serving import served
from tests.faults.both_sdks import Page, Wire, open_page
from tests.live_pages.reading import ExactOrderList
from tests.ports import take_port
from tests.shop.models import Customer, Order, Tag
from tests.shop.serializers import OrderSerializer

pytestmark = [pytest.mark.js, pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]
SCRIPT = Path(__file__).with_name("shown.mjs")
urlpatterns = [
    path("api/", include("session_mgmt.urls")),
    path("customers/<int:customer>/orders/", ExactOrderList.as_view()),
]


def make_orders() -> Customer:
    customer = Customer.objects.create(name="Ann")
    Order.objects.bulk_create([Order(customer=customer, total=total) for total in range(10)])
    return customer


def change_orders(customer: Customer) -> None:
    """Insert, move into the range and out of it, change, and remove, by the ways of the ORM."""
    orders = list(customer.orders.order_by("total"))
    Order.objects.create(customer=customer, total="2.50")
    orders[1].total = "6.50"
    orders[1].save()
    customer.orders.filter(total=9).update(total="0.50")
    orders[0].total = 100
    Order.objects.bulk_update([orders[0]], ["total"])
    orders[3].delete()
    orders[5].tags.add(Tag.objects.create(name="t"))
    orders[6].customer = None
    orders[6].save()


def leave_few(customer: Customer) -> None:
    customer.orders.filter(total__lt=8).exclude(total="2.50").delete()
    customer.orders.filter(total="2.50").update(status="sent")


def read_orders(customer: Customer, until: int | None = None) -> list[Any]:
    found = customer.orders.order_by("total", "pk")
    rows = found if until is None else found.filter(total__lte=until)
    return [dict(row) for row in OrderSerializer(rows, many=True).data]


async def is_shown(page: Page, rows: list[Any], **wish: Any) -> dict[str, Any]:
    page.ask(orjson.dumps({"rows": rows, **wish}).decode())
    told = await page.answer()
    assert (told["rows"], told["more"], told["error"]) == (rows, 0, None)
    return told


@pytest.fixture
async def wire(transactional_db: None, settings: Any) -> AsyncIterator[Wire]:
    """The way to a server of this process."""
    settings.SESSION_MGMT = {"ANONYMOUS_SESSIONS": True}
    topic("orders:{customer}")(lambda session, customer: True)
    async with served("session_mgmt.uvicorn:WebSocketProtocol") as port:
        yield Wire(port)
    await hub().stop()


async def test_what_is_shown_is_the_query_over_changes_cuts_and_turns(wire: Wire) -> None:
    customer, read = await sync_to_async(make_orders)(), sync_to_async(read_orders)
    port = take_port()
    proxy = await asyncio.start_server(wire.carry, services.HOST, port)
    address = f"http://{services.HOST}:{port}"
    listed = f"/customers/{customer.pk}/orders/?ordering=total"
    async with proxy, open_page(SCRIPT, f"{address}/api/", listed) as page:
        await is_shown(page, await read(customer, until=3))
        await is_shown(page, await read(customer, until=7), next=True)
        await sync_to_async(change_orders)(customer)
        told = await is_shown(page, await read(customer, until=7))
        assert len(told["moved"]) == 1
        wire.cut()
        await sync_to_async(leave_few)(customer)
        # So few are left that the list reads on by itself, to its end.
        told = await is_shown(page, await read(customer))
        assert (len(told["rows"]), told["hasNext"], wire.cuts) == (3, False, 1)
