"""Writes from inside a transaction near the limit of a document: refused only if the result is really too large."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction

from session_mgmt.actions import drains
from session_mgmt.bridge import bridge
from session_mgmt.models import Outbox
from session_mgmt.shortcuts import state
from tests.actions.conftest import Desk

LIMIT = 2000
LONG = "x" * 1500


@pytest.fixture(autouse=True)
def small_documents(settings: Any) -> None:
    settings.SESSION_MGMT = {"max_document_bytes": LIMIT}


def put(desk: Desk, *changes: Any) -> None:
    """Change the document inside a transaction, once for each."""
    with transaction.atomic():
        for change in changes:
            state.update(desk.session, change)


def refusals() -> list[str]:
    return list(Outbox.objects.order_by("id").values_list("refused", flat=True))


def test_a_large_value_may_take_the_place_of_another(desk: Desk) -> None:
    state.replace(desk.session, {"text": LONG})
    put(desk, {"text": LONG.upper()})
    assert bridge().drain() == 1
    assert (state.get(desk.session), refusals()) == ({"text": LONG.upper()}, [])


def test_a_document_that_would_be_too_large_is_refused_after_a_look(desk: Desk) -> None:
    state.replace(desk.session, {"text": LONG})
    put(desk, {"more": LONG})
    bridge().drain()
    assert (state.get(desk.session), refusals()) == ({"text": LONG}, ["document_too_large"])


def test_what_waits_for_a_look_is_not_overtaken_by_later_entries_of_its_document(desk: Desk) -> None:
    state.replace(desk.session, {"text": LONG})
    put(desk, {"text": LONG.upper()}, {"text": "short"})
    assert bridge().drain() == 2
    assert (state.get(desk.session), desk.row.version, refusals()) == ({"text": "short"}, 3, [])


def test_a_look_at_a_version_that_has_passed_is_taken_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    state.replace(desk.session, {"text": LONG})
    put(desk, {"text": LONG.upper()})
    look, looks = drains.look_at_document, []

    def overtaken(*args: Any, **kwargs: Any) -> Any:
        work = look(*args, **kwargs)
        looks.append(work)
        if len(looks) == 1:
            desk.put(("set", "/n", 1))
        return work

    monkeypatch.setattr(drains, "look_at_document", overtaken)
    bridge().drain()
    bridge().drain()
    assert len(looks) == 2
    assert (state.get(desk.session), refusals()) == ({"text": LONG.upper(), "n": 1}, [])


def test_a_look_that_fails_for_now_leaves_the_entry(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    state.replace(desk.session, {"text": LONG})
    put(desk, {"text": LONG.upper()})
    monkeypatch.setattr(drains, "look_at_document", lambda *args, **kwargs: None)
    assert bridge().drain() == 0
    assert refusals() == [""]
