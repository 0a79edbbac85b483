"""Rows come back to where they were: streams, clients, logs and connections are bounded, and readers are told so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connections as connections_of_threads
from django.db import transaction

from session_mgmt.actions import cleanup, logs
from session_mgmt.actions.clients import Attached
from session_mgmt.actions.group_commit import Group, Write, write_group
from session_mgmt.actions.outcome import Outcome
from session_mgmt.actions.sessions import attachments, closing, connections, expiry, following, lifecycle
from session_mgmt.actions.sessions.lifecycle import Created
from session_mgmt.actions.sessions.looking import Log, LogWish
from session_mgmt.actions.timeline import handlers
from session_mgmt.actions.timeline.retention import find_due_timelines
from session_mgmt.actions.topics import retention, subscriptions
from session_mgmt.actions.topics.ledger import Publication as TopicPublication
from session_mgmt.consumers import verdicts
from session_mgmt.exceptions import ConnectionLimit
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


def attach(created: Created, *, now: datetime | None = None, **fields: Any) -> attachments.Attachment:
    fields = {"client_id": None, "acked": 0, "logs": {}, "agent": "test", **fields}
    topics = frozenset(name.removeprefix("topic:") for name in fields["logs"])
    return attach_client(Connect(token=created.token.secret, **fields), topics, server="test", now=now)


def follow(created: Created, topic: str, position: Any = None) -> Log:
    name = f"topic:{topic}"
    return following.follow_log(LogWish(created.session.pk, {name: position}, frozenset({topic})), name)


# -- streams ---------------------------------------------------------------------------------------------------------


def leave(created: Created, topic: str) -> None:
    mine = Client.objects.filter(session=created.session)
    client = mine.first() or mine.create(session=created.session, created_at=created.session.created_at)
    attached = Attached(client.pk, client.generation)
    subscriptions.remove_subscription(created.session.pk, topic, attached, gate=nullcontext())


def test_six_hundred_made_up_topics_make_no_stream(settings: Any) -> None:
    settings.SESSION_MGMT = {"max_subscriptions": 1000}
    created = lifecycle.create_session()
    attach(created, logs={f"topic:made-up:{number}": None for number in range(300)})
    for number in range(300, 600):
        follow(created, f"made-up:{number}")
    assert (Stream.objects.count(), Subscription.objects.count()) == (0, 600)


def test_a_stream_stays_while_it_is_followed_or_holds_something() -> None:
    created = lifecycle.create_session()
    publish("followed", 1)
    publish("kept", 1)
    follow(created, "followed")
    Publication.objects.filter(stream__topic="followed").delete()
    Stream.objects.filter(topic="followed").update(oldest=2)
    assert cleanup.run_cleanup(now=later(hours=1)).streams == 0
    Stream.objects.update(created_at=later(days=-31))
    assert cleanup.run_cleanup().streams == 0
    leave(created, "followed")
    assert cleanup.run_cleanup().streams == 1
    assert list(Stream.objects.values_list("topic", flat=True)) == ["kept"]


def test_a_stream_whose_row_denies_its_entries_stays_with_them() -> None:
    publish("damaged", 1)
    Stream.objects.filter(topic="damaged").update(oldest=2, created_at=later(days=-99))
    assert cleanup.run_cleanup().streams == 0
    assert Publication.objects.count() == 1


def test_the_sweep_takes_streams_of_logs_that_ran_out() -> None:
    publish("ran-out", 1)
    ClientSession.objects.all().delete()
    assert cleanup.run_cleanup().streams == 0
    report = cleanup.run_cleanup(now=later(hours=25))
    assert (report.publications, report.streams) == (1, 0), "a reader that comes back is told the truth"
    assert cleanup.run_cleanup(now=later(days=31)).streams == 1


def test_an_empty_stream_from_before_goes_and_its_readers_are_told() -> None:
    """Following made one, with an epoch at random."""
    created = lifecycle.create_session()
    Stream.objects.create(topic="old", epoch="0123456789abcdef", created_at=later(days=-31))
    seen = follow(created, "old").head
    assert follow(created, "old", seen.as_json()).verdict.mode is Mode.UP_TO_DATE
    assert cleanup.run_cleanup().streams == 0
    leave(created, "old")
    assert cleanup.run_cleanup().streams == 1
    verdict = follow(created, "old", seen.as_json()).verdict
    assert (verdict.mode, verdict.reason) == (Mode.LOST, Reason.EPOCH_CHANGED)


def test_a_stream_that_somebody_begins_to_follow_is_not_deleted() -> None:
    created = lifecycle.create_session()
    publish("room", 1)
    Publication.objects.all().delete()
    Stream.objects.update(oldest=2)
    held = Held(lambda: follow(created, "room"), commit=True)
    deleted = retention.delete_unused_streams(later(days=31), limit=10).due if _is_postgres() else []
    held.end()
    assert deleted == []
    retention.delete_unused_streams(later(days=31), limit=10)
    assert Stream.objects.count() == 1


def _is_postgres() -> bool:
    return transaction.get_connection().vendor == "postgresql"


def given_place(created: Created, topic: str, *, at: datetime | None = None) -> Any:
    """Follow a topic, and return its position as the client is given it."""
    name = f"topic:{topic}"
    wish = LogWish(created.session.pk, {name: None}, frozenset({topic}))
    return verdicts.build_verdict(following.follow_log(wish, name, now=at))["position"]


@pytest.mark.parametrize("published", [0, 2])
def test_a_second_tab_comes_back_to_a_topic_that_the_first_has_left(published: int) -> None:
    created = lifecycle.create_session()
    first, second = (attach(created, logs={"topic:room": None}) for _ in range(2))
    assert first.client != second.client
    seen = given_place(created, "room")
    leave(created, "room")
    for number in range(published):
        publish("room", number)
    verdict = follow(created, "room", seen).verdict
    expected = (Mode.ENTRIES, 1, published) if published else (Mode.UP_TO_DATE, 0, 0)
    assert (verdict.mode, verdict.first, verdict.last) == expected


def test_a_place_before_the_first_publication_keeps_its_mark_until_something_is_published() -> None:
    created = lifecycle.create_session()
    log = follow(created, "room")
    epoch, offset, mark = verdicts.build_verdict(log)["position"]
    assert (offset, len(mark), epoch) == (0, 16, log.head.epoch)
    quiet = verdicts.build_verdict(follow(created, "room", [epoch, 0, mark]))
    assert quiet == {"mode": "up_to_date", "position": [epoch, 0, mark]}
    publish("room", 1)
    again = verdicts.build_verdict(follow(created, "room", [epoch, 0, mark]))
    assert (again["mode"], again["position"]) == ("entries", [epoch, 0, mark]), "a replay begins at the client's place"


def live_and_die(topic: str) -> None:
    """Publish to a topic, and let its stream go."""
    publish(topic, "lost")
    Stream.objects.filter(topic=topic).update(created_at=later(days=-31))
    Publication.objects.update(at=later(days=-2))
    cleanup.run_cleanup()
    assert not Stream.objects.exists()


@pytest.mark.parametrize("publishes", [False, True])
def test_a_stream_that_came_and_went_behind_a_sleeping_tab_is_told(publishes: bool) -> None:
    created = lifecycle.create_session()
    seen = given_place(created, "room", at=later(days=-40))
    SessionActivity.objects.update(expires_at=later(days=1))
    # Another tab has left the topic, and so nobody holds its stream.
    leave(created, "room")
    live_and_die("room")
    if publishes:
        publish("room", "new")
    verdict = follow(created, "room", seen).verdict
    assert (verdict.mode, verdict.reason) == (Mode.LOST, Reason.HISTORY_LOST)


def test_a_place_of_a_session_that_never_left_stays_true_however_old() -> None:
    created = lifecycle.create_session()
    Subscription.objects.create(session=created.session, topic="room", created_at=later(days=-41))
    seen = given_place(created, "room", at=later(days=-40))
    publish("room", 1)
    assert follow(created, "room", seen).verdict.mode is Mode.ENTRIES


@pytest.mark.parametrize("mark", ["", "f" * 16, "0" * 16, "-1", "zz", "9" * 64, "١٢٣"])
def test_a_forged_mark_gets_a_verdict(mark: str) -> None:
    created = lifecycle.create_session()
    epoch = follow(created, "room").head.epoch
    assert follow(created, "room", [epoch, 0, mark]).verdict.mode in (Mode.UP_TO_DATE, Mode.LOST)


def test_a_position_of_a_lost_history_is_told_where_nothing_is_published() -> None:
    created = lifecycle.create_session()
    log = follow(created, "room")
    verdict = follow(created, "room", [log.head.epoch, 3, "a" * 16]).verdict
    assert (verdict.mode, verdict.reason) == (Mode.LOST, Reason.HISTORY_LOST)


def test_two_first_publications_at_once_make_one_stream_in_one_order() -> None:
    created = lifecycle.create_session()
    seen = follow(created, "room").head
    with ThreadPoolExecutor(8) as threads:
        places = list(threads.map(_publish_alone, range(8)))
    assert sorted(place.offset for place in places) == list(range(1, 9))
    assert {place.epoch for place in places} == {seen.epoch} == set(Stream.objects.values_list("epoch", flat=True))
    assert Stream.objects.count() == 1


def _publish_alone(number: int) -> Position:
    """Publish in a transaction of its own, as another process does."""
    try:
        group = Group()
        write_group("default", [Write(TopicPublication("room", b"%d" % number))], group, wait=True)
        (outcome,) = group.decisions
        assert isinstance(outcome, Outcome)
        return outcome.require()
    finally:
        connections_of_threads["default"].close()


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
    wish = LogWish(created.session.pk, {"session": place.as_json()}, frozenset())
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
@pytest.mark.requirement("OWASP WebSocket: connections")
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
    compact, seen = cleanup.compaction.compact_group, []

    def fail_for_one(group: list[int], **named: Any) -> int:
        seen.append(group)
        if documents[0] in group:
            raise RuntimeError("one that nobody foresaw")
        return compact(group, **named)

    monkeypatch.setattr(cleanup.compaction, "iter_due", lambda limit, at: iter([documents]))
    monkeypatch.setattr(cleanup.compaction, "compact_group", fail_for_one)
    report = cleanup.run_cleanup()
    assert (report.failed, seen) == (1, [documents, documents[:1], documents[1:]])
