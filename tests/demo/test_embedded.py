"""Celery in threads of the serving process: beat really sends, the worker really runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from celery.signals import task_success

from project.celery import app
from project.embedded import run_celery_threads

PATIENCE = 120.0


@pytest.fixture
def quick_schedule() -> Iterator[None]:
    before = app.conf.beat_schedule
    app.conf.beat_schedule = {"drain": {"task": "session_mgmt.drain_outbox", "schedule": 0.2}}
    yield
    app.conf.beat_schedule = before


@pytest.mark.sqlite
def test_beat_and_worker_run_a_task_again_and_again(transactional_db: None, quick_schedule: None) -> None:
    ran = threading.Semaphore(0)

    def count(**_: object) -> None:
        ran.release()

    task_success.connect(count, weak=False)
    try:
        with run_celery_threads():
            assert ran.acquire(timeout=PATIENCE) and ran.acquire(timeout=PATIENCE)
        assert not any(thread.name.startswith("celery") for thread in threading.enumerate())
    finally:
        task_success.disconnect(count)
