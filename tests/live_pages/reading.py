"""Lists of a shop's orders, and whoever reads them page by page."""

from __future__ import annotations

from typing import Any

import orjson
from django.db.models import QuerySet
from rest_framework import filters, generics
from rest_framework.test import APIRequestFactory

from session_mgmt.api.authentication import SessionTokenAuthentication
from session_mgmt.models import Publication
from session_mgmt.pagination import LiveCursorPagination, LivePages
from tests.live_pages.client import Client
from tests.shop.models import Order
from tests.shop.serializers import OrderSerializer


class Pages(LiveCursorPagination):
    page_size = 4
    max_page_size = 10


class OrderList(generics.ListAPIView):  # type: ignore[type-arg]
    """Orders of a customer as any project lists them; ``?status=`` and ``?courier=`` narrow the list."""

    authentication_classes = [SessionTokenAuthentication]
    serializer_class = OrderSerializer
    pagination_class = Pages
    filter_backends = [filters.OrderingFilter]
    ordering_fields = ["created", "status", "total", "courier"]

    def get_queryset(self) -> QuerySet[Order]:
        found = Order.objects.filter(customer=self.kwargs["customer"]).prefetch_related("tags")
        if statuses := self.request.query_params.getlist("status"):
            found = found.filter(status__in=statuses)
        if "courier" in self.request.query_params:
            found = found.filter(courier=self.request.query_params["courier"])
        return found


class ExactOrderList(LivePages, OrderList):
    pass


class Visitor:
    """Caller of a view with the token of a session, or with none."""

    def __init__(self, secret: str | None = None, view: Any = ExactOrderList, **kwargs: Any) -> None:
        self._headers = {} if secret is None else {"HTTP_AUTHORIZATION": f"Bearer {secret}"}
        self.secret, self._view, self._kwargs = secret, view, kwargs

    def ask(self, address: str = "", **query: Any) -> Any:
        """Ask for a page, by an address that another page gave, or by a query."""
        request = APIRequestFactory().get(address or "/orders/", query or None, **self._headers)
        response = self._view.as_view()(request, **self._kwargs)
        response.render()
        return response

    def read(self, address: str = "", **query: Any) -> dict[str, Any]:
        response = self.ask(address, **query)
        assert response.status_code == 200, response.content
        page: dict[str, Any] = orjson.loads(response.content)
        return page


def deliver(client: Client, topic: str, begin: int = 0) -> None:
    """Tell a client what was published since it heard last, and once more what it has heard from ``begin`` on."""
    told = Publication.objects.filter(stream__topic=topic, offset__gt=begin).order_by("offset")
    for offset, body in told.values_list("offset", "data"):
        client.take_entry(offset, orjson.loads(bytes(body)))
