"""The public face: in a TestCase, in views' transactions, and against its documented list."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction
from django.test import TestCase

from session_mgmt import shortcuts
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
