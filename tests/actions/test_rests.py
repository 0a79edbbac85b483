"""Long work of many transactions rests between them: on SQLite nobody else could write until it has ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import transaction

from session_mgmt.actions import cleanup
from session_mgmt.actions.keys import rotation
from session_mgmt.actions.pacing import Pace
from session_mgmt.actions.privacy import erasure
from session_mgmt.actions.webhooks import replaying
from session_mgmt.models import ClientSession, WebhookDelivery, clock
from session_mgmt.shortcuts import create_session, state
from tests.actions.conftest import NEW, OLD, Desk

pytestmark = [pytest.mark.sqlite, pytest.mark.django_db(transaction=True)]
PIECES = 3


@pytest.fixture
def rests(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    taken: list[float] = []
    monkeypatch.setattr(Pace.__init__, "__kwdefaults__", {**Pace.__init__.__kwdefaults__, "sleep": taken.append})
    return taken


def make_sessions(user: Any = None) -> list[ClientSession]:
    return [create_session(user=user).session for _ in range(PIECES)]


def erase(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Callable[[], Any]:
    monkeypatch.setattr(erasure, "CHUNK", 1)
    user = get_user_model().objects.create_user("alice")
    make_sessions(user)
    return lambda: erasure.erase_user(user)


def rotate(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Callable[[], Any]:
    settings.SESSION_MGMT = {"STATE_KEYS": [OLD], "ENCRYPT_STATE": True}
    for session in make_sessions():
        state.update(session, {"a": 1})
    settings.SESSION_MGMT = {"STATE_KEYS": [NEW, OLD], "ENCRYPT_STATE": True}
    return rotation.rotate_all


def replay(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Callable[[], Any]:
    monkeypatch.setattr(replaying, "CHUNK", 1)
    now = clock.read("default")
    for session in make_sessions():
        WebhookDelivery.objects.create(
            session=session, endpoint_id=1, sequence=1, event="session_created", payload=b"{}", state="dead",
            recorded_at=now, due_since=now, settled_at=now,
        )  # fmt: skip
    return lambda: replaying.replay(replaying.find_settled())


def compact(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Callable[[], Any]:
    settings.SESSION_MGMT = {"MAX_REVISIONS": 4, "SNAPSHOT_EVERY": 2}
    for desk in [Desk() for _ in range(PIECES)]:
        for number in range(6):
            desk.put(("set", "/n", number))
    # Of the other steps none has anything to do, and each rests once after it has looked.
    for step in ("_repeat_chunks", "_delete_leftovers", "_trim_streams", "_delete_streams", "_purge_sessions"):
        monkeypatch.setattr(cleanup._Run, step, lambda *_: None)
    return cleanup.run_cleanup


@pytest.mark.parametrize("prepare", [erase, rotate, replay, compact])
def test_work_rests_after_each_transaction(
    prepare: Callable[..., Callable[[], Any]], rests: list[float], monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    work = prepare(monkeypatch, settings)
    assert rests == []
    work()
    assert len(rests) >= PIECES and all(rest > 0 for rest in rests)


def test_work_inside_a_transaction_does_not_make_it_longer(
    rests: list[float], monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    work = erase(monkeypatch, settings)
    with transaction.atomic():
        work()
    assert rests == [] and not ClientSession.objects.exists()
