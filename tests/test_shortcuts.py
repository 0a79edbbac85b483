"""The public face: in a TestCase, in views' transactions, and against its documented list."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from django.db import transaction
from django.test import TestCase

from session_mgmt import shortcuts
from session_mgmt.actions.timeline import handlers
from session_mgmt.exceptions import InvalidPath, NotFound
from session_mgmt.models import Outbox, Publication, SessionEvent
from session_mgmt.shortcuts import create_session, drain, is_connected, off, on, publish, send, state, terminate_session
from session_mgmt.testing import inline_bridge


class InlineTests(TestCase):
    """Everything works inside the transaction that a TestCase holds."""

    def test_update_and_publish_take_effect_at_once(self) -> None:
        with inline_bridge():
            session = create_session().session
            position = state.update(session, {"cart": {"coupon": "WELCOME"}})
            assert position.offset == 1
            assert state.get(session) == {"cart": {"coupon": "WELCOME"}}
            assert publish("orders:1", {"status": "paid"}).offset == 1
            assert send(session, "hi").offset == 2
            assert state.size(session) == len('{"cart":{"coupon":"WELCOME"}}')

    def test_inside_a_transaction_the_outbox_waits_for_the_drain(self) -> None:
        with inline_bridge() as bridge:
            session = create_session().session
            with transaction.atomic():
                publish("orders:1", 1)
                state.update(session, {"a": 1})
                send(session, "hello")
            assert Publication.objects.count() == 0
            assert bridge.drain() == 3
            assert Publication.objects.count() == 1
            assert state.get(session) == {"a": 1}
            assert SessionEvent.objects.filter(type="message").count() == 1

    def test_what_is_rolled_back_never_happened(self) -> None:
        with inline_bridge() as bridge:
            with pytest.raises(ValueError, match="no"), transaction.atomic():
                publish("orders:1", 1)
                raise ValueError("no")
            assert bridge.drain() == 0
            assert Publication.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_a_handler_hears_of_an_event_after_commit_and_can_be_taken_back() -> None:
    heard: list[Any] = []
    handler = on("session_terminated")(heard.append)
    session = create_session().session
    terminate_session(session)
    assert [(event.type, event.session_id) for event in heard] == [("session_terminated", session.pk)]
    off(handler)
    terminate_session(create_session().session)
    assert len(heard) == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("durable", [False, True])
def test_a_handler_that_is_registered_again_hears_of_an_event_once_and_is_taken_back_whole(durable: bool) -> None:
    heard: list[Any] = []
    handler = heard.append
    for type_ in ("session_terminated", "session_terminated", "*"):
        on(type_, durable=durable)(handler)
    try:
        terminate_session(create_session().session)
        handlers.run_pending()
        assert [event.type for event in heard] == ["session_created", "session_terminated"]
    finally:
        off(handler)
    terminate_session(create_session().session)
    handlers.run_pending()
    assert len(heard) == 2


@pytest.mark.django_db(transaction=True)
def test_an_unknown_event_type_is_a_mistake_that_is_told() -> None:
    with pytest.raises(ValueError, match="no event type"):
        on("session_exploded")


@pytest.mark.django_db(transaction=True)
def test_a_key_makes_a_second_update_harmless() -> None:
    session = create_session().session
    assert state.update(session, ops=[["inc", "/n", 1]], key="job-1") == state.update(
        session, ops=[["inc", "/n", 1]], key="job-1"
    )
    assert state.get(session) == {"n": 1}
    assert not is_connected(session)


@pytest.mark.django_db(transaction=True)
def test_a_value_is_read_by_its_path_and_at_any_version() -> None:
    session = create_session().session
    state.update(session, {"cart": {"coupon": "WELCOME", "a/b": [1, None]}})
    state.persist(session, "sale")
    state.update(session, {"cart": {"coupon": "SUMMER"}})
    assert state.get(session, path="/cart/coupon") == "SUMMER"
    assert state.get(session, path="/cart/a~1b/0") == 1
    assert state.get(session, path="/cart/a~1b/1", default="none") is None
    assert state.get(session, path="/gone", default="none") == "none"
    assert state.get(session, "never written", path="") == {}
    assert state.get(session, path="/cart/coupon", version=1) == state.get(session, path="/cart/coupon", version="sale")
    assert state.get(session, version=1)["cart"]["coupon"] == "WELCOME"
    with pytest.raises(InvalidPath):
        state.get(session, path="cart")
    with pytest.raises(NotFound):
        state.get(session, version=3)


@pytest.mark.django_db(transaction=True)
def test_what_is_known_of_a_document_belongs_to_one_version() -> None:
    session = create_session().session
    nothing = state.info(session)
    assert (nothing.data, nothing.version, nothing.last_modified, nothing.size) == ({}, 0, None, 2)
    state.sync(session)
    assert state.info(session).last_modified is None
    state.update(session, {"b": 1.0, "a": "\u20ac"})
    known = state.info(session)
    assert (known.data, known.version, known.size) == ({"a": "\u20ac", "b": 1}, 1, 17)
    assert known.checksum == hashlib.sha256('{"a":"\u20ac","b":1}'.encode()).hexdigest() == state.checksum(session)
    assert known.last_modified is not None
    assert (known.compressed, known.encrypted) == (False, False)
    assert [document["name"] for document in state.documents(session)] == ["main"]


@pytest.mark.django_db(transaction=True)
def test_synchronising_from_python_gives_plain_values() -> None:
    session = create_session().session
    position = state.update(session, {"a": 1})
    assert state.sync(session)["data"] == {"a": 1}
    state.update(session, {"a": 2})
    answer = state.sync(session, position)
    assert (answer["mode"], answer["entries"][0][2]["ops"]) == ("entries", [["obj", ""], ["set", "/a", 2]])
    assert state.sync(session, answer["position"])["mode"] == "up_to_date"


@pytest.mark.django_db(transaction=True)
def test_checkpoints_are_listed_and_given_up() -> None:
    session = create_session().session
    state.update(session, {"a": 1})
    state.persist(session, "sale")
    assert [(point["label"], point["version"]) for point in state.checkpoints(session)] == [("sale", 1)]
    assert state.forget(session, "sale") is True
    assert state.forget(session, "sale") is False
    assert state.checkpoints(session) == []


@pytest.mark.django_db(transaction=True)
def test_a_wish_that_cannot_be_carried_out_blocks_nobody() -> None:
    session = create_session().session
    with transaction.atomic():
        send(session, "to a session that ends before the drain")
        Outbox.objects.create(
            kind="record",
            target="00000000000000000000000000000000/message",
            payload=b"1",
            created_at=session.created_at,
        )
        publish("orders:1", "fine")
    drain()
    assert list(Outbox.objects.values_list("refused", flat=True)) == ["session_not_found"]
    assert Publication.objects.count() == 1


def test_every_public_name_is_there_and_documented() -> None:
    for name in shortcuts.__all__:
        assert getattr(shortcuts, name).__doc__
