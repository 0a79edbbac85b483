"""Long work of many transactions rests between them: on SQLite nobody else could write until it has ended."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection, transaction

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


def replace_rest(monkeypatch: pytest.MonkeyPatch, rest: Callable[[float], None]) -> None:
    monkeypatch.setattr(Pace.__init__, "__kwdefaults__", {**Pace.__init__.__kwdefaults__, "sleep": rest})


@pytest.fixture
def rests(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    taken: list[float] = []
    replace_rest(monkeypatch, taken.append)
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


def write_whole_log() -> None:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def count_in_file() -> int:
    """Count the sessions in the file of the database, as if it had no write-ahead log."""
    with closing(sqlite3.connect(f"file:{connection.settings_dict['NAME']}?immutable=1", uri=True)) as file:
        return int(file.execute(f"SELECT COUNT(*) FROM {ClientSession._meta.db_table}").fetchone()[0])


@pytest.fixture
def checkpoints() -> Iterator[Callable[[int], None]]:
    """Set after how many pages a commit of this connection writes them back, or 0 for never."""

    def set_pages(pages: int) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"PRAGMA wal_autocheckpoint = {pages}")

    yield set_pages
    # The next connection has SQLite's default again.
    connection.close()


def test_the_pages_of_a_chunk_are_written_back_before_the_rest(
    checkpoints: Callable[[int], None], monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    checkpoints(1_000_000)
    work = erase(monkeypatch, settings)
    write_whole_log()
    found: list[int] = []
    replace_rest(monkeypatch, lambda _: found.append(count_in_file()))
    work()
    assert found[:PIECES] == list(reversed(range(PIECES)))


def test_where_the_project_has_switched_checkpoints_off_its_pages_stay_in_the_log(
    checkpoints: Callable[[int], None], rests: list[float], monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    checkpoints(0)
    work = erase(monkeypatch, settings)
    write_whole_log()
    work()
    assert (ClientSession.objects.count(), count_in_file()) == (0, PIECES)


def test_work_in_a_transaction_that_django_did_not_begin_does_not_rest(
    rests: list[float], monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    work = erase(monkeypatch, settings)
    transaction.set_autocommit(False)
    try:
        work()
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)
    assert rests == []
