"""Rows come back to where they were: streams, clients, logs and connections are bounded, and readers are told so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import transaction

from session_mgmt.actions import cleanup, logs
from session_mgmt.actions.sessions import closing, connections, expiry, following, lifecycle, resume
from session_mgmt.actions.sessions.following import Wish
from session_mgmt.actions.sessions.lifecycle import Created
from session_mgmt.actions.timeline import handlers
from session_mgmt.actions.timeline.retention import find_due_timelines
from session_mgmt.actions.topics import retention, subscriptions
from session_mgmt.exceptions import ConnectionLimit, SubscriptionLimit
from session_mgmt.models import (
    Client,
    ClientSession,
    Connection,
    Publication,
    Receipt,
    SessionActivity,
    SessionEvent,
    StateDocument,
    Stream,
    Subscription,
    clock,
)
from session_mgmt.protocol.codes import Close
from session_mgmt.protocol.frames import Connect
from session_mgmt.protocol.position import Position
from session_mgmt.protocol.recovery import Mode, Reason
from session_mgmt.registry import on, registry
from session_mgmt.shortcuts import publish, send, state
from tests.attaching import attach_client
from tests.bridge.threads import Held
from tests.ends import close

pytestmark = pytest.mark.django_db(transaction=True)


def later(**by: float) -> datetime:
    return clock.read("default") + timedelta(**by)


def attach(created: Created, *, now: datetime | None = None, **fields: Any) -> resume.Attachment:
    fields = {"client_id": None, "acked": 0, "logs": {}, "agent": "test", **fields}
    topics = frozenset(name.removeprefix("topic:") for name in fields["logs"])
    return attach_client(Connect(token=created.token.secret, **fields), topics, server="test", now=now)


def follow(created: Created, topic: str, position: Any = None) -> following.Log:
    name = f"topic:{topic}"
    return following.follow_log(Wish(created.session.pk, {name: position}, frozenset({topic})), name)


# -- streams ---------------------------------------------------------------------------------------------------------


def test_made_up_topics_leave_no_stream_behind() -> None:
    created = lifecycle.create_session()
    for number in range(150):
        follow(created, f"made-up:{number}")
        subscriptions.remove_subscription(created.session.pk, f"made-up:{number}", gate=nullcontext())
    assert not Stream.objects.exists()


def test_a_topic_beyond_the_limit_makes_no_stream(settings: Any) -> None:
    settings.SESSION_MGMT = {"max_subscriptions": 3}
    created = lifecycle.create_session()
    attached = attach(created, logs={f"topic:room:{number}": None for number in range(5)})
    assert [type(error) for error in attached.denied.values()] == [SubscriptionLimit] * 2
    assert Stream.objects.count() == 3


def test_a_stream_stays_while_it_is_followed_or_holds_something() -> None:
    one, other = lifecycle.create_session(), lifecycle.create_session()
    follow(one, "shared")
    follow(other, "shared")
    publish("kept", 1)
    follow(one, "kept")
    for topic in ("shared", "kept"):
        subscriptions.remove_subscription(one.session.pk, topic, gate=nullcontext())
    assert cleanup.run_cleanup().streams == 0
    assert set(Stream.objects.values_list("topic", flat=True)) == {"shared", "kept"}


def test_a_stream_whose_row_denies_its_entries_stays_with_them() -> None:
    publish("damaged", 1)
    Stream.objects.filter(topic="damaged").update(oldest=2, created_at=later(days=-99))
    assert cleanup.run_cleanup().streams == 0
    assert Publication.objects.count() == 1


def test_the_sweep_takes_streams_of_sessions_that_are_gone_and_of_logs_that_ran_out() -> None:
    created = lifecycle.create_session()
    follow(created, "left")
    publish("ran-out", 1)
    ClientSession.objects.all().delete()
    assert cleanup.run_cleanup().streams == 0
    report = cleanup.run_cleanup(now=later(hours=25))
    assert (report.publications, report.streams) == (1, 0), "a reader that comes back is told the truth"
    assert cleanup.run_cleanup(now=later(days=31)).streams == 2


def test_a_stream_that_somebody_begins_to_follow_is_not_deleted() -> None:
    created = lifecycle.create_session()
    follow(created, "room")
    Subscription.objects.all().delete()
    held = Held(lambda: follow(created, "room"), commit=True)
    deleted = retention.delete_unused_streams(later(days=31), limit=10).due if _is_postgres() else []
    held.end()
    assert deleted == []
    retention.delete_unused_streams(later(days=31), limit=10)
    assert Stream.objects.count() == 1


def _is_postgres() -> bool:
    return transaction.get_connection().vendor == "postgresql"


@pytest.mark.parametrize("published", [0, 2])
def test_a_second_tab_comes_back_to_a_topic_that_the_first_has_left(published: int) -> None:
    created = lifecycle.create_session()
    first, second = (attach(created, logs={"topic:room": None}) for _ in range(2))
    assert first.client != second.client
    seen = follow(created, "room").head
    subscriptions.remove_subscription(created.session.pk, "room", gate=nullcontext())
    assert retention.delete_unused_streams(later(days=29), limit=10).due == []
    for number in range(published):
        publish("room", number)
    verdict = follow(created, "room", seen.as_json()).verdict
    expected = (Mode.ENTRIES, 1, published) if published else (Mode.UP_TO_DATE, 0, 0)
    assert (verdict.mode, verdict.first, verdict.last) == expected


def test_a_stream_that_another_session_has_left_outlives_the_last_leave() -> None:
    one, other = lifecycle.create_session(), lifecycle.create_session()
    for _ in range(2):
        attach(other)
    follow(one, "room")
    seen = follow(other, "room").head
    subscriptions.remove_subscription(other.session.pk, "room", gate=nullcontext())
    subscriptions.remove_subscription(one.session.pk, "room", gate=nullcontext())
    assert follow(other, "room", seen.as_json()).verdict.mode is Mode.UP_TO_DATE
    subscriptions.remove_subscription(other.session.pk, "room", gate=nullcontext())
    subscriptions.remove_subscription(other.session.pk, "room", gate=nullcontext())
    assert cleanup.run_cleanup(now=later(days=29)).streams == 0
    assert cleanup.run_cleanup(now=later(days=31)).streams == 1


def test_a_stream_is_kept_for_the_retention_after_the_last_leave() -> None:
    created = lifecycle.create_session()
    for _ in range(2):
        attach(created, logs={"topic:room": None})
    Stream.objects.update(created_at=later(days=-60))
    Subscription.objects.update(created_at=later(days=-60))
    subscriptions.remove_subscription(created.session.pk, "room", gate=nullcontext())
    assert cleanup.run_cleanup().streams == 0
    assert cleanup.run_cleanup(now=later(days=31)).streams == 1


def test_a_publication_to_a_topic_whose_stream_was_deleted_begins_a_new_one() -> None:
    created = lifecycle.create_session()
    log = follow(created, "room")
    subscriptions.remove_subscription(created.session.pk, "room", gate=nullcontext())
    position = publish("room", "first")
    assert isinstance(position, Position)
    assert follow(created, "room", log.head.as_json()).verdict.reason is Reason.EPOCH_CHANGED
    assert Publication.objects.count() == 1


# -- clients ---------------------------------------------------------------------------------------------------------


def test_a_session_keeps_a_bounded_number_of_clients_and_the_newest(settings: Any) -> None:
    settings.SESSION_MGMT = {"max_clients": 5, "max_connections_per_session": 1000}
    created = lifecycle.create_session()
    first = attach(created)
    for _ in range(20):
        close(attach(created), code=1000, closed_by="client")
    assert Client.objects.count() == 5
    assert Client.objects.filter(pk=first.client).exists(), "it is connected, and so not the one to go"
    assert attach(created, client_id=first.client_id).client == first.client


def test_a_session_whose_clients_are_all_connected_refuses_one_more_for_a_time(settings: Any) -> None:
    settings.SESSION_MGMT = {"max_clients": 3}
    created = lifecycle.create_session()
    for _ in range(3):
        attach(created)
    with pytest.raises(ConnectionLimit) as refusal:
        attach(created)
    assert refusal.value.temporary
    assert refusal.value.retry_after == 30.0
    assert Close(refusal.value.close or 0).reconnect


def test_receipts_of_a_client_that_never_came_back_go_after_the_retention() -> None:
    client = attach(lifecycle.create_session()).client
    Receipt.objects.create(client_id=client, seq=1, digest=b"", outcome=b"{}", at=later(days=-31))
    Receipt.objects.create(client_id=client, seq=2, digest=b"", outcome=b"{}", at=later())
    assert cleanup.run_cleanup().receipts == 1
    assert Receipt.objects.get().seq == 2


# -- logs of sessions --------------------------------------------------------------------------------------------------


def test_a_log_is_trimmed_by_count_and_its_reader_is_told_so(settings: Any) -> None:
    settings.SESSION_MGMT = {"event_entries": 5}
    created = lifecycle.create_session()
    places = [send(created.session, number) for number in range(20)]
    assert cleanup.run_cleanup().events == 16
    assert SessionEvent.objects.count() == 6, "the last five, and the one before them for its tag"
    verdicts = [_judge(created, place) for place in places]
    assert {(verdict.mode, verdict.reason) for verdict in verdicts[:14]} == {(Mode.LOST, Reason.TRIMMED)}
    assert [verdict.mode for verdict in verdicts[14:]] == [Mode.ENTRIES] * 5 + [Mode.UP_TO_DATE]
    row = logs.LogRow(f"e:{created.session.pk.hex}", "session")
    assert [entry.offset for entry in logs.read_page(row, 16, 100)] == [17, 18, 19, 20, 21]
    assert cleanup.run_cleanup().events == 0


def _judge(created: Created, place: Any) -> Any:
    wish = Wish(created.session.pk, {"session": place.as_json()}, frozenset())
    return following.follow_log(wish, "session").verdict


def test_a_log_is_trimmed_by_age_but_for_its_newest_entry() -> None:
    created = lifecycle.create_session()
    SessionActivity.objects.update(expires_at=later(days=20))
    send(created.session, "old")
    assert cleanup.run_cleanup(now=later(days=6)).events == 0
    assert cleanup.run_cleanup(now=later(days=8)).events == 1
    position = send(created.session, "new")
    assert isinstance(position, Position)
    assert position.offset == 3, "numbers go on"


@pytest.fixture
def durable() -> Iterator[Callable[[Any], None]]:
    before = registry.durable.copy()
    yield on("message", durable=True)
    registry.durable = before


def test_an_entry_that_a_handler_has_still_to_see_is_kept(settings: Any, durable: Any) -> None:
    settings.SESSION_MGMT = {"event_entries": 1}
    created = lifecycle.create_session()
    durable(lambda event: None)
    for number in range(3):
        send(created.session, number)
    assert cleanup.run_cleanup(now=later(days=8)).events == 1, "only what came before the first message"
    assert SessionEvent.objects.filter(pending=True).count() == 3


def test_a_log_that_only_waits_for_its_handler_is_not_looked_at_again_and_again(durable: Any) -> None:
    created = lifecycle.create_session()
    durable(lambda event: None)
    for number in range(2):
        send(created.session, number)
    assert cleanup.run_cleanup(now=later(days=8)).events == 1
    assert find_due_timelines(later(days=8), after=None, limit=10) == []
    SessionEvent.objects.update(pending=False)
    assert find_due_timelines(later(days=8), after=None, limit=10) == [created.session.pk]


def test_effects_of_an_event_that_another_process_has_handled_meanwhile_are_not_kept(durable: Any) -> None:
    created = lifecycle.create_session()
    durable(lambda event: SessionEvent.objects.filter(pk=event.id).update(pending=False))
    send(created.session, 1)
    assert handlers.run_pending() == 0
    assert SessionEvent.objects.filter(pending=True).count() == 1


def test_closed_connections_go_after_the_retention_of_events() -> None:
    created = lifecycle.create_session()
    close(attach(created), code=1000, closed_by="client")
    attach(created, now=later())
    assert cleanup.run_cleanup().closed == 0
    Connection.objects.filter(closed_at__isnull=False).update(opened_at=later(days=-9), closed_at=later(days=-8))
    assert cleanup.run_cleanup().closed == 1
    # However long ago it was opened, an open one stays.
    Connection.objects.update(opened_at=later(days=-9))
    assert cleanup.run_cleanup().closed == 0
    assert Connection.objects.count() == 1


# -- limits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_anonymous", [True, False])
def test_connections_of_a_killed_process_do_not_count_for_long(settings: Any, is_anonymous: bool) -> None:
    settings.SESSION_MGMT = {"max_connections_per_user": 3, "max_connections_per_session": 3}
    user = None if is_anonymous else get_user_model().objects.create_user("ada")
    created = lifecycle.create_session(user=user)
    for _ in range(3):
        attach(created)
    with pytest.raises(ConnectionLimit):
        attach(created)
    # Three flushes later nobody has renewed them; their leases would hold for a minute more.
    assert attach(created, now=later(seconds=31)).is_new
    with pytest.raises(ConnectionLimit):
        renewed = [connections.Beat(pk, None, None, 0, 0, 0, 0, 0, 0) for pk in _list_open()]
        connections.renew_leases(renewed, now=later(seconds=31))
        attach(created, now=later(seconds=40))


def _list_open() -> list[int]:
    return list(Connection.objects.filter(closed_at__isnull=True).values_list("pk", flat=True))


def test_the_idlest_session_is_not_the_display_that_is_connected(settings: Any) -> None:
    settings.SESSION_MGMT = {"max_sessions_per_user": 2, "session_limit_policy": "evict_idle"}
    user = get_user_model().objects.create_user("ada")
    display, script = lifecycle.create_session(user=user), lifecycle.create_session(user=user)
    attach(display)
    lifecycle.count_activity([script.session.pk], now=later(seconds=10))
    lifecycle.create_session(user=user)
    ended = ClientSession.objects.exclude(state="active").values_list("pk", flat=True)
    assert list(ended) == [script.session.pk]


# -- the sweep ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "step"),
    [
        (expiry, "expire_due"),
        (closing, "close_dead"),
        (retention, "find_due_streams"),
        (retention, "delete_unused_streams"),
        (cleanup.timelines, "find_due_timelines"),
        (cleanup.compaction, "iter_due"),
        (cleanup.leftovers.Leftover, "delete_some"),
    ],
)
def test_a_step_that_fails_keeps_no_other_from_running(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, module: Any, step: str
) -> None:
    created = lifecycle.create_session()
    ClientSession.objects.update(state="terminated", ended_at=later(days=-40))

    def fail(*arguments: Any, **named: Any) -> Any:
        raise TypeError("an int is no timedelta")

    monkeypatch.setattr(module, step, fail)
    report = cleanup.run_cleanup()
    assert (report.failed, report.purged) == (len(cleanup.leftovers.LEFTOVERS) if step == "delete_some" else 1, 1)
    assert not ClientSession.objects.filter(pk=created.session.pk).exists()
    assert "an int is no timedelta" in caplog.text


@pytest.mark.parametrize(
    ("setting", "steps"),
    [
        ("retention", {"logins", "receipts", "outbox", "streams", "purged"}),
        ("event_retention", {"closed", "events"}),
        ("stream_retention", {"publications"}),
        ("log_retention", {"revisions"}),
    ],
)
@pytest.mark.parametrize("value", [60, "1 day", timedelta.max])
def test_a_setting_that_cannot_be_used_stops_the_steps_that_need_it_and_no_other(
    settings: Any, caplog: pytest.LogCaptureFixture, setting: str, steps: set[str], value: Any
) -> None:
    lifecycle.create_session()
    SessionActivity.objects.update(expires_at=later(hours=-1))
    publish("room:1", "hello")
    settings.SESSION_MGMT = {setting: value}
    report = cleanup.run_cleanup()
    assert report.expired == 1
    assert {record.args[0] for record in caplog.records if record.args and "step" in record.msg} == steps


def test_one_document_that_cannot_be_compacted_keeps_no_other_from_it(
    desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = lifecycle.create_session().session
    for session in (desk.session, other):
        for number in range(3):
            state.update(session, {"n": number})
    documents = sorted(StateDocument.objects.values_list("pk", flat=True))
    compact, seen = cleanup.compaction.compact_readable, []

    def fail_once(document: int, **named: Any) -> int:
        seen.append(document)
        if len(seen) == 1:
            raise RuntimeError("one that nobody foresaw")
        return compact(document, **named)

    monkeypatch.setattr(cleanup.compaction, "iter_due", lambda limit, at: iter(documents))
    monkeypatch.setattr(cleanup.compaction, "compact_readable", fail_once)
    report = cleanup.run_cleanup()
    assert (report.failed, seen) == (1, documents)
