"""Each of the twelve events goes every way that the server has; the clients get all of them from the log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import transaction
from django.test import Client

from session_mgmt.actions.timeline import handlers
from session_mgmt.actions.timeline.ledger import make_record
from session_mgmt.actions.timeline.reading import read_page
from session_mgmt.actions.timeline.recording import record_entries
from session_mgmt.models import clock
from session_mgmt.protocol.events import EVENT_TYPES
from session_mgmt.registry import off, on
from session_mgmt.shortcuts import create_session
from session_mgmt.signals import session_event

pytestmark = pytest.mark.django_db(transaction=True)
LIST = "/admin/session_mgmt/sessionevent/"


@pytest.fixture
def heard() -> Iterator[list[tuple[str, Any, str]]]:
    """Way, session and type of everything that the project hears."""
    told: list[tuple[str, Any, str]] = []

    def hear_signal(session_id: Any, type: str, **_: Any) -> None:
        told.append(("signal", session_id, type))

    def hear_soon(event: Any) -> None:
        told.append(("soon", event.session_id, event.type))

    def hear_durably(event: Any) -> None:
        told.append(("durable", event.session_id, event.type))

    session_event.connect(hear_signal)
    on("*")(hear_soon)
    on("*", durable=True)(hear_durably)
    yield told
    off(hear_durably)
    off(hear_soon)
    session_event.disconnect(hear_signal)


def test_an_event_of_each_type_arrives_every_way(heard: list[Any], on_this_thread: None) -> None:
    session = create_session().session
    others = [name for name in EVENT_TYPES if name != "session_created"]
    with transaction.atomic():
        record_entries("default", [make_record(session.pk, name) for name in others], at=clock.read("default"))
    handlers.run_pending()
    for way in ("signal", "soon", "durable"):
        assert [(of, name) for told, of, name in heard if told == way] == [
            (session.pk, name) for name in ["session_created", *others]
        ]
    logged = b"".join(entry.as_json() for entry in read_page("default", session.pk, 0, 20)).decode()
    operator = Client()
    operator.force_login(get_user_model().objects.create_superuser("operator"))
    of_session = operator.get(f"/admin/session_mgmt/clientsession/{session.pk}/change/").content.decode()
    of_all = operator.get(LIST).content.decode().partition('id="result_list"')[2]
    for name in EVENT_TYPES:
        assert f'"type":"{name}"' in logged
        assert name in of_session
        assert name in of_all


def test_the_list_of_events_holds_no_message_and_finds_a_session(on_this_thread: None) -> None:
    mine, other = create_session().session, create_session().session
    with transaction.atomic():
        records = [
            make_record(mine.pk, "message", "a secret"),
            make_record(other.pk, "connection_lost", {"code": 1006}),
        ]
        record_entries("default", records, at=clock.read("default"))
    operator = Client()
    operator.force_login(get_user_model().objects.create_superuser("operator"))
    page = operator.get(LIST).content.decode()
    assert "a secret" not in page and "1006" in page
    assert "1006" not in operator.get(f"{LIST}?q={mine.pk}").content.decode()
    assert "1006" in operator.get(f"{LIST}?q={other.pk}").content.decode()
    assert operator.get(f"{LIST}?q=nobody").context["cl"].result_count == 0
    assert operator.get(f"{LIST}?type=connection_lost").context["cl"].result_count == 1
