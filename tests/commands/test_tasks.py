"""The Celery tasks: found by the names of the schedule, and harmless when run again."""

from __future__ import annotations

import gc
import logging
import threading
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import count
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection, transaction

import session_mgmt
from project.celery import app
from session_mgmt import tasks
from session_mgmt.actions.sessions import lifecycle
from session_mgmt.actions.timeline import handlers
from session_mgmt.models import HandlerRun, Outbox, Publication, SessionActivity, SessionEvent, clock
from session_mgmt.registry import off, on
from session_mgmt.writes import verbs

pytestmark = pytest.mark.django_db(transaction=True)
NOW = datetime(2030, 1, 1, tzinfo=UTC)


class Broken(set[Any]):
    """Sessions whose events fail, and how often they did."""

    calls = 0


@pytest.fixture
def time_flies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the clock is an hour later than the last."""
    moments = (NOW + timedelta(hours=hours) for hours in count())
    monkeypatch.setattr(handlers.clock, "read", lambda using: next(moments))


@pytest.fixture
def seen() -> Any:
    """Events that a durable handler was given; it fails for those in ``broken``."""
    told: list[Any] = []
    told_broken = Broken()

    @on("session_created", durable=True)
    def handle(event: Any) -> None:
        if event.session_id in told_broken:
            told_broken.calls += 1
            raise RuntimeError("not today")
        told.append(event.session_id)

    yield told, told_broken
    off(handle)


def test_the_schedule_names_tasks_that_exist() -> None:
    app.loader.import_default_modules()
    assert {entry["task"] for entry in session_mgmt.beat_schedule().values()} <= app.tasks.keys()


def test_a_schedule_entry_expires_before_the_next_is_due() -> None:
    for entry in session_mgmt.beat_schedule(cleanup_interval=timedelta(minutes=1)).values():
        assert entry["options"]["expires"] < entry["schedule"]


@pytest.mark.parametrize("name", ["cleanup_sessions", "drain_outbox", "send_webhooks"])
def test_no_transaction_of_a_task_waits_while_the_collector_looks_at_all_that_is_loaded(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    def work() -> None:
        order.append("work")
        raise KeyboardInterrupt

    monkeypatch.setattr(gc, "collect", lambda: order.append("collect"))
    monkeypatch.setattr(gc, "freeze", lambda: order.append("freeze"))
    for at, verb in ((tasks.cleanup, "run_cleanup"), (tasks.sending, "send_due"), (tasks.handlers, "outbox_waits")):
        monkeypatch.setattr(at, verb, work)
    monkeypatch.setattr(tasks, "_freeze_loaded_objects", lru_cache(tasks._freeze_loaded_objects.__wrapped__))
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            getattr(tasks, name)()
    assert order == ["collect", "freeze", "work", "work"]


def test_the_cleanup_task_ends_what_is_due() -> None:
    lifecycle.create_session()
    SessionActivity.objects.update(expires_at=clock.read("default") - timedelta(hours=1))
    assert tasks.cleanup_sessions()["expired"] == 1
    assert tasks.cleanup_sessions()["expired"] == 0


def test_the_drain_task_tells_what_a_dead_process_left() -> None:
    with transaction.atomic():
        verbs.publish("orders:1", {"n": 1})
        # As if the process died right after COMMIT: nobody hears the bell.
        transaction.get_connection().run_on_commit.clear()
    assert Outbox.objects.count() == 1
    assert tasks.drain_outbox() == 1
    assert Publication.objects.count() == 1
    assert tasks.drain_outbox() == 0


def test_durable_handlers_run_once_for_each_event(seen: Any) -> None:
    told, _ = seen
    made = [lifecycle.create_session().session.pk for _ in range(3)]
    assert tasks.run_handlers() == 3
    assert told == made
    assert tasks.run_handlers() == 0


def test_a_broken_handler_is_told_once_and_tried_less_and_less_often(
    seen: Any, caplog: pytest.LogCaptureFixture
) -> None:
    told, broken = seen
    sessions = [lifecycle.create_session().session.pk for _ in range(3)]
    broken.update(sessions)
    tries = [second for second in range(900) if _count_failures(seen, NOW + timedelta(seconds=second))]
    assert tries == [0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 811]
    assert len([record for record in caplog.records if record.exc_info]) == 1
    broken.clear()
    assert handlers.run_pending(now=NOW + timedelta(seconds=5000)) == 3
    assert sorted(told) == sorted(sessions)
    broken.add(lifecycle.create_session().session.pk)
    handlers.run_pending(now=NOW + timedelta(seconds=5001))
    assert len([record for record in caplog.records if record.exc_info]) == 2


def _count_failures(seen: Any, now: datetime) -> int:
    """Run what is due; give the number of events whose handler was called and failed."""
    calls = seen[1].calls
    assert handlers.run_pending(now=now) == 0
    return int(seen[1].calls - calls)


def test_a_failing_handler_is_tried_again_and_holds_up_no_other(seen: Any, time_flies: None) -> None:
    told, broken = seen
    first, second = lifecycle.create_session().session.pk, lifecycle.create_session().session.pk
    broken.add(first)
    assert tasks.run_handlers() == 1
    assert told == [second]
    assert not SessionEvent.objects.filter(pending=True).exists()
    assert HandlerRun.objects.get().session_id == first
    broken.clear()
    assert tasks.run_handlers() == 1
    assert told == [second, first]


def test_many_failing_handlers_do_not_starve_the_others(seen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    told, broken = seen
    monkeypatch.setattr(tasks, "HANDLERS", 2)
    broken.update(lifecycle.create_session().session.pk for _ in range(5))
    good = lifecycle.create_session().session.pk
    assert tasks.run_handlers() == 1
    assert told == [good]


@pytest.mark.sqlite
def test_a_handler_that_fails_at_what_a_faster_process_has_written_has_not_failed(caplog: Any) -> None:
    def be_faster(key: int) -> None:
        Group.objects.create(name="once")
        SessionEvent.objects.filter(pk=key).update(pending=False)
        connection.close()

    @on("session_created", durable=True)
    def handle(event: Any) -> None:
        # SQLite locks no row, so another process may run the handler of the same event at the same time.
        faster = threading.Thread(target=be_faster, args=[event.id])
        faster.start()
        faster.join()
        Group.objects.create(name="once")

    try:
        lifecycle.create_session()
        assert handlers.run_pending() == 0
    finally:
        off(handle)
    assert Group.objects.count() == 1
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
