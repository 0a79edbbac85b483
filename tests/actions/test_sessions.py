"""The life of a session: created, used, ended once, recovered once."""

from __future__ import annotations

import threading
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import IntegrityError, connection, transaction

from session_mgmt.actions.access import SEE, SERVER, Actor
from session_mgmt.actions.sessions import attachments, expiry, lifecycle, recovery, tokens
from session_mgmt.actions.sessions.lifecycle import Created, Device
from session_mgmt.exceptions import (
    InvalidField,
    NotRecoverable,
    SessionExpired,
    SessionLimit,
    SessionMgmtError,
    SessionNotFound,
    SessionTerminated,
)
from session_mgmt.models import Client, ClientSession, Connection, SessionActivity, SessionEvent, Subscription, Token
from session_mgmt.protocol.frames import Connect
from session_mgmt.signals import session_event
from session_mgmt.writes import verbs
from tests.attaching import attach_client
from tests.bridge.threads import together

pytestmark = pytest.mark.django_db(transaction=True)
# What a sweep grants to activity that has not been written yet.
GRACE = timedelta(seconds=20)
A_SECOND = timedelta(seconds=1)


@pytest.fixture
def user() -> Any:
    return get_user_model().objects.create_user("alice")


def connect(created: Created, **more: Any) -> attachments.Attachment:
    now = more.pop("now", None)
    frame = Connect(token=created.token.secret, client_id=None, acked=0, logs={}, agent="test", **more)
    return attach_client(frame, server="test", now=now)


def deadline(created: Created) -> Any:
    return SessionActivity.objects.get(pk=created.session.pk).expires_at


# -- creating


def test_create_makes_session_token_and_first_event_at_one_moment(user: Any) -> None:
    created = lifecycle.create_session(
        user=user, metadata={"a": 1}, config={"idle_timeout": 60}, device=Device("Phone", "10.0.0.1", "agent")
    )
    session = ClientSession.objects.select_related("activity").get()
    assert (session.user, session.metadata, session.label, session.ip) == (user, {"a": 1}, "Phone", "10.0.0.1")
    assert session.activity.expires_at == session.created_at + timedelta(seconds=60)
    assert SessionEvent.objects.get().type == "session_created"
    assert created.position.offset == 1


def test_create_that_is_rolled_back_tells_nobody() -> None:
    told: list[str] = []

    def hear(**event: Any) -> None:
        told.append(event["type"])

    session_event.connect(hear)
    try:
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            lifecycle.create_session()
            raise ZeroDivisionError
        lifecycle.create_session()
    finally:
        session_event.disconnect(hear)
    assert told == ["session_created"]
    assert ClientSession.objects.count() == 1


def test_an_id_of_the_servers_choosing_is_used_once() -> None:
    wanted = uuid.uuid4()
    assert lifecycle.create_session(session_id=wanted).session.pk == wanted
    with pytest.raises(InvalidField):
        lifecycle.create_session(session_id=wanted)


@pytest.mark.parametrize("seconds", [59, 0, -1, True, "60", 10**9, None])
def test_timeouts_are_from_a_minute_to_the_settings(seconds: Any) -> None:
    if seconds is None:
        assert lifecycle.create_session(config={"idle_timeout": None}).session.pk
        return
    with pytest.raises(InvalidField):
        lifecycle.create_session(config={"idle_timeout": seconds})
    assert not ClientSession.objects.exists()


@pytest.mark.parametrize(("policy", "survivors"), [("evict_oldest", [1, 2, 3]), ("evict_idle", [0, 2, 3])])
@pytest.mark.requirement("ASVS 7.1.2")
def test_the_limit_of_a_user_evicts_by_policy(user: Any, settings: Any, policy: str, survivors: list[int]) -> None:
    settings.SESSION_MGMT = {"max_sessions_per_user": 3, "session_limit_policy": policy}
    made = [lifecycle.create_session(user=user) for _ in range(3)]
    base = made[-1].session.created_at
    for number, created in enumerate(made):
        # The second was used longest ago.
        SessionActivity.objects.filter(pk=created.session.pk).update(
            last_active_at=base - timedelta(minutes=9 if number == 1 else number)
        )
    made.append(lifecycle.create_session(user=user))
    live = set(ClientSession.objects.filter(state="active").values_list("pk", flat=True))
    assert [number for number, created in enumerate(made) if created.session.pk in live] == survivors
    assert ClientSession.objects.get(state="terminated").end_reason == "session_limit"


def test_the_limit_of_a_user_may_refuse(user: Any, settings: Any) -> None:
    settings.SESSION_MGMT = {"max_sessions_per_user": 1, "session_limit_policy": "reject"}
    lifecycle.create_session(user=user)
    with pytest.raises(SessionLimit):
        lifecycle.create_session(user=user)
    lifecycle.create_session(user=get_user_model().objects.create_user("bob"))


# -- L1: ended is final


@pytest.mark.requirement("ASVS 7.4.1")
def test_terminated_is_final_for_every_verb() -> None:
    created = lifecycle.create_session()
    session = created.session.pk
    assert lifecycle.terminate_session(SERVER, session, reason="test")
    assert not lifecycle.terminate_session(SERVER, session)
    refusals = [
        lambda: lifecycle.update_session(SERVER, session, metadata={"a": 1}),
        lambda: connect(created),
        lambda: verbs.update(session, "main", "merge", {"a": 1}),
        lambda: verbs.send(session, "hello"),
    ]
    for attempt in refusals:
        with pytest.raises(SessionTerminated):
            attempt()
    assert lifecycle.count_activity([session]) == set()
    assert lifecycle.find_refusal(SERVER, session) == "session_terminated"
    assert not expiry.expire_due(limit=10, now=deadline(created) + timedelta(days=60))
    assert list(SessionEvent.objects.order_by("seq").values_list("type", flat=True)) == [
        "session_created",
        "session_terminated",
    ]


@pytest.mark.requirement("ASVS 7.4.1")
def test_ending_fences_every_client_and_closes_every_connection() -> None:
    created = lifecycle.create_session()
    attachment = connect(created)
    lifecycle.terminate_session(SERVER, created.session.pk)
    assert Client.objects.get().generation > attachment.generation
    assert Connection.objects.get().closed_at is not None


def test_two_that_end_a_session_at_once_end_it_once() -> None:
    session = lifecycle.create_session().session.pk
    outcomes = together(*[lambda: lifecycle.terminate_session(SERVER, session)] * 4)
    assert sorted(outcomes) == [False, False, False, True]
    assert SessionEvent.objects.filter(type="session_terminated").count() == 1


def test_an_update_that_loses_to_an_end_changes_nothing() -> None:
    for _ in range(5):
        session = lifecycle.create_session(metadata={"n": 0}).session.pk
        barrier = threading.Barrier(2)

        def change(session: uuid.UUID = session, barrier: threading.Barrier = barrier) -> None:
            barrier.wait(30)
            try:
                lifecycle.update_session(SERVER, session, metadata={"n": 1})
            except SessionMgmtError as error:
                assert error.name == "session_terminated"

        def end(session: uuid.UUID = session, barrier: threading.Barrier = barrier) -> None:
            barrier.wait(30)
            lifecycle.terminate_session(SERVER, session)

        together(change, end)
        types = list(SessionEvent.objects.filter(session=session).order_by("seq").values_list("type", flat=True))
        assert types[-1] == "session_terminated"
        changed = ClientSession.objects.get(pk=session).metadata == {"n": 1}
        assert changed == ("session_updated" in types)


# -- L2 and L3: expired once, never early


def test_a_session_never_expires_early_and_is_swept_after_its_grace() -> None:
    created = lifecycle.create_session()
    end = deadline(created)
    assert not expiry.expire_due(limit=10, now=end + GRACE - A_SECOND)
    assert lifecycle.find_refusal(SERVER, created.session.pk, now=end - A_SECOND) is None
    assert expiry.expire_due(limit=10, now=end + GRACE) == [created.session.pk]
    assert ClientSession.objects.get().state == "expired"


def test_a_session_whose_time_is_over_has_ended_before_the_sweep_has_been_there() -> None:
    created = lifecycle.create_session()
    over = deadline(created) + GRACE
    with pytest.raises(SessionExpired):
        connect(created, now=over)
    assert lifecycle.find_refusal(SERVER, created.session.pk, now=over) == "session_expired"
    assert lifecycle.find_refusal(SERVER, created.session.pk, now=over - A_SECOND) is None


@pytest.mark.requirement("ASVS 7.3.1")
def test_activity_moves_the_idle_deadline_but_never_past_the_absolute_one() -> None:
    created = lifecycle.create_session(config={"idle_timeout": 600, "absolute_timeout": 900})
    start = created.session.created_at
    lifecycle.count_activity([created.session.pk], now=start + timedelta(seconds=200))
    assert deadline(created) == start + timedelta(seconds=800)
    lifecycle.count_activity([created.session.pk], now=start + timedelta(seconds=700))
    assert deadline(created) == start + timedelta(seconds=900)


@pytest.mark.requirement("ASVS 7.3.1")
def test_resuming_is_no_activity() -> None:
    created = lifecycle.create_session()
    before = deadline(created)
    connect(created, now=created.session.created_at + timedelta(hours=1))
    assert deadline(created) == before


def test_each_expired_session_is_told_once_whatever_the_number_of_sweeps() -> None:
    made = [lifecycle.create_session() for _ in range(20)]
    late = max(map(deadline, made)) + GRACE
    barrier = threading.Barrier(4)

    def sweep() -> list[uuid.UUID]:
        barrier.wait(30)
        found: list[uuid.UUID] = []
        while claimed := expiry.expire_due(limit=3, now=late):
            found += claimed
        return found

    claimed = [session for found in together(*[sweep] * 4) for session in found]
    expiry.expire_due(limit=100, now=late)
    assert len(claimed) == len(set(claimed))
    assert SessionEvent.objects.filter(type="session_expired").count() == 20
    assert ClientSession.objects.filter(state="expired").count() == 20


def test_the_database_itself_refuses_a_second_expiry_event() -> None:
    created = lifecycle.create_session()
    expiry.expire_due(limit=1, now=deadline(created) + GRACE)
    event = SessionEvent.objects.get(type="session_expired")
    event.pk, event.seq = None, event.seq + 1
    with pytest.raises(IntegrityError), transaction.atomic():
        event.save(force_insert=True)


@pytest.mark.requirement("ASVS 2.3.3")
def test_of_a_resume_and_a_sweep_at_once_exactly_one_wins() -> None:
    """Both claim the session's row, at a moment when both could be right."""
    for _ in range(8):
        created = lifecycle.create_session()
        end = deadline(created)
        barrier = threading.Barrier(2)

        def resume(created: Created = created, barrier: threading.Barrier = barrier, end: Any = end) -> bool:
            barrier.wait(30)
            try:
                connect(created, now=end - A_SECOND)
            except SessionExpired:
                return False
            return True

        def sweep(created: Created = created, barrier: threading.Barrier = barrier, end: Any = end) -> bool:
            barrier.wait(30)
            return created.session.pk in expiry.expire_due(limit=10, now=end + GRACE)

        resumed, swept = together(resume, sweep)
        # A row that the other one holds is left to the next sweep.
        assert swept or created.session.pk in expiry.expire_due(limit=10, now=end + GRACE)
        connection_rows = Connection.objects.filter(session=created.session)
        # Whoever resumed first was closed by the end that came after; whoever came second was never let in.
        assert all(row.closed_at is not None for row in connection_rows)
        assert connection_rows.count() == (1 if resumed else 0)
        ended = Client.objects.filter(session=created.session)
        assert not resumed or ended.get().generation == 2


def test_a_sweep_takes_no_more_than_its_limit_and_a_fixed_number_of_queries(django_assert_max_num_queries: Any) -> None:
    made = [lifecycle.create_session() for _ in range(12)]
    late = max(map(deadline, made)) + GRACE
    with django_assert_max_num_queries(13):
        assert len(expiry.expire_due(limit=10, now=late)) == 10
    assert len(expiry.expire_due(limit=10, now=late)) == 2


@pytest.mark.postgres
def test_the_limit_of_a_sweep_holds_in_a_nested_loop() -> None:
    made = [lifecycle.create_session() for _ in range(12)]
    late = max(map(deadline, made)) + GRACE
    with transaction.atomic(), connection.cursor() as cursor:
        for plan in ("hashjoin", "mergejoin", "hashagg", "material", "sort"):
            cursor.execute(f"SET LOCAL enable_{plan} = off")
        assert len(expiry.expire_due(limit=5, now=late)) == 5


# -- access


def test_only_the_session_itself_and_managers_may_see_it(user: Any) -> None:
    session = lifecycle.create_session(user=user).session.pk
    for actor in (Actor(session=session), Actor(permissions=frozenset([SEE])), SERVER):
        assert lifecycle.read_session(actor, session).pk == session
    assert lifecycle.read_session(Actor(user_id=user.pk), session, or_sister=True).pk == session
    for actor in (Actor(), Actor(session=uuid.uuid4()), Actor(user_id=user.pk), Actor(user_id=user.pk + 1)):
        with pytest.raises(SessionNotFound):
            lifecycle.read_session(actor, session)


def test_the_list_is_newest_first_and_holds_the_living() -> None:
    first, second, third = (lifecycle.create_session().session.pk for _ in range(3))
    lifecycle.terminate_session(SERVER, second)
    assert list(lifecycle.list_active(SERVER).values_list("pk", flat=True)) == [third, first]
    assert not lifecycle.list_active(Actor()).exists()


def test_metadata_over_the_limit_is_refused(settings: Any) -> None:
    settings.SESSION_MGMT = {"max_metadata_bytes": 100}
    session = lifecycle.create_session().session.pk
    with pytest.raises(InvalidField):
        lifecycle.update_session(SERVER, session, metadata={"a": "x" * 100})
    assert ClientSession.objects.get().metadata == {}


def test_a_changed_label_leaves_the_timeouts_as_they_are() -> None:
    created = lifecycle.create_session(config={"idle_timeout": 600})
    told = lifecycle.update_session(SERVER, created.session.pk, label="Phone")
    assert told.activity.idle_seconds == 600
    assert told.activity.expires_at - told.activity.last_active_at == timedelta(seconds=600)


# -- recovering


def expired(created: Created) -> Any:
    end = deadline(created) + GRACE
    assert expiry.expire_due(limit=10, now=end)
    return end


def test_a_successor_carries_user_documents_and_subscriptions(user: Any) -> None:
    created = lifecycle.create_session(user=user, metadata={"a": 1})
    verbs.update(created.session.pk, "main", "data", {"cart": [1]})
    Subscription.objects.create(session=created.session, topic="room:1", created_at=created.session.created_at)
    end = expired(created)
    restored = recovery.recover_session(created.token.secret, now=end)
    fresh = restored.created.session
    assert (fresh.user, fresh.metadata, fresh.recovered_from_id) == (user, {"a": 1}, created.session.pk)
    assert restored.receipt["documents"] == ["main"]
    assert list(fresh.subscriptions.values_list("topic", flat=True)) == ["room:1"]
    assert tokens.verify_token("default", restored.created.token.secret, now=end).pk == fresh.pk


def test_a_successor_may_be_asked_for_without_documents() -> None:
    created = lifecycle.create_session()
    verbs.update(created.session.pk, "main", "data", {"cart": [1]})
    restored = recovery.recover_session(created.token.secret, state=False, subscriptions=False, now=expired(created))
    assert restored.receipt["verdict"] == "none"
    assert not restored.created.session.documents.exists()


def test_an_overdue_session_is_expired_by_its_own_recovery() -> None:
    created = lifecycle.create_session()
    restored = recovery.recover_session(created.token.secret, now=deadline(created) + GRACE)
    assert restored.created.session.recovered_from_id == created.session.pk
    assert SessionEvent.objects.filter(session=created.session, type="session_expired").count() == 1


def test_two_tabs_that_recover_at_once_get_one_successor() -> None:
    created = lifecycle.create_session()
    end = expired(created)

    restored = together(*[lambda: recovery.recover_session(created.token.secret, now=end)] * 3)
    assert len({one.created.session.pk for one in restored}) == 1
    secrets = {one.created.token.secret for one in restored}
    assert len(secrets) == 3
    for secret in secrets:
        assert tokens.verify_token("default", secret, now=end).recovered_from_id == created.session.pk
    assert ClientSession.objects.count() == 2


def test_recovery_is_refused_when_alive_terminated_or_too_old() -> None:
    living, ended, old = lifecycle.create_session(), lifecycle.create_session(), lifecycle.create_session()
    lifecycle.terminate_session(SERVER, ended.session.pk)
    for created in (living, ended):
        with pytest.raises(NotRecoverable):
            recovery.recover_session(created.token.secret)
    end = expired(old)
    with pytest.raises(NotRecoverable):
        recovery.recover_session(old.token.secret, maximum_age=timedelta(minutes=5), now=end + timedelta(minutes=6))


def test_nothing_is_left_open_by_the_verbs() -> None:
    created = lifecycle.create_session()
    lifecycle.terminate_session(SERVER, created.session.pk)
    assert not connection.in_atomic_block
    assert Token.objects.count() == 1
