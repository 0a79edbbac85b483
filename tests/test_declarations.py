"""Mistakes in what a project declares, by kind: each is refused where it is written, with a hint, and none later."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Literal, NewType, TypedDict

import pytest
from rest_framework import generics

from session_mgmt.pagination import LiveCursorPagination, LivePages
from session_mgmt.registry import Presence, Registry, on, on_claim, on_message, registry, topic
from session_mgmt.shortcuts import HasScope, RecentAuth

pytestmark = pytest.mark.sqlite


class Permission:
    """A class, where a function belongs."""


class Offer(TypedDict):
    kind: str


class AsyncCall:
    async def __call__(self, *arguments: Any, **named: Any) -> bool:
        return True


async def coroutine(*arguments: Any, **named: Any) -> bool:
    return True


def generator(*arguments: Any, **named: Any) -> Iterator[bool]:
    yield True


def allow(session: Any, pk: Any) -> bool:
    return True


NO_FUNCTIONS: dict[str, Any] = {
    "a class": Permission,
    "a result": True,
    "a name": "may_follow",
    "a number": 3,
    "async": coroutine,
    "a generator": generator,
    "an async call": AsyncCall(),
    "an async partial": functools.partial(coroutine, 1),
    "no arguments": lambda: True,
    "a partial without a place": functools.partial(allow, 1, 2),
}
# Where a function of the project is given.
TAKE_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "@topic": lambda given: topic("a:{pk}")(given),
    "publish": lambda given: topic("a:{pk}", publish=given)(allow),
    "snapshot": lambda given: topic("a:{pk}", snapshot=given)(allow),
    "allow_entry": lambda given: topic("a:{pk}", allow_entry=given)(allow),
    "member": lambda given: topic("a:{pk}", presence=Presence(member=given))(allow),
    "may_see": lambda given: topic("a:{pk}", presence=Presence(may_see=given))(allow),
    "@on": lambda given: on("session_expired")(given),
    "@on_message": on_message,
    "@on_claim": lambda given: on_claim("cart")(given),
}
# Where a value is given: its name, and values of every wrong kind.
TAKE_VALUES: dict[str, tuple[Callable[[Any], Any], list[Any]]] = {
    "@topic": (lambda given: topic(given)(allow), [3, None, allow, b"a", "a:{pk", "<pk>", ""]),
    "data": (
        lambda given: topic("a:{pk}", data=given)(allow),
        [3, "Order", {"n": int}, [int], allow, True, Permission()],
    ),
    "retain": (lambda given: topic("a:{pk}", retain=given)(allow), [3600, "1d", timedelta(0), Permission]),
    "entries": (lambda given: topic("a:{pk}", entries=given)(allow), [0, "9", True, 1.5, timedelta(1)]),
    "recheck": (lambda given: topic("a:{pk}", recheck=given)(allow), [60, "1m", timedelta(0)]),
    "personal": (lambda given: topic("a:{pk}", personal=given)(allow), ["user", True, 3]),
    "slow": (lambda given: topic("a:{pk}", slow=given)(allow), ["lates", "latest", True, []]),
    "latest_by": (lambda given: topic("a:{pk}", slow="latest", latest_by=given)(allow), ["", 3, ["id"]]),
    "latest_by of data": (
        lambda given: topic("a:{pk}", slow="latest", latest_by=given, data=Offer)(allow),
        ["nosuch", "knd"],
    ),
    "keys of data": (lambda given: topic("a:{pk}", keys=given, data=Offer)(allow), [["nosuch"], ["kind", "knd"]]),
    "keys": (lambda given: topic("a:{pk}", keys=given)(allow), ["kind", [1], ["kind", "kind"], {"kind": 1}, 3]),
    "presence": (lambda given: topic("a:{pk}", presence=given)(allow), [1, "yes", Presence, allow]),
    "grace": (lambda given: topic("a:{pk}", presence=Presence(grace=given))(allow), [10, timedelta(days=1), None]),
    "members_shown": (lambda given: topic("a:{pk}", presence=Presence(members_shown=given))(allow), ["9", True, -1]),
    "data_bytes": (lambda given: topic("a:{pk}", presence=Presence(data_bytes=given))(allow), ["9", True, -1]),
    "type": (lambda given: on(given)(print), ["session_expire", 3, None, print]),
    "durable": (lambda given: on("session_expired", durable=given), [1, "yes", None]),
    "@on_claim": (lambda given: on_claim(given), [3, None, print]),
    "RecentAuth": (RecentAuth, [900, "15m", None, timedelta(0), timedelta(-1)]),
    "HasScope": (HasScope, [3, None, "", "app pay", ["app:pay"]]),
    "remember": (lambda given: view(remember=given), ["", 3, True, ["orders"]]),
    "page_size": (lambda given: pages(page_size=given), ["50", 0, -1, True, 1.5]),
    "max_page_size": (lambda given: pages(max_page_size=given), ["50", 0, True]),
    "ordering": (lambda given: pages(ordering=given), [3, "", [], [3], {"id"}]),
    "topic": (lambda given: pages(topic=given), ["", 3, " a ", lambda self: "orders:1"]),
    "cursor_life": (lambda given: pages(cursor_life=given), [3600, "1d", timedelta(0), None]),
}


def view(**members: Any) -> Any:
    return type("OrderList", (LivePages, generics.ListAPIView), members)


def pages(**members: Any) -> Any:
    return type("OrderPages", (LiveCursorPagination,), members)


@pytest.fixture(autouse=True)
def empty(monkeypatch: pytest.MonkeyPatch) -> None:
    clean = Registry()
    for name in ("topics", "message_handlers", "durable", "transient", "claim_handlers"):
        monkeypatch.setattr(registry, name, getattr(clean, name))


@pytest.mark.parametrize("place", TAKE_FUNCTIONS)
def test_what_is_no_function_that_can_be_called_is_refused(place: str) -> None:
    for kind, given in NO_FUNCTIONS.items():
        if (place, kind) == ("publish", "a result"):
            # True and False are answers for everybody.
            continue
        with pytest.raises(TypeError) as told:
            TAKE_FUNCTIONS[place](given)
        assert place in str(told.value) or "topic 'a:{pk}'" in str(told.value), (kind, told.value)
    assert registry == Registry()


@pytest.mark.parametrize("name", TAKE_VALUES)
def test_a_wrong_value_is_refused_by_its_name(name: str) -> None:
    declare, wrong = TAKE_VALUES[name]
    for given in wrong:
        with pytest.raises((TypeError, ValueError)) as told:
            declare(given)
        assert str(told.value).endswith((".", "?")), told.value
        if isinstance(told.value, TypeError) and not name.startswith("@"):
            assert name in str(told.value), told.value
    assert registry == Registry()


@pytest.mark.parametrize("permission", [RecentAuth, HasScope])
def test_a_permission_without_its_parentheses_says_how_it_is_written(permission: Any) -> None:
    with pytest.raises(TypeError, match=rf"as {permission.__name__}\("):
        generics.ListAPIView(permission_classes=[permission]).get_permissions()


@pytest.mark.parametrize("given", [Any, None, int, list[int], int | None, Literal["a"], NewType("Id", int), Permission])
def test_what_an_annotation_may_be_is_the_data_of_a_topic(given: Any) -> None:
    topic("a:{pk}", data=given)(allow)
    assert registry.topics[0].data == given


def test_a_mixin_behind_the_class_that_it_changes_is_refused() -> None:
    with pytest.raises(TypeError, match="Write LivePages in front of"):
        type("OrderList", (generics.ListAPIView, LivePages), {})
    assert view(list=lambda self, request: None)


def test_a_second_handler_of_one_document_is_refused() -> None:
    on_claim("cart")(lambda visitor, users, user: users)
    with pytest.raises(ValueError, match="already"):
        on_claim("cart")
