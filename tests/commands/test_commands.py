"""The commands do what the verbs do, and say it to people and to programs."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command

from session_mgmt.actions import cleanup
from session_mgmt.actions.sessions import lifecycle
from session_mgmt.models import AuditEntry, ClientSession, SessionActivity

pytestmark = pytest.mark.usefixtures("on_this_thread")


def run(*words: Any, **options: Any) -> str:
    out = StringIO()
    call_command(*words, stdout=out, stderr=StringIO(), **options)
    return out.getvalue()


def due(count: int) -> None:
    for _ in range(count):
        session = lifecycle.create_session().session
        past = session.created_at - timedelta(hours=1)
        SessionActivity.objects.filter(pk=session.pk).update(expires_at=past)


def test_a_cleanup_with_a_failed_step_ends_with_a_code_of_its_own(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(cleanup.compaction, "iter_due", fail)
    with pytest.raises(SystemExit) as ended:
        run("cleanup_sessions")
    assert ended.value.code == 2
    caplog.clear()


def test_a_dry_run_counts_and_changes_nothing() -> None:
    due(3)
    assert json.loads(run("cleanup_sessions", "--dry-run", "--json"))["expired"] == 3
    assert ClientSession.objects.filter(state="active").count() == 3
    assert not AuditEntry.objects.exists()


def test_cleanup_ends_what_is_due_and_is_audited() -> None:
    due(2)
    lifecycle.create_session()
    assert "expired        2" in run("cleanup_sessions")
    assert ClientSession.objects.filter(state="expired").count() == 2
    assert AuditEntry.objects.get().data["expired"] == 2


def test_stats_tell_how_late_things_are() -> None:
    due(1)
    told = json.loads(run("session_stats", "--json"))
    assert (told["sessions"]["active"], told["status"], told["problems"]) == (1, "degraded", ["cleanup_late"])
    assert "cleanup.lateness" in run("session_stats")


def test_stats_of_one_session() -> None:
    session = lifecycle.create_session().session
    assert json.loads(run("session_stats", str(session.pk), "--json"))["session_id"] == str(session.pk)
    with pytest.raises(CommandError):
        run("session_stats", str(uuid.uuid4()))


@pytest.mark.requirement("ASVS 7.4.5")
def test_terminate_ends_by_id_and_by_user_once_each() -> None:
    user = get_user_model().objects.create_user("alice")
    first, second = (lifecycle.create_session(user=user).session.pk for _ in range(2))
    other = lifecycle.create_session().session.pk
    told = json.loads(run("terminate_session", str(first), "--user", "alice", "--json"))["sessions"]
    assert told == {str(first): "terminated", str(second): "terminated"}
    assert ClientSession.objects.get(pk=other).state == "active"
    assert "ended before" in run("terminate_session", str(first))
    assert AuditEntry.objects.filter(action="terminate").count() == 2


def test_terminate_in_a_dry_run_ends_nothing() -> None:
    session = lifecycle.create_session().session.pk
    assert "active" in run("terminate_session", str(session), "--dry-run")
    assert ClientSession.objects.get().state == "active"


@pytest.mark.parametrize("words", [[], ["--user", "nobody"], [str(uuid.uuid4())]])
def test_terminate_without_a_target_fails(words: list[str]) -> None:
    with pytest.raises(CommandError):
        run("terminate_session", *words)
