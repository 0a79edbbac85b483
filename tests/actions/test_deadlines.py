"""One rule for deadlines wherever they are judged: idle ones when no activity can be on its way, absolute ones at once.

Promise L3. Two flushes are 20 s.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from session_mgmt.actions import monitoring
from session_mgmt.actions.access import SERVER
from session_mgmt.actions.sessions import (
    controls,
    entering,
    expiry,
    following,
    lifecycle,
    narrowing,
    proving,
    recovery,
    refreshing,
    tokens,
)
from session_mgmt.actions.sessions.lifecycle import Created
from session_mgmt.exceptions import NotRecoverable, SessionExpired
from session_mgmt.models import SessionActivity
from session_mgmt.models.sql import Statements
from session_mgmt.protocol.frames import Connect
from session_mgmt.writes import verbs
from tests.attaching import attach_client

pytestmark = pytest.mark.django_db(transaction=True)
FLUSHES = timedelta(seconds=20)
A_MOMENT = timedelta(milliseconds=100)


@pytest.fixture
def made() -> Created:
    return lifecycle.create_session(nonce=make_nonce())


def make_nonce() -> str:
    return secrets.token_urlsafe(32)


def pass_deadline(made: Created, *, idle: timedelta | None = None, absolute: timedelta | None = None) -> datetime:
    """Set the deadlines of a session to so long ago, and return that now."""
    now = made.session.created_at + timedelta(minutes=10)
    hard = now - absolute if absolute is not None else now + timedelta(hours=1)
    soft = now - idle if idle is not None else hard
    row = SessionActivity.objects.get(pk=made.session.pk)
    row.last_active_at, row.absolute_deadline = soft - timedelta(seconds=row.idle_seconds), hard
    row.expires_at = min(soft, hard)
    row.save()
    return now


def is_live(act: Callable[[], Any]) -> bool:
    with suppress(SessionExpired):
        return act() is not SessionExpired
    return False


def stop_clock(monkeypatch: Any, now: datetime) -> None:
    monkeypatch.setattr("session_mgmt.models.clock.read", lambda *_: now)


def attach(made: Created, now: datetime) -> bool:
    return is_live(lambda: attach_client(Connect(made.token.secret, None, 0, {}, ""), now=now))


def prove_together(made: Created, now: datetime) -> bool:
    found = proving.prove_sessions(Statements(connection), [made.token.secret], now=now)
    return not isinstance(found[made.token.secret], SessionExpired)


def prove_over_http(made: Created, now: datetime) -> bool:
    return is_live(lambda: tokens.verify_token("default", made.token.secret, now=now))


def claim(made: Created, now: datetime) -> bool:
    return is_live(lambda: following.claim_session("default", made.session.pk, now))


def read_only(made: Created, now: datetime) -> bool:
    return is_live(lambda: following.require_live("default", made.session.pk, now))


def refresh(made: Created, now: datetime) -> bool:
    assert made.pair is not None
    secret = made.pair.refresh.secret
    return is_live(lambda: refreshing.refresh_tokens(secret, make_nonce(), now=now))


def narrow(made: Created, now: datetime) -> bool:
    return is_live(lambda: narrowing.narrow_token(made.token.secret, ["state:read"], now=now))


def enter(made: Created, now: datetime) -> bool:
    assert made.pair is not None
    wish = entering.Wish(nonce=make_nonce(), kept=made.session.pk, token=made.pair.refresh.secret)
    return entering.enter(wish, entering.Evidence(), now=now).verdict == "continued"


def recover(made: Created, now: datetime) -> bool:
    """An old token of a session without a pair; whoever is alive is told to resume."""
    single = lifecycle.create_session(now=made.session.created_at)
    mine = SessionActivity.objects.filter(pk=made.session.pk).values("expires_at", "absolute_deadline").get()
    SessionActivity.objects.filter(pk=single.session.pk).update(**mine)
    try:
        recovery.recover_session(single.token.secret, now=now)
    except NotRecoverable as error:
        # Past its absolute deadline nothing is recovered, but it is over.
        return "alive" in str(error)
    return False


def change(made: Created, now: datetime) -> bool:
    return is_live(lambda: lifecycle.update_session(SERVER, made.session.pk, label="x", now=now))


def ask_whether_it_may_act(made: Created, now: datetime) -> bool:
    return lifecycle.find_refusal(SERVER, made.session.pk, now=now) is None


def write(made: Created, now: datetime) -> bool:
    return is_live(lambda: verbs.send(made.session.pk, {"a": 1}))


def judge_one(made: Created, now: datetime) -> bool:
    return controls.read_controls([made.session.pk], now=now)[made.session.pk].code is None


def judge_many(made: Created, now: datetime) -> bool:
    known = controls.read_controls([made.session.pk], now=made.session.created_at)[made.session.pk].known
    assert known is not None
    return controls.find_controls({made.session.pk: known}, now=now) == {}


def sweep(made: Created, now: datetime) -> bool:
    return expiry.expire_due(limit=10, now=now) == []


def count_for_operators(made: Created, now: datetime) -> bool:
    assert expiry.count_due(now=now) == monitoring.read_overview(now=now)["cleanup"]["due"]
    return expiry.count_due(now=now) == 0


JUDGES: list[Callable[[Created, datetime], bool]] = [
    attach,
    prove_together,
    prove_over_http,
    claim,
    read_only,
    refresh,
    narrow,
    enter,
    recover,
    change,
    ask_whether_it_may_act,
    write,
    judge_one,
    judge_many,
    sweep,
    count_for_operators,
]


@pytest.fixture(params=JUDGES, ids=lambda judge: judge.__name__)
def judge(request: Any, monkeypatch: Any, settings: Any) -> Callable[[Created, datetime], bool]:
    settings.SESSION_MGMT = {"anonymous_sessions": True}

    def ask(made: Created, now: datetime) -> bool:
        stop_clock(monkeypatch, now)
        return bool(request.param(made, now))

    return ask


def test_an_idle_deadline_is_over_when_no_flush_can_move_it_any_more(made: Created, judge: Any) -> None:
    now = pass_deadline(made, idle=A_MOMENT)
    assert judge(made, now)
    assert judge(made, now + FLUSHES - 2 * A_MOMENT)
    assert not judge(made, now + FLUSHES)


def test_an_absolute_deadline_is_over_at_once(made: Created, judge: Any) -> None:
    now = pass_deadline(made, absolute=timedelta(0))
    assert judge(made, now - A_MOMENT)
    assert not judge(made, now)
