"""Cursors lead through the whole list in both directions, and are good for nobody and nothing else."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core import signing
from django.core.exceptions import ImproperlyConfigured
from django.db.models import F
from rest_framework import generics, serializers
from rest_framework.test import APIRequestFactory

from session_mgmt.api.authentication import SessionTokenAuthentication
from session_mgmt.models import Stream, clock
from session_mgmt.pagination import LivePages
from session_mgmt.shortcuts import create_session, drain, terminate_session
from tests.live_pages.reading import ExactOrderList, OrderList, Pages, Visitor
from tests.shop import models as shop

pytestmark = pytest.mark.usefixtures("on_this_thread")
ORDERINGS = ["-created", "status,-total", "-status,created", "courier,-id", "-courier,total", "-pk"]


@pytest.fixture
def customer() -> shop.Customer:
    """A customer with orders of equal keys and nulls."""
    made = shop.Customer.objects.create(name="Ann")
    tag = shop.Tag.objects.create(name="t")
    days = [None, datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, microsecond=1, tzinfo=UTC)]
    shop.Order.objects.bulk_create(
        shop.Order(
            customer=made,
            created=days[number % 3],
            status=["open", "paid"][number % 2],
            total=number % 4,
            courier=[tag, None][number % 2],
        )
        for number in range(13)
    )
    drain()
    return made


@pytest.fixture
def visitor(customer: shop.Customer) -> Visitor:
    return Visitor(create_session().token.secret, customer=customer.pk)


def cursor_of(address: str) -> str:
    return parse_qs(urlsplit(address).query)["cursor"][0]


def ids(page: dict[str, Any]) -> list[int]:
    return [row["id"] for row in page["results"]]


def refusal(answer: Any) -> tuple[int, str]:
    return answer.status_code, str(answer.data["name"])


class NothingShown(serializers.ModelSerializer[shop.Order]):
    class Meta:
        model = shop.Order
        fields = ("id", "status")


class ListWithHiddenOrder(OrderList):
    serializer_class = NothingShown


class NotePages(Pages):
    def get_topic(self, queryset: Any, request: Any, view: Any) -> str:
        return f"notes:{view.kwargs['folder']}"


class NoteList(LivePages, generics.ListAPIView[shop.Note]):
    authentication_classes = [SessionTokenAuthentication]
    pagination_class = NotePages

    def get_queryset(self) -> Any:
        return shop.Note.objects.filter(folder=self.kwargs["folder"], draft=False)

    def get_serializer_class(self) -> Any:
        return Keys


class Keys(serializers.ModelSerializer[shop.Note]):
    class Meta:
        model = shop.Note
        fields = ("key",)


class ByRequest(serializers.ModelSerializer[shop.Order]):
    class Meta:
        model = shop.Order
        fields = ("id", "total")

    def get_fields(self) -> Any:
        return super().get_fields() if self.context["request"].user else {}


class ListByAnyField(OrderList):
    ordering_fields = None


class OtherList(ExactOrderList):
    pass


@pytest.mark.parametrize("ordering", ORDERINGS)
def test_pages_lead_through_the_list_in_both_directions(
    ordering: str, visitor: Visitor, customer: shop.Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OrderList, "ordering_fields", ["created", "status", "total", "courier", "id", "pk"])
    names = [name.replace("courier", "courier_id") for name in ordering.split(",")]
    wanted = list(shop.Order.objects.order_by(*names, "pk").values_list("pk", flat=True))
    pages = [visitor.read(ordering=ordering)]
    while pages[-1]["next"]:
        pages.append(visitor.read(pages[-1]["next"]))
    assert [pk for page in pages for pk in ids(page)] == wanted
    assert [len(page["results"]) for page in pages] == [4, 4, 4, 1]
    assert pages[0]["previous"] is None
    for before, page in pairwise(pages):
        assert page["live"]["after"] == before["live"]["until"]
        back = visitor.read(page["previous"])
        assert ids(back) == ids(before) and back["live"]["until"] == before["live"]["until"]
        assert ids(visitor.read(back["next"])) == ids(page)
        assert ids(visitor.read(page["live"]["refresh"])) == ids(page)


def test_a_serializer_that_needs_its_request_is_given_it(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OrderList, "serializer_class", ByRequest)
    monkeypatch.setattr(OrderList, "ordering_fields", ["courier"])
    assert visitor.read(ordering="courier")["results"]


def test_a_range_that_has_become_too_long_is_cut(visitor: Visitor, customer: shop.Customer) -> None:
    page = visitor.read(ordering="-total")
    shop.Order.objects.bulk_create(shop.Order(customer=customer, total=9) for _ in range(30))
    again = visitor.read(page["live"]["refresh"])
    assert len(again["results"]) == 2 * Pages.max_page_size
    rest = visitor.read(again["next"] + "&page_size=10")
    assert again["live"]["until"] == rest["live"]["after"] and not set(ids(rest)) & set(ids(again))


def test_a_cursor_is_refused_to_others_and_when_it_is_old(
    visitor: Visitor, customer: shop.Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    following = visitor.read(ordering="-created")["next"]
    cursor = cursor_of(following)
    stranger = Visitor(create_session().token.secret, customer=customer.pk)
    elsewhere = Visitor(visitor.secret, view=OtherList, customer=customer.pk)
    other_list = Visitor(visitor.secret, customer=shop.Customer.objects.create(name="Bob").pk)
    for other in (stranger, Visitor(customer=customer.pk), elsewhere, other_list):
        assert refusal(other.ask(following)) == (403, "cursor_foreign")
    forged = signing.dumps(signing.loads(cursor, salt="session_mgmt.pagination"), salt="another", compress=True)
    for text in ("", "x", cursor[:-1], "A" + cursor, cursor.swapcase(), forged, "\0", "x" * 10_000, "é:é:é", "::"):
        assert refusal(visitor.ask(ordering="-created", cursor=text)) == (400, "cursor_invalid"), text
    assert refusal(visitor.ask(cursor=cursor)) == (410, "cursor_expired"), "of another ordering"
    assert refusal(visitor.ask(cursor=cursor, ordering="-created", status="open")) == (410, "cursor_expired")
    later = clock.read("default") + timedelta(days=1)
    monkeypatch.setattr("session_mgmt.pagination.paginator.clock.read", lambda using: later)
    answer = visitor.ask(following)
    assert refusal(answer) == (410, "cursor_expired") and not answer.data["temporary"]


def test_a_cursor_outlives_the_key_that_signed_it(visitor: Visitor, settings: Any) -> None:
    following = visitor.read()["next"]
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another key for tests only, long enough for every check: 0123456789"
    assert visitor.read(following)["results"]
    settings.SECRET_KEY_FALLBACKS = []
    assert refusal(visitor.ask(following)) == (400, "cursor_invalid")


def test_a_cursor_of_a_history_that_is_gone_is_refused(visitor: Visitor) -> None:
    following = visitor.read()["next"]
    Stream.objects.filter(topic__startswith="orders:").update(head=1)
    assert refusal(visitor.ask(following)) == (410, "cursor_expired")


def test_values_that_no_row_shows_are_sealed_in_the_cursor(
    visitor: Visitor, customer: shop.Customer, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = Visitor(visitor.secret, view=ListWithHiddenOrder, customer=customer.pk)
    page = hidden.read(ordering="-courier")
    assert page["live"]["ordering"][0]["kind"] == "unknown"
    assert {key[0] for key in page["live"]["keys"]} == {None} == {page["live"]["until"][0]}
    keys = signing.loads(cursor_of(page["next"]), salt="session_mgmt.pagination")["k"]
    assert (
        isinstance(keys, str)
        and keys != signing.loads(cursor_of(page["live"]["refresh"]), salt="session_mgmt.pagination")["k"]
    )
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another key for tests only, long enough for every check: 0123456789"
    assert len(hidden.read(page["next"])["results"]) == 4
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(ImproperlyConfigured, match="crypto"):
        hidden.read(ordering="-courier")
    with pytest.raises(ImproperlyConfigured, match="crypto"):
        hidden.read(page["next"])
    assert visitor.read(ordering="-courier")["results"], "shown by its rows"


@pytest.mark.parametrize("size", ["0", "-1", "x", "1e3", "9" * 5000, "", "٣"])
def test_a_hostile_size_of_a_page_is_passed_over_or_cut(size: str, visitor: Visitor) -> None:
    page = visitor.read(page_size=size)
    assert 1 <= len(page["results"]) <= Pages.max_page_size
    assert visitor.ask(page["next"] + "&page_size=1000").status_code == 200


def test_a_page_keeps_its_size(visitor: Visitor) -> None:
    page = visitor.read(page_size=3)
    assert len(page["results"]) == 3 == len(visitor.read(page["next"])["results"])


def test_who_has_no_session_reads_ordinary_pages(visitor: Visitor, customer: shop.Customer) -> None:
    nobody = Visitor(customer=customer.pk)
    page = nobody.read()
    assert page["live"] is None and ids(nobody.read(page["next"])) == ids(visitor.read(visitor.read()["next"]))
    ended = create_session()
    terminate_session(ended.session)
    visitor = Visitor(ended.token.secret, customer=customer.pk)
    assert refusal(visitor.ask()) == (410, "session_terminated")


def test_an_order_that_is_none_is_refused_to_whoever_asks_and_told_to_the_project(
    visitor: Visitor, customer: shop.Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_any = Visitor(visitor.secret, view=ListByAnyField, customer=customer.pk)
    for name in ("tags", "-tags", "total,tags"):
        assert refusal(by_any.ask(ordering=name)) == (400, "invalid_field"), name
    for given in ("tags", ["customer__name"], [F("total").desc()], ["?"]):
        monkeypatch.setattr(Pages, "ordering", given)
        with pytest.raises(ImproperlyConfigured, match="name a field of the model"):
            visitor.read()


def test_a_busy_topic_says_when_to_come_again(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("session_mgmt.actions.topics.snapshots._is_waited_for", lambda using, topics: True)
    answer = visitor.ask()
    assert refusal(answer) == (503, "busy") and answer["Retry-After"] == "1"


def test_a_view_may_name_the_topic_of_its_rows(visitor: Visitor) -> None:
    for key in ("b", "a", "c"):
        shop.Note.objects.create(key=key, folder="inbox")
    page = Visitor(visitor.secret, view=NoteList, folder="inbox").read(page_size=2)
    live = page["live"]
    assert (live["topic"], live["pks"], live["until"], live["exact"]) == ("notes:inbox", ["a", "b"], ["b"], True)
    assert live["position"][1] == 3 and live["other_filters"], "no publication tells the folder"


@pytest.mark.parametrize("bases", [(NoteList,), (generics.ListAPIView,)])
def test_an_order_whose_cursors_nobody_would_take_back_is_refused(bases: Any, visitor: Visitor) -> None:
    texts = Random(1)
    for key in "abc":
        shop.Note.objects.create(key=key, folder="f", text=texts.randbytes(9000).hex())
    drain()
    by_text = type("Pages", (NotePages,), {"ordering": "text"})
    members = {**vars(NoteList), "pagination_class": by_text}
    reader = Visitor(visitor.secret, type("NoteList", bases, members), folder="f")
    # A page without an end needs no cursor.
    assert len(reader.read()["results"]) == 3
    told = reader.ask(page_size=2)
    assert refusal(told) == (400, "invalid_field")
    assert told.data["field"] == "ordering" and "too long" in told.data["message"]


def test_people_turn_pages_in_a_browser(visitor: Visitor, customer: shop.Customer) -> None:
    request = APIRequestFactory().get(
        "/orders/", HTTP_AUTHORIZATION=f"Bearer {visitor.secret}", HTTP_ACCEPT="text/html"
    )
    response = ExactOrderList.as_view()(request, customer=customer.pk)
    assert '<li class="next">' in response.render().content.decode()
