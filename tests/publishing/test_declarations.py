"""A declaration that cannot work is refused where it is written, or by the system check."""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from rest_framework import serializers

from session_mgmt.protocol.row_keys import write_value
from session_mgmt.publishing import PublishingManager, PublishingQuerySet, get_publisher, publishes
from session_mgmt.publishing.checks import check_followers, check_publishers
from session_mgmt.publishing.publisher import find_kind, read_serializer
from session_mgmt.registry import registry, topic
from tests.shop.models import Order

pytestmark = pytest.mark.django_isolate_apps("tests.shop")
_numbers = count()


def serialize(row: Any) -> dict[str, Any]:
    return {}


def make_model(**members: Any) -> Any:
    members = {"status": models.CharField(max_length=9), **members}
    return derive(models.Model, f"Thing{next(_numbers)}", **members)


def derive(model: Any, name: str, **members: Any) -> Any:
    meta = type("Meta", (), {"app_label": "shop", **members.pop("meta", {})})
    return type(name, (model,), {"__module__": __name__, **members, "Meta": meta})


class Plain(models.Manager[Any]):
    pass


class Filtered(PublishingManager):
    def get_queryset(self) -> Any:
        return super().get_queryset().filter(status="open")


GOOD = {"topic": "things:{status}", "serializer": serialize}
REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no serializer": ({}, {"serializer": None}, "needs serializer="),
    "a class that is none": ({}, {"serializer": dict}, "serializer of shop"),
    "a serializer with other arguments": ({}, {"serializer": lambda: 1}, "called with"),
    "unknown field of the topic": ({}, {"topic": "things:{statu}"}, "Did you mean 'status'"),
    "no pattern": ({}, {"topic": "things:{status"}, "no pattern"),
    "a topic of presence": ({}, {"topic": "presence:{status}"}, "presence"),
    "a function without the row": ({}, {"topic": lambda: None}, "called with"),
    "unknown key": ({}, {"keys": ["made"]}, "no field 'made'"),
    "a key of another model": ({}, {"keys": ["status__name"]}, "no field"),
    "a key twice": ({}, {"keys": ["status", "status"]}, "twice"),
    "the primary key": ({}, {"keys": ["id"]}, "in any case"),
    "a key without order": ({"data": models.JSONField()}, {"keys": ["data"]}, "no order"),
    "a text as keys": ({}, {"keys": "status"}, "list of names"),
    **{
        f"keys {wrong!r}": ({}, {"keys": wrong}, "keys of @publishes") for wrong in (3, None, [3], {"status"}, [["id"]])
    },
    **{f"prefetch {wrong!r}": ({}, {"prefetch": wrong}, "prefetch of @publishes") for wrong in ("tags", 3, None, [3])},
    "a relation of many as key": ({"tags": models.ManyToManyField("shop.Tag")}, {"keys": ["tags"]}, "no field"),
    "abstract": ({"meta": {"abstract": True}}, {}, "abstract"),
    "a manager of another class": ({"objects": Plain()}, {}, "derive its class"),
    "a manager of some rows": ({"objects": Filtered()}, {}, "base_manager_name"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_mistake_is_refused_where_it_is_written(name: str) -> None:
    members, given, message = REFUSED[name]
    with pytest.raises((TypeError, ValueError), match=message):
        publishes(**{**GOOD, **given})(make_model(**members))


def test_other_mistakes_of_the_model_are_refused() -> None:
    model = publishes(**GOOD)(make_model())
    with pytest.raises(TypeError, match="already"):
        publishes(**GOOD)(model)
    with pytest.raises(TypeError, match="decorates a model"):
        publishes(**GOOD)(dict)
    with pytest.raises(TypeError, match="in parentheses"):
        publishes(model)
    with pytest.raises(TypeError, match="a proxy"):
        publishes(**GOOD)(derive(make_model(), "Proxy", meta={"proxy": True}))
    with pytest.raises(TypeError, match="several tables"):
        publishes(**GOOD)(derive(make_model(), "Child"))


def test_a_model_keeps_its_own_managers() -> None:
    rows = PublishingManager.from_queryset(type("Rows", (PublishingQuerySet,), {}))
    model = publishes(**GOOD)(
        make_model(opened=Filtered(), everything=rows(), meta={"base_manager_name": "everything"})
    )
    assert (model._default_manager.name, model._base_manager.name) == ("opened", "everything")
    other = publishes(**GOOD, keys=["status"])(make_model())
    assert (other._default_manager.name, other._base_manager.name) == ("objects", "objects")
    assert isinstance(other.objects, PublishingManager)
    assert get_publisher(other).kinds == {"status": "text", "id": "number"}


def test_the_check_finds_what_was_not_known_yet(django_isolated_apps: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = publishes("things:{status}", serializer="tests.shop.nothing", prefetch=["tag"])(make_model())
    derive(model, "Child")
    derive(model, "Proxy", objects=Plain(), meta={"proxy": True})
    monkeypatch.setattr("django.db.router.db_for_write", lambda *_, **__: "elsewhere")
    monkeypatch.setattr("session_mgmt.publishing.checks.apps", django_isolated_apps)
    found = check_publishers()
    assert {fault.id for fault in found} == {"session_mgmt.E034"}
    told = sorted(f"{fault.msg} {fault.hint}" for fault in found)
    parts = ("to prefetch", "The serializer of", "Child stores its rows", "Proxy.objects does not", "'elsewhere'")
    assert len(told) == len(parts)
    for part in parts:
        assert any(part in text for text in told), told


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ((), 1),
        (("things:{status}",), 0),
        (("things:{code:slug}",), 0),
        (("things:{number:int}",), 0),
        (("things:{key:uuid}",), 0),
        (("{kind}:{rest}",), 0),
        (("thing:{status}",), 1),
        (("things:{status}:more",), 1),
    ],
)
def test_a_model_that_publishes_to_a_topic_that_nobody_declares_is_told(
    declared: tuple[str, ...], told: int, django_isolated_apps: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    publishes("things:{status}", serializer=serialize)(make_model())
    monkeypatch.setattr("session_mgmt.publishing.checks.apps", django_isolated_apps)
    monkeypatch.setattr(registry, "topics", [])
    for pattern in declared:
        topic(pattern)(lambda session, **parts: True)
    assert [fault.id for fault in check_followers()] == ["session_mgmt.W024"] * told


def test_a_topic_of_a_model_whose_keys_no_publication_has_is_told(
    django_isolated_apps: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    publishes("things:{status}", serializer=serialize)(make_model())
    monkeypatch.setattr("session_mgmt.publishing.checks.apps", django_isolated_apps)
    monkeypatch.setattr(registry, "topics", [])
    topic("things:{status}", keys=["op", "status"])(lambda session, status: True)
    (fault,) = check_followers()
    assert fault.id == "session_mgmt.W024" and "filtered by status, which" in fault.msg


class NoFields(serializers.ModelSerializer[Order]):
    class Meta:
        model = Order


class UnknownField(serializers.ModelSerializer[Order]):
    class Meta:
        model = Order
        fields = ("nosuch",)


class WithAddress(serializers.Serializer[Any]):
    url = serializers.HyperlinkedIdentityField(view_name="thing")


class WithRequest(serializers.Serializer[Any]):
    def get_fields(self) -> Any:
        return {self.context["request"].user: serializers.CharField()}


class WithArgument(serializers.Serializer[Any]):
    def __init__(self, *args: Any, user: Any, **more: Any) -> None:
        super().__init__(*args, **more)


@pytest.mark.parametrize(
    ("serializer", "told"),
    [
        (NoFields, "is for rows of shop.Order"),
        (WithAddress, "needs a request"),
        (WithRequest, "without a request"),
        (WithArgument, "user"),
    ],
)
def test_a_serializer_that_cannot_tell_of_a_row_is_found_by_the_check(
    serializer: Any, told: str, django_isolated_apps: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("session_mgmt.publishing.checks.apps", django_isolated_apps)
    publishes(**{**GOOD, "serializer": serializer})(make_model())
    (fault,) = check_publishers()
    assert fault.id == "session_mgmt.E034" and told in f"{fault.msg} {fault.hint}"


@pytest.mark.parametrize("serializer", [NoFields, UnknownField])
def test_a_serializer_with_unusable_fields_is_refused_by_its_check(serializer: Any) -> None:
    with pytest.raises((AssertionError, ImproperlyConfigured), match=r"fields|nosuch"):
        read_serializer("shop.Order", serializer).check(Order)


def test_a_serializer_that_returns_no_list_is_an_error() -> None:
    class Odd(serializers.Serializer[Any]):
        @classmethod
        def many_init(cls, *_: Any, **__: Any) -> Any:
            return type("Page", (), {"data": {}})()

    model = publishes("things:{status}", serializer=Odd)(make_model())
    publisher = get_publisher(model)
    assert publisher is not None
    with pytest.raises(TypeError, match="no list"):
        publisher.serialize([model()])


def test_the_shop_has_no_fault() -> None:
    assert [fault for fault in run_checks() if fault.id == "session_mgmt.E034"] == []
    publisher = get_publisher(Order)
    assert publisher is not None
    # A part that would be read as two is no part.
    with pytest.raises(ValueError, match="no topic"):
        publisher.topic_of(Order(customer_id="1:2"))


def test_values_that_may_be_larger_than_javascript_has_them_are_compared_as_decimals() -> None:
    for field in (models.BigIntegerField(), models.DurationField(), models.DecimalField(), models.FloatField()):
        assert find_kind(field) == "decimal"
    assert isinstance(write_value(timedelta.max), str) and isinstance(write_value(1e300), str)
