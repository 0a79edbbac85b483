"""The cleanup beside others who end, use or delete the same sessions: nobody fails, and each end is told once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model

from session_mgmt.actions import cleanup
from session_mgmt.actions.sessions import lifecycle
from session_mgmt.actions.sessions.lifecycle import Created
from session_mgmt.exceptions import SessionMgmtError
from session_mgmt.models import ClientSession, SessionActivity, SessionEvent, StateDocument, clock
from session_mgmt.protocol.frames import Connect
from session_mgmt.shortcuts import end_user_sessions, state
from tests.attaching import attach_client
from tests.bridge.threads import together

pytestmark = pytest.mark.django_db(transaction=True)

NUMBER = 6


@pytest.fixture
def made(settings: Any) -> list[Created]:
    """Sessions of one user with a client and a document each, every other of them over."""
    settings.SESSION_MGMT = {"cleanup_chunk": 3, "max_revisions": 3, "snapshot_every": 2, "event_entries": 2}
    user = get_user_model().objects.create_user("ann", password=None)
    made = [lifecycle.create_session(user=user) for _ in range(NUMBER)]
    for created in made:
        attach(created)
        for value in range(5):
            state.update(created.session, {"n": value})
    over = [created.session.pk for created in made[::2]]
    SessionActivity.objects.filter(pk__in=over).update(expires_at=clock.read("default") - timedelta(hours=1))
    return made


def attach(created: Created) -> None:
    frame = Connect(created.token.secret, None, 0, {"doc:main": None}, "test")
    attach_client(frame, server="test")


def attach_all(made: list[Created]) -> None:
    for created in made:
        with suppress(SessionMgmtError):
            attach(created)


def end_all(made: list[Created]) -> None:
    end_user_sessions(made[0].session.user)


def delete_all(made: list[Created]) -> None:
    ClientSession.objects.filter(pk__in=[created.session.pk for created in made]).delete()


def write_all(made: list[Created]) -> None:
    for value in range(2):
        for created in made:
            with suppress(SessionMgmtError):
                state.update(created.session, {"late": value})


def clean_all(made: list[Created]) -> None:
    assert not cleanup.run_cleanup().failed


OTHERS: dict[str, Callable[[list[Created]], None]] = {
    "another cleanup": clean_all,
    "attach": attach_all,
    "end of all": end_all,
    "deletion": delete_all,
    "writes": write_all,
}


@pytest.mark.parametrize("other", OTHERS)
def test_the_cleanup_beside_others_fails_nowhere_and_tells_each_end_once(made: list[Created], other: str) -> None:
    report, *_ = together(cleanup.run_cleanup, lambda: OTHERS[other](made), lambda: OTHERS[other](made[::-1]))
    assert not report.failed
    clean_all(made)
    ended = ClientSession.objects.exclude(state="active")
    told = SessionEvent.objects.filter(type__in=["session_expired", "session_terminated"])
    assert sorted(told.values_list("session", flat=True)) == sorted(ended.values_list("pk", flat=True))
    assert not SessionActivity.objects.filter(live=True).exclude(session__state="active").exists()
    if other == "deletion":
        assert not ClientSession.objects.exists() and not StateDocument.objects.exists()
    else:
        assert ended.count() == (NUMBER if other == "end of all" else NUMBER // 2)
        values = [state.get(created.session) for created in made]
        late = {"late": 1} if other == "writes" else {}
        assert values == [{"n": 4}, {"n": 4, **late}] * (NUMBER // 2)
