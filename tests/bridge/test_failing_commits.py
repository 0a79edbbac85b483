"""A COMMIT that keeps failing: tried again a few times with pauses, told in one line, and shown by health."""

from __future__ import annotations

import logging
import sqlite3
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError
from django.test import Client as Http

from session_mgmt.actions import group_commit
from session_mgmt.actions.group_commit import Group
from session_mgmt.bridge import bridge, lane
from session_mgmt.exceptions import Busy, Unavailable
from session_mgmt.models import Publication
from session_mgmt.shortcuts import publish

pytestmark = pytest.mark.django_db(transaction=True)


class Commits:
    """Stands between the lane and the database; ``failing`` COMMITs are carried out and not answered."""

    def __init__(self) -> None:
        self.real = group_commit.write_group
        self.failing = False
        self.calls = 0

    def __call__(self, using: str, writes: Any, group: Group, *, wait: bool = False, **looks: Any) -> None:
        self.calls += 1
        if self.failing:
            group.committing = True
            raise OperationalError("server closed the connection unexpectedly")
        self.real(using, writes, group, wait=wait, **looks)


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> Commits:
    """Commits that fail when told to, with pauses of no time."""
    made = Commits()
    monkeypatch.setattr(group_commit, "write_group", made)
    monkeypatch.setattr(lane, "PAUSES", (0.0, 0.0), raising=False)
    return made


def test_a_commit_that_keeps_failing_is_tried_three_times(commits: Commits) -> None:
    commits.failing = True
    with pytest.raises(Unavailable):
        publish("room:1", 1, key="k")
    assert commits.calls == 3
    commits.failing = False
    assert publish("room:1", 1, key="k").offset == 1


def test_who_waits_for_a_lock_as_long_as_it_may_does_not_wait_twice_more(
    commits: Commits, monkeypatch: pytest.MonkeyPatch
) -> None:
    def be_locked(*_: Any, **__: Any) -> None:
        commits.calls += 1
        raise error

    reason = sqlite3.OperationalError("database is locked")
    reason.sqlite_errorcode = sqlite3.SQLITE_BUSY
    error = OperationalError("database is locked")
    error.__cause__ = reason
    with monkeypatch.context() as held:
        held.setattr(group_commit, "write_group", be_locked)
        with pytest.raises(Busy):
            publish("room:1", 1)
    assert commits.calls == 1
    assert publish("room:1", 1).offset == 1


def test_failing_commits_are_told_in_one_line_and_their_end_in_another(
    commits: Commits, caplog: pytest.LogCaptureFixture
) -> None:
    commits.failing = True
    for _ in range(5):
        with pytest.raises(Unavailable):
            publish("room:1", 1, key="k")
    commits.failing = False
    publish("room:1", 1)
    publish("room:1", 2)
    told = [(record.levelno, record.exc_info) for record in caplog.records if record.name.startswith("session_mgmt")]
    assert told == [(logging.ERROR, None), (logging.WARNING, None)]


def test_health_is_degraded_while_commits_fail(commits: Commits) -> None:
    assert Http().get("/api/health/").json() == {"status": "ok"}
    commits.failing = True
    with pytest.raises(Unavailable):
        publish("room:1", 1, key="k")
    assert bridge().lane.is_failing
    assert Http().get("/api/health/").json() == {"status": "degraded"}
    commits.failing = False
    publish("room:1", 1, key="k")
    assert Http().get("/api/health/").json() == {"status": "ok"}


def test_a_write_that_the_database_refuses_at_commit_is_refused_alone(
    commits: Commits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Foreign keys are checked there: the transaction is rolled back for certain, and not run again as it is."""
    calls: list[int] = []

    def refuse(using: str, writes: Any, group: Group, *, wait: bool = False, **looks: Any) -> None:
        calls.append(len(writes))
        group.committing = True
        raise IntegrityError("violates a foreign key")

    monkeypatch.setattr(group_commit, "write_group", refuse)
    with pytest.raises(Unavailable) as refused:
        publish("room:1", 1, key="k")
    assert calls == [1] and "unknown" not in refused.value.facts
    assert not Publication.objects.exists()
