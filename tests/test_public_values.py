"""What Django hands out is taken as it is meant, by every public function, and refused with the place of a fault."""

from __future__ import annotations

import inspect
import uuid
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.db import models, transaction
from django.test import override_settings
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy
from rest_framework.utils.serializer_helpers import ReturnDict

from session_mgmt import shortcuts
from session_mgmt.exceptions import (
    DocumentRefused,
    ForbiddenKey,
    InvalidField,
    InvalidJSON,
    NumberOutOfRange,
    SessionMgmtError,
    SessionNotFound,
    SessionTerminated,
    StringTooLong,
)
from session_mgmt.models import Publication
from session_mgmt.shortcuts import (
    create_session,
    drain,
    get_session,
    publish,
    send,
    session_state,
    state,
    terminate_session,
)

pytestmark = pytest.mark.usefixtures("on_this_thread")


class Status(models.TextChoices):
    PAID = "paid", "Paid"


class Level(models.IntegerChoices):
    HIGH = 3, "High"


@dataclass
class Line:
    article: str
    price: Decimal


Pair = namedtuple("Pair", "a b")
SOME_ID = uuid.UUID("12345678-1234-5678-1234-567812345678")
PLAIN: list[tuple[Any, Any]] = [
    (ReturnDict({"a": 1}, serializer=None), {"a": 1}),
    (OrderedDict(a=OrderedDict(b=1)), {"a": {"b": 1}}),
    ((1, (2, 3)), [1, [2, 3]]),
    (Pair(1, 2), [1, 2]),
    (mark_safe("<b>"), "<b>"),
    (Status.PAID, "paid"),
    ({Status.PAID: Level.HIGH}, {"paid": 3}),
    (gettext_lazy("yes"), "yes"),
]
ENCODED: list[tuple[Any, Any]] = [
    (Decimal("1.10"), "1.10"),
    (datetime(2026, 1, 2, 3, 4, 5, 678901, UTC), "2026-01-02T03:04:05.678Z"),
    (date(2026, 1, 2), "2026-01-02"),
    (time(3, 4, 5), "03:04:05"),
    (timedelta(hours=1), "P0DT01H00M00S"),
    (SOME_ID, str(SOME_ID)),
    (Line("tea", Decimal("2.50")), {"article": "tea", "price": "2.50"}),
]


def writes_of(session: Any) -> dict[str, tuple[Callable[[Any], Any], Callable[[], Any]]]:
    """Return each public way in, with the way to read what it kept."""
    last = Publication.objects.order_by("-id")
    return {
        "publish": (lambda value: publish("room:1", value), lambda: __import__("json").loads(bytes(last[0].data))),
        "merge": (lambda value: state.update(session, {"v": value}), lambda: state.get(session, path="/v")),
        "ops": (lambda value: state.update(session, ops=[["set", "/v", value]]), lambda: state.get(session, path="/v")),
        "replace": (lambda value: state.replace(session, {"v": value}), lambda: state.get(session, path="/v")),
        "handle": (lambda value: session_state(session).replace({"v": value}), lambda: state.get(session, path="/v")),
        "metadata": (
            lambda value: create_session(session_id=uuid.uuid4(), metadata={"v": value}).session,
            lambda: get_session(type(session).objects.latest("created_at").pk).metadata["v"],
        ),
    }


@pytest.mark.parametrize("inside", [False, True], ids=["now", "inside atomic"])
@pytest.mark.parametrize(("value", "kept"), [*PLAIN, *ENCODED], ids=lambda value: type(value).__name__)
def test_a_value_is_taken_by_its_plain_value(value: Any, kept: Any, inside: bool) -> None:
    session = create_session().session
    for name, (write, read) in writes_of(session).items():
        if inside:
            with transaction.atomic():
                write(value)
            drain()
        else:
            write(value)
        assert read() == kept, name
    assert send(session, value).offset > 1


@pytest.mark.parametrize("value", [value for value, _ in ENCODED], ids=lambda value: type(value).__name__)
def test_the_encoder_can_be_switched_off(value: Any) -> None:
    with override_settings(SESSION_MGMT={"encode_values": False}), pytest.raises(InvalidJSON, match="at /a/0"):
        publish("room:1", {"a": [value]})
    with override_settings(SESSION_MGMT={"encode_values": False}):
        assert publish("room:1", Status.PAID).offset == 1


@pytest.mark.parametrize(
    ("value", "error", "path"),
    [
        ({"cart": [{"price": {1, 2}}]}, InvalidJSON, "/cart/0/price"),
        ({"cart": [{"price": float("nan")}]}, NumberOutOfRange, "/cart/0/price"),
        ({"a": {"b/c": 2**60}}, NumberOutOfRange, "/a/b~1c"),
        ({"a": [0, {"__proto__": 1}]}, ForbiddenKey, "/a/1/__proto__"),
        ({"a": {1: 2}}, InvalidJSON, "/a"),
        ({"a": b"x"}, InvalidJSON, "/a"),
        ({"a": shortcuts.MISSING}, InvalidJSON, "/a"),
        ({"a": [shortcuts.CONFLICT]}, InvalidJSON, "/a/0"),
    ],
)
def test_an_error_names_the_place(value: Any, error: type[SessionMgmtError], path: str) -> None:
    with pytest.raises(error) as refused:
        publish("room:1", value)
    assert refused.value.facts["path"] == path and path in str(refused.value) and path not in refused.value.detail


@pytest.mark.parametrize("form", [str, lambda id_: id_.hex, lambda id_: id_, "row"], ids=["text", "hex", "id", "row"])
def test_a_session_is_given_in_every_form(form: Any) -> None:
    session = create_session().session
    given = session if form == "row" else form(session.pk)
    assert send(given, "hi").offset == 2
    assert state.update(given, {"a": 1}).offset == 1
    assert get_session(given).pk == session.pk
    assert session_state(given).get() == {"a": 1}


def test_what_is_no_session_is_refused_without_telling_secrets() -> None:
    user = get_user_model().objects.create_user("ada")
    created = create_session()
    for wrong in (user, 1, created, "order-42", None, b"x"):
        for call in (send, lambda session, _: state.get(session), lambda session, _: terminate_session(session)):
            with pytest.raises(InvalidField) as refused:
                call(wrong, "hi")
            assert refused.value.facts["field"] == "session"
            assert created.token.secret not in str(refused.value)
    assert created.token.secret not in repr(created)


def test_an_unknown_keyword_is_refused() -> None:
    with pytest.raises(TypeError, match="ttl"):
        create_session(ttl=5)  # type: ignore[call-arg]
    assert create_session(idle_timeout=600).session


WRONG: dict[str, tuple[Callable[[Any, Any], Any], str, tuple[Any, ...]]] = {
    "get by path": (lambda session, wrong: state.get(session, path=wrong), "path", (5, None, {"a": 1}, b"/a")),
    "get by version": (lambda session, wrong: state.get(session, version=wrong), "version", (1.5, b"1", True, ["v1"])),
    "read_at": (state.read_at, "version", (None, 1.5, True, SOME_ID)),
    "diff": (lambda session, wrong: state.diff(session, 0, wrong), "second", ("1", None, 1.0)),
    "history from": (lambda session, wrong: state.history(session, before=wrong), "before", ("1", 2.5, float("nan"))),
    "history's page": (lambda session, wrong: state.history(session, limit=wrong), "limit", (0, -1, "5", 2.5, None)),
    "restore": (state.restore, "to", (None, 1.5, False, SOME_ID)),
    "forget": (state.forget, "label", (None, 5, SOME_ID)),
    "owner": (lambda _, wrong: create_session(user=wrong), "user", (5, "ada", AnonymousUser(), get_user_model()())),
    "reason": (lambda session, wrong: terminate_session(session, reason=wrong), "reason", (5, None, "a\0b", "\ud800")),
    "metadata": (lambda _, wrong: create_session(metadata=wrong), "metadata", (0, False, "", [], "x", [1])),
    "scopes": (lambda _, wrong: create_session(scopes=wrong), "scopes", (0, True, 1.5, "x", [], [1], {"a": 1})),
    "chosen id": (lambda session, _: create_session(session_id=session.pk), "session_id", ("taken",)),
}


@pytest.mark.parametrize(("call", "field", "wrongs"), WRONG.values(), ids=WRONG)
def test_a_wrong_argument_names_its_field(call: Any, field: str, wrongs: tuple[Any, ...]) -> None:
    session = create_session().session
    state.update(session, {"a": 1})
    for wrong in wrongs:
        with pytest.raises(InvalidField) as refused:
            call(session, wrong)
        assert refused.value.facts["field"] == field, wrong
        # Inside a transaction, too, the refusal leaves it usable.
        with transaction.atomic():
            with pytest.raises(InvalidField):
                call(session, wrong)
            assert get_session(session).pk == session.pk


@pytest.mark.parametrize("name", [None, 5, "", "a/b", "a\0b", "a" * 101, SOME_ID])
def test_a_name_that_no_document_can_have_is_refused_by_reads_too(name: Any) -> None:
    session = create_session().session
    reads = (state.get, state.info, state.checksum, state.size)
    by_keyword = (state.conflicts, state.history, state.checkpoints, state.sync, state.compress, state.persist)
    calls = [partial(read, session, name) for read in reads] + [
        partial(read, session, name=name) for read in by_keyword
    ]
    for call in (*calls, partial(session_state, session, name), partial(state.restore, session, 0, name=name)):
        with pytest.raises(InvalidField) as refused:
            call()
        assert refused.value.facts["field"] == "doc"


RAISED: list[tuple[Callable[..., Any], tuple[Any, ...], type[SessionMgmtError]]] = [
    (publish, ("", 1), InvalidField),
    (publish, ("room:1", object()), InvalidJSON),
    (publish, ("room:1", float("inf")), NumberOutOfRange),
    (publish, ("room:1", "x" * 2_000_000), StringTooLong),
    (send, (uuid.uuid4(), 1), SessionNotFound),
    (send, ("ended", 1), SessionTerminated),
    (send, (1, 1), InvalidField),
    (send, ("live", {1}), InvalidJSON),
    (get_session, (uuid.uuid4(),), SessionNotFound),
    (get_session, ("x",), InvalidField),
    (state.update, ("live", {"a": {1}}), InvalidJSON),
    (state.update, ("live",), InvalidField),
    (state.update, (uuid.uuid4(), {"a": 1}), SessionNotFound),
    (state.update, ("ended", {"a": 1}), SessionTerminated),
]


@pytest.mark.parametrize(("call", "arguments", "error"), RAISED)
def test_what_is_raised_is_documented(call: Any, arguments: Any, error: type[SessionMgmtError]) -> None:
    live, ended = create_session().session, create_session().session
    state.update(ended, {"a": 0})
    terminate_session(ended)
    named = {"live": live, "ended": ended}
    given = [named.get(each, each) if isinstance(each, str) else each for each in arguments]
    with pytest.raises(error):
        call(*given)
    documented = inspect.getdoc(call) or ""
    if "as ``publish``" in documented:
        documented += inspect.getdoc(publish) or ""
    families = {each.__name__ for each in error.__mro__ if issubclass(each, SessionMgmtError)} - {"SessionMgmtError"}
    assert any(f"``{name}``" in documented for name in families), (error, documented)
    assert DocumentRefused in StringTooLong.__mro__


def test_every_function_has_its_async_version() -> None:
    # A block of Django's transactions has no async form.
    declaring = {"on", "off", "on_claim", "on_message", "topic", "drain", "session_state", "open_snapshot", "publishes"}
    functions = {name for name in shortcuts.__all__ if inspect.isfunction(getattr(shortcuts, name))}
    plain = {name for name in functions if not inspect.iscoroutinefunction(getattr(shortcuts, name))} - declaring
    assert {f"a{name}" for name in plain} <= functions
    for holder in (type(state), type(session_state(uuid.uuid4()))):
        methods = {name for name in vars(holder) if not name.startswith("_")}
        plain = {name for name in methods if not inspect.iscoroutinefunction(vars(holder)[name])}
        inherited = {name for base in holder.__mro__ for name in vars(base)}
        assert {"async_" if name == "sync" else f"a{name}" for name in plain} <= methods | inherited
