"""How a session reads a list is a part of its state, and the begin of its next visit."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from django.core import exceptions
from django.core.exceptions import FieldError
from django.db import OperationalError
from django.http import Http404
from rest_framework.exceptions import (
    APIException,
    NotAuthenticated,
    NotFound,
    PermissionDenied,
    Throttled,
    ValidationError,
)
from rest_framework.response import Response

from session_mgmt.models import StateRevision
from session_mgmt.shortcuts import create_session, state
from tests.live_pages.reading import ExactOrderList, Visitor
from tests.live_pages.test_cursors import cursor_of, ids
from tests.shop import models as shop

pytestmark = [pytest.mark.sqlite, pytest.mark.usefixtures("on_this_thread")]


class RememberedList(ExactOrderList):
    remember = "orders"


@pytest.fixture
def customer() -> shop.Customer:
    made = shop.Customer.objects.create(name="Ann")
    shop.Order.objects.bulk_create(
        shop.Order(customer=made, total=number, status=["open", "paid", "sent"][number % 3]) for number in range(12)
    )
    return made


def test_a_visit_begins_as_the_last_one_was(customer: shop.Customer) -> None:
    created = create_session()
    visitor = Visitor(created.token.secret, view=RememberedList, customer=customer.pk)
    page = visitor.read(ordering="-total", page_size=3, status=["open", "paid"])
    kept = {"page_size": "3", "ordering": "-total", "filters": {"status": ["open", "paid"]}, "cursor": None}
    assert state.get(created.session, path="/pages/orders") == kept
    following = visitor.read(page["next"])
    assert state.get(created.session, path="/pages/orders/cursor") == cursor_of(page["next"])
    again = visitor.read()
    assert ids(again) == ids(page) and again["live"]["filters"] == page["live"]["filters"]
    assert ids(visitor.read(again["next"])) == ids(following)
    stranger = Visitor(create_session().token.secret, view=RememberedList, customer=customer.pk)
    assert len(ids(stranger.read())) == 4


def test_a_choice_that_the_view_takes_no_longer_is_given_up(customer: shop.Customer) -> None:
    created = create_session()
    stale = {"page_size": "3", "ordering": None, "filters": {"status": ["no-such-status"]}, "cursor": None}
    state.update(created.session, {"pages": {"orders": stale}})

    class StricterList(RememberedList):
        def filter_queryset(self, queryset: Any) -> Any:
            if self.request.query_params.get("status") == "no-such-status":
                raise ValidationError({"status": "unknown"})
            return super().filter_queryset(queryset)

    stricter = Visitor(created.token.secret, view=StricterList, customer=customer.pk)
    assert len(ids(stricter.read())) == 4
    assert stricter.ask(status="no-such-status").status_code == 400


class Gone(APIException):
    status_code = 410


FAULTS: list[Exception] = [
    NotFound(),
    Http404(),
    PermissionDenied(),
    exceptions.PermissionDenied(),
    Gone(),
    FieldError("Cannot resolve keyword 'stage' into field."),
    exceptions.ValidationError("'x' is no UUID"),
    ValueError("Field 'id' expected a number but got 'x'."),
]
NO_FAULTS: list[Exception] = [NotAuthenticated(), Throttled(9), OperationalError("database is locked")]


class FaultyList(RememberedList):
    """List that fails for a status, as the code of a project may."""

    fault: Exception | None = None

    def filter_queryset(self, queryset: Any) -> Any:
        if self.fault is not None and self.request.query_params.get("status") == "open":
            raise self.fault
        return super().filter_queryset(queryset)


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_a_choice_for_which_the_view_fails_in_any_way_is_given_up(
    customer: shop.Customer, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    created = create_session()
    visitor = Visitor(created.token.secret, view=FaultyList, customer=customer.pk)
    visitor.read(status="open", page_size=3)
    monkeypatch.setattr(FaultyList, "fault", fault)
    assert len(ids(visitor.read())) == 4
    given_up = {"page_size": None, "ordering": None, "filters": {}, "cursor": None}
    assert state.get(created.session, path="/pages/orders") == given_up


@pytest.mark.parametrize("fault", NO_FAULTS, ids=repr)
def test_a_choice_that_is_not_the_reason_stays(
    customer: shop.Customer, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    created = create_session()
    visitor = Visitor(created.token.secret, view=FaultyList, customer=customer.pk)
    visitor.read(status="open")
    monkeypatch.setattr(FaultyList, "fault", fault)
    with suppress(OperationalError):
        assert visitor.ask().status_code in (401, 429)
    assert state.get(created.session, path="/pages/orders/filters") == {"status": ["open"]}
    monkeypatch.setattr(FaultyList, "fault", None)
    assert visitor.read()["live"]["filters"] == {"status": "open"}


def test_what_was_refused_is_not_remembered(customer: shop.Customer) -> None:
    class AnsweringList(RememberedList):
        def _list_moment(self, request: Any, *args: Any, **kwargs: Any) -> Response:
            refused = request.query_params.get("status") == "open"
            return Response(status=404) if refused else super()._list_moment(request, *args, **kwargs)

    created = create_session()
    state.update(created.session, {"pages": {"orders": {"filters": {"status": ["open"]}}}})
    visitor = Visitor(created.token.secret, view=AnsweringList, customer=customer.pk)
    assert len(ids(visitor.read())) == 4
    assert visitor.ask(status="open").status_code == 404
    assert state.get(created.session, path="/pages/orders/filters") == {}


def test_another_choice_takes_the_place_of_the_last_one_and_the_same_is_not_written_again(
    customer: shop.Customer,
) -> None:
    created = create_session()
    state.update(created.session, {"pages": {"others": 1}, "cart": 2})
    visitor = Visitor(created.token.secret, view=RememberedList, customer=customer.pk)
    visitor.read(status="open", ordering="total")
    for _ in range(3):
        visitor.read(page_size=2)
    kept = {"page_size": "2", "ordering": None, "filters": {}, "cursor": None}
    assert state.get(created.session) == {"pages": {"others": 1, "orders": kept}, "cart": 2}
    assert StateRevision.objects.count() == 3


@pytest.mark.parametrize(
    "kept",
    [None, 5, [], {"page_size": 5, "filters": [], "ordering": {}}, {"filters": {"status": "open", "a": [1, None]}}],
)
def test_a_state_that_a_client_has_filled_with_anything_stops_no_page(kept: Any, customer: shop.Customer) -> None:
    created = create_session()
    state.replace(created.session, {"pages": {"orders": kept}})
    visitor = Visitor(created.token.secret, view=RememberedList, customer=customer.pk)
    assert len(ids(visitor.read())) == 4
    state.replace(created.session, {"pages": kept})
    assert len(ids(visitor.read())) == 4


def test_a_query_without_bound_is_not_kept(customer: shop.Customer) -> None:
    created = create_session()
    visitor = Visitor(created.token.secret, view=RememberedList, customer=customer.pk)
    visitor.read(ordering="total", nonsense="x" * 10_000)
    assert state.get(created.session) == {}


def test_who_has_no_session_is_not_remembered(customer: shop.Customer) -> None:
    visitor = Visitor(view=RememberedList, customer=customer.pk)
    assert len(ids(visitor.read(page_size=2))) == 2 and len(ids(visitor.read())) == 4
