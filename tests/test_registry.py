"""Declarations of the project: what cannot work is refused where it is written, and nothing fails open."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from session_mgmt.actions import access
from session_mgmt.actions.notify import EmittedEvent, send_events
from session_mgmt.actions.state import policies
from session_mgmt.exceptions import PublishDenied, TopicDenied
from session_mgmt.models import ClientSession
from session_mgmt.registry import Presence, on, on_message, registry, topic
from session_mgmt.signals import session_event

SESSION = ClientSession()


@pytest.fixture(autouse=True)
def undeclared() -> Iterator[None]:
    tables = registry.topics, registry.message_handlers
    before = [list(table) for table in tables]
    handlers = registry.durable.copy(), registry.transient.copy()
    registry.topics.clear()
    yield
    for table, kept in zip(tables, before, strict=True):
        table[:] = kept
    registry.durable, registry.transient = handlers


async def coroutine(*arguments: Any, **named: Any) -> bool:
    return False


async def asynchronous_generator(*arguments: Any, **named: Any) -> Any:
    yield False


def generator(*arguments: Any, **named: Any) -> Any:
    yield False


class Permission:
    async def __call__(self, *arguments: Any, **named: Any) -> bool:
        return False

    async def method(self, *arguments: Any, **named: Any) -> bool:
        return False


ASYNC = [
    *(coroutine, asynchronous_generator, generator, Permission(), Permission, Permission().method),
    *(functools.partial(coroutine), functools.partial(Permission()), functools.partial(functools.partial(coroutine))),
    *(staticmethod(coroutine), functools.lru_cache(coroutine), sync_to_async(lambda *arguments, **named: True)),
]
DECLARE: dict[str, Callable[[Any], Any]] = {
    "follow": lambda function: topic("orders:{pk}")(function),
    "publish": lambda function: topic("orders:{pk}", publish=function)(lambda session, pk: True),
    "allow_entry": lambda function: topic("orders:{pk}", allow_entry=function)(lambda session, pk: True),
    "on": lambda function: on("session_expired")(function),
    "durable": lambda function: on("session_expired", durable=True)(function),
    "on_message": on_message,
}


@pytest.mark.parametrize("function", ASYNC, ids=lambda function: type(function).__name__)
@pytest.mark.parametrize("declare", DECLARE.values(), ids=DECLARE.keys())
def test_an_async_function_is_refused_where_it_is_declared(declare: Callable[[Any], Any], function: Any) -> None:
    with pytest.raises(TypeError, match=r"plain def|needs a function"):
        declare(function)


@pytest.mark.parametrize("declare", DECLARE.values(), ids=DECLARE.keys())
def test_a_function_that_takes_something_else_is_refused_where_it_is_declared(declare: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match=r"is called with \("):
        declare(lambda: True)
    with pytest.raises(TypeError, match=r"is called with \("):
        declare(lambda one, two, three, four: True)


@pytest.mark.parametrize(
    ("declare", "hint"),
    [
        (lambda: topic(lambda session: True), "in parentheses"),  # type: ignore[arg-type]
        (lambda: on(lambda event: None), "in parentheses"),  # type: ignore[arg-type]
        (lambda: on_message("double"), "needs a function"),  # type: ignore[arg-type]
        (lambda: topic("orders", retain=60), "is a timedelta, not 60"),  # type: ignore[arg-type]
        (lambda: topic("orders", retain=timedelta(0)), "keep nothing"),
        (lambda: topic("orders", entries="many"), "whole number"),  # type: ignore[arg-type]
        (lambda: topic("orders", entries=True), "whole number"),
        (lambda: topic("orders", entries=0), "keep nothing"),
        (lambda: topic("orders", publish="yes"), "function, True or False"),  # type: ignore[arg-type]
        (lambda: topic("orders:<int:pk>"), "in braces"),
        (lambda: topic("orders", allow_entry=True), "needs a function"),  # type: ignore[arg-type]
        (lambda: topic("orders", allow_entry=lambda one, two: True, slow="disconnect"), "only be 'replay'"),
        *(
            (lambda given=given: topic("orders", retain=given), "is a timedelta, not")
            for given in (True, 1.5, "1 day", [])
        ),
        (lambda: topic("orders", retain=timedelta(-1)), "keep nothing"),
        (lambda: topic("orders", retain=timedelta.max), "at most 36500 days"),
        (lambda: topic("orders", entries=10**30), "at most 36500 days"),
        (lambda: topic("orders", entries=2.0), "whole number"),  # type: ignore[arg-type]
        (lambda: topic("orders", publish=None), "function, True or False"),  # type: ignore[arg-type]
        (lambda: topic("x" * 256), "no pattern"),
        (lambda: topic("a\nb"), "no pattern"),
        (lambda: topic("a\0:{pk}"), "no pattern"),
        (lambda: topic("presence:orders"), "write presence=True"),
        (lambda: topic("orders", presence="yes"), "True, False or Presence"),  # type: ignore[arg-type]
        (lambda: topic("orders", presence=Presence), "True, False or Presence"),  # type: ignore[arg-type]
        (lambda: topic("orders", presence=Presence(grace=10)), "is a timedelta, not 10"),  # type: ignore[arg-type]
        (lambda: topic("orders", presence=Presence(grace=timedelta(days=1))), "from 0 to 3600 seconds"),
        (lambda: topic("orders", presence=Presence(members_shown=True)), "whole number"),
        (lambda: topic("orders", presence=Presence(members_shown=5001)), "from 0 to 5000"),
        (lambda: topic("orders", presence=Presence(data_bytes=-1)), "from 0 to 10000"),
        (lambda: topic("o:{pk}", presence=Presence(member=lambda session: 1)), r"is called with \("),
        (lambda: topic("o:{pk}", presence=Presence(may_see=lambda pk: True)), r"is called with \("),
        (lambda: on("session_expired", durable="yes"), "durable"),  # type: ignore[arg-type]
        (lambda: on("session_expired", durable=None), "durable"),  # type: ignore[arg-type]
    ],
)
def test_a_declaration_that_cannot_work_is_refused_where_it_is_written(declare: Callable[[], Any], hint: str) -> None:
    with pytest.raises((TypeError, ValueError), match=hint):
        declare()
    assert registry.topics == []


def test_a_topic_of_presence_is_found_where_a_topic_declares_it_and_by_no_general_pattern() -> None:
    topic("{kind}:{pk}")(lambda session, kind, pk: True)
    topic("hall:{pk}", presence=True)(lambda session, pk: True)
    found = registry.find_topic("presence:hall:1")
    assert found is not None and found[0].is_presence_log and found[1] == {"pk": "1"}
    assert found[0].may_publish is False and registry.find_presence("presence:hall:1") is None
    # The first pattern that matches decides, and it has no presence.
    assert registry.find_presence("hall:1") is None and registry.find_topic("presence:x") is None


def hidden(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function so that nothing tells that it is async."""

    def call(*arguments: Any, **named: Any) -> Any:
        return function(*arguments, **named)

    return call


def quit_program(*arguments: Any, **named: Any) -> Any:
    raise SystemExit(1)


def cancel(*arguments: Any, **named: Any) -> Any:
    raise asyncio.CancelledError


TRUE_AND_NO_ANSWER = [
    *(SESSION.save, ClientSession, SESSION, Future(), PermissionError(), (False, "not yours"), [False], iter(())),
    *("no", 1, NotImplemented, contextlib.nullcontext()),
]


@pytest.mark.parametrize(
    "function",
    [
        *(coroutine, asynchronous_generator, generator),
        *(lambda *a, answer=answer, **n: answer for answer in TRUE_AND_NO_ANSWER),
    ],
)
def test_an_answer_that_is_none_denies_and_is_logged_once(function: Any, caplog: pytest.LogCaptureFixture) -> None:
    topic("orders:{pk}", publish=hidden(function))(hidden(function))
    for _ in range(3):
        with pytest.raises(TopicDenied):
            access.check_follow(SESSION, "orders:1")
        with pytest.raises(PublishDenied):
            access.check_publish(SESSION, "orders:1")
    (told,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "orders:1" in told.getMessage()


@pytest.mark.parametrize("function", [quit_program, cancel])
def test_a_function_that_quits_denies_its_topic_and_ends_nothing(
    function: Any, caplog: pytest.LogCaptureFixture
) -> None:
    topic("orders:{pk}")(function)
    with ThreadPoolExecutor(1) as pool, pytest.raises(TopicDenied):
        pool.submit(access.check_follow, SESSION, "orders:1").result()
    (told,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "orders:1" in told.getMessage()


def test_a_program_that_is_told_to_end_in_the_middle_of_an_answer_ends() -> None:
    topic("orders:{pk}")(quit_program)
    with pytest.raises(SystemExit):
        access.check_follow(SESSION, "orders:1")


@pytest.mark.parametrize("name", ["role", "function", "arguments", "named", "self", "parts"])
def test_a_part_of_a_topic_may_have_any_name(name: str) -> None:
    topic(f"chat:{{{name}}}", publish=lambda session, **parts: parts == {name: "a"})(lambda session, **parts: True)
    access.check_follow(SESSION, "chat:a")
    access.check_publish(SESSION, "chat:a")
    with pytest.raises(PublishDenied):
        access.check_publish(SESSION, "chat:b")


def test_a_topic_whose_function_raises_is_denied_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    @topic("broken:{pk}")
    def ask(session: Any, pk: str) -> bool:
        raise RuntimeError("the shop is closed")

    for _ in range(3):
        with pytest.raises(TopicDenied):
            access.check_follow(SESSION, "broken:1")
    (told,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "broken:1" in told.getMessage()
    assert "the shop is closed" in caplog.text


def test_a_handler_that_is_async_in_disguise_is_logged_and_not_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    on("session_expired")(hidden(coroutine))
    send_events([EmittedEvent(None, "session_expired", {}, None)])
    assert "write a plain def" in caplog.text


@pytest.mark.parametrize("path", ["coroutine", "generator", "Permission", "hidden"])
def test_a_merge_function_that_cannot_work_is_refused_by_the_check(path: str) -> None:
    with pytest.raises(ValueError, match="strategy"):
        policies.parse_policy({"strategy": f"tests.test_registry.{path}"})


def test_a_receiver_that_quits_is_logged_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def receiver(**facts: Any) -> None:
        raise SystemExit(1)

    seen: list[str] = []
    session_event.connect(receiver)
    try:
        on("session_expired")(lambda event: seen.append(event.type))
        with ThreadPoolExecutor(1) as pool:
            pool.submit(send_events, [EmittedEvent(None, "session_expired", {}, None)]).result()
    finally:
        session_event.disconnect(receiver)
    assert seen == ["session_expired"]
    assert "SystemExit" in caplog.text


def test_the_first_pattern_that_matches_decides() -> None:
    topic("orders:{pk:int}")(lambda session, pk: pk == 1)
    topic("orders:{rest}")(lambda session, rest: rest == "all")
    access.check_follow(SESSION, "orders:1")
    access.check_follow(SESSION, "orders:all")
    for denied in ("orders:2", "orders:none", "orders:01", "orders:+1"):
        with pytest.raises(TopicDenied):
            access.check_follow(SESSION, denied)
