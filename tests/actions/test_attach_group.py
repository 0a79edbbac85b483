"""One transaction connects many clients: each by the rules of a single one, and none at its neighbours' cost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from session_mgmt.actions.access import SERVER
from session_mgmt.actions.sessions import connections, expiry, lifecycle, resume
from session_mgmt.actions.sessions.attachments import Ask, Attachment, Held
from session_mgmt.actions.sessions.lifecycle import Created
from session_mgmt.actions.timeline import ledger, reading
from session_mgmt.exceptions import (
    ClientForgotten,
    ConnectionLimit,
    DocumentLimit,
    InvalidToken,
    SessionExpired,
    SessionTerminated,
    SubscriptionLimit,
    TokenExpired,
    TopicDenied,
)
from session_mgmt.models import (
    Client,
    ClientSession,
    Connection,
    Receipt,
    SessionActivity,
    SessionEvent,
    StateDocument,
    Stream,
    Subscription,
    Token,
    clock,
)
from session_mgmt.protocol.frames import Connect
from session_mgmt.protocol.recovery import Mode, Reason
from session_mgmt.shortcuts import publish, state
from session_mgmt.writes import verbs
from tests import ends
from tests.actions.test_query_plans import list_scans
from tests.attaching import answered, attach_all
from tests.bridge.threads import held, together

pytestmark = pytest.mark.django_db(transaction=True)

ROOM, MAIN = "topic:room", "state:main"


def ask(
    created: Created, client_id: str | None = None, *, acked: int = 0, granted: Any = ("room",), **logs: Any
) -> Ask:
    named = {name.replace("_", ":"): position for name, position in logs.items()}
    return Ask(Connect(created.token.secret, client_id, acked, named, "test"), "test", frozenset(granted))


def fresh(count: int) -> list[Created]:
    return [lifecycle.create_session() for _ in range(count)]


def attach(*asks: Ask, **how: Any) -> list[Any]:
    return attach_all(asks, **how).results


def events_of(created: Created) -> list[str]:
    rows = SessionEvent.objects.filter(session=created.session.pk).order_by("seq")
    return list(rows.values_list("type", flat=True))[1:]


def assert_whole(created: Created) -> None:
    """The session's log has no gap, and its counter and tag are those of the last entry."""
    rows = list(SessionEvent.objects.filter(session=created.session.pk).order_by("seq").values_list("seq", "tag"))
    activity = SessionActivity.objects.get(pk=created.session.pk)
    assert [seq for seq, _ in rows] == list(range(1, len(rows) + 1))
    assert rows[-1] == (activity.event_seq, activity.event_tag)


# -- costs -----------------------------------------------------------------------------------------------------------


@contextmanager
def counted() -> Iterator[list[str]]:
    """Collect the statements of this thread's connection, also those that pass Django by."""
    connection.ensure_connection()
    if connection.vendor == "sqlite":
        found: list[str] = []
        connection.connection.set_trace_callback(found.append)
        try:
            yield found
        finally:
            connection.connection.set_trace_callback(None)
        return
    with CaptureQueriesContext(connection) as caught:
        found = []
        yield found
    found += [query["sql"] for query in caught.captured_queries]


def statements_of(asks: list[Ask]) -> list[str]:
    with counted() as found:
        results = attach_all(asks).results
    assert all(isinstance(result, Attachment) for result in results)
    return found


def make_members(count: int) -> list[Created]:
    """Make sessions, every second one of a user, and fill their logs."""
    users = [
        get_user_model().objects.create_user(f"user {get_user_model().objects.count()}") for _ in range(count // 2)
    ]
    return [lifecycle.create_session(user=users[number // 2] if number % 2 else None) for number in range(count)]


@pytest.mark.parametrize("logs", [{}, {"topic_room": None, "state_main": None, "session": None}])
def test_a_group_of_128_takes_as_many_statements_as_one_of_2(logs: dict[str, Any]) -> None:
    publish("room", 1)
    counts: dict[int, list[int]] = {}
    for size in (2, 128):
        made = make_members(size)
        first = [ask(created, **logs) for created in made]
        opened = statements_of(first)
        clients = list(
            Client.objects.filter(session__in=[c.session.pk for c in made]).values_list("session", "client_id")
        )
        names = {session: name for session, name in clients}
        positions = {name: ["0" * 16, 1, "1" * 16] for name in logs}
        again = statements_of([ask(created, names[created.session.pk], **positions) for created in made])
        counts[size] = [len(opened), len(again)]
    assert counts[128] == counts[2]
    assert max(counts[2]) < 50


# Those but the last, in numbers for which SQLite has a statement.
@pytest.mark.parametrize("size", [3, 17])
def test_what_members_missed_of_their_sessions_logs_is_read_by_one_statement(size: int) -> None:
    made = make_members(size)
    first = [answered(result) for result in attach(*(ask(created, session=None) for created in made))]
    places = [one.logs["session"].head for one in first]
    # The last one has missed more than is read together.
    for number in range(resume.MOST_MISSED):
        verbs.send(made[-1].session.pk, number)
    asks = [ask(c, one.client_id, session=p.as_json()) for c, one, p in zip(made, first, places, strict=True)]
    # A second client of the first session stands elsewhere in its log.
    earlier = SessionEvent.objects.get(session=made[0].session, seq=places[0].offset - 1)
    asks.append(ask(made[0], session=[places[0].epoch, earlier.seq, earlier.tag]))
    with counted() as statements:
        group = attach_all(asks)
    assert len([sql for sql in statements if "BETWEEN wanted.after" in sql]) == 1
    for one, place in zip(group.results[:-2], places, strict=False):
        page = reading.read_page("default", answered(one).session.pk, place.offset, 100)
        assert answered(one).missed == page and page
    assert answered(group.results[-2]).missed == []
    page = reading.read_page("default", made[0].session.pk, earlier.seq, 100)
    assert answered(group.results[-1]).missed == page and len(page) > 2


def test_large_entries_are_not_read_for_a_group() -> None:
    (made,) = make_members(1)
    (first,) = attach(ask(made, session=None))
    for text in ("small", "x" * ledger.SMALL_BYTES, "after it"):
        verbs.send(made.session.pk, text)
    (again,) = attach(ask(made, first.client_id, session=first.logs["session"].head.as_json()))
    assert [b"small" in entry.body for entry in again.missed] == [True]


@pytest.mark.sqlite
def test_no_statement_of_a_group_reads_a_whole_table() -> None:
    publish("room", 1)
    made = make_members(3)
    logs = {"topic_room": None, "state_main": None, "session": None}
    first = [answered(result) for result in attach(*(ask(created, **logs) for created in made))]
    for created in made:
        state.update(created.session, {"a": 1})
        state.update(created.session, {"a": 2})
    publish("room", 2)
    back = [
        ask(created, one.client_id, **{name.replace(":", "_"): log.head.as_json() for name, log in one.logs.items()})
        for created, one in zip(made, first, strict=True)
    ]
    statements = statements_of(back)
    assert len(statements) > 10
    assert list_scans(statements) == []


def test_clients_at_one_place_of_a_topic_share_one_verdict() -> None:
    for number in range(3):
        publish("room", number)
    made = fresh(3)
    stream = Stream.objects.get()
    position = [stream.epoch, 0, ""]
    one, two, other = attach(
        ask(made[0], topic_room=position), ask(made[1], topic_room=list(position)), ask(made[2], topic_room=None)
    )
    assert one.logs[ROOM] is two.logs[ROOM]
    assert (one.logs[ROOM].verdict.first, one.logs[ROOM].verdict.last) == (1, 3)
    assert other.logs[ROOM].verdict.reason is Reason.FROM_NOW


# -- refused alone ---------------------------------------------------------------------------------------------------


def test_refused_members_in_the_middle_leave_no_trace_and_touch_nobody(settings: Any) -> None:
    settings.SESSION_MGMT = {"max_connections_per_session": 1}
    made = fresh(9)
    now = clock.read("default")
    (full,) = attach(ask(made[4]))
    Token.objects.filter(session=made[1].session.pk).update(expires_at=now - timedelta(seconds=1))
    lifecycle.terminate_session(SERVER, made[2].session.pk)
    SessionActivity.objects.filter(pk=made[5].session.pk).update(expires_at=now - timedelta(minutes=1))
    Token.objects.filter(session=made[6].session.pk).update(revoked_at=now)
    before = {created.session.pk: events_of(created) for created in made}
    unknown = Ask(Connect("sma_unknown", None, 0, {}, ""), "test")
    foreign = Ask(Connect("no token at all", None, 0, {}, ""), "test")
    results = attach(
        ask(made[0], topic_room=None),
        ask(made[1], topic_room=None),
        ask(made[2], state_main=None),
        unknown,
        ask(made[3], "c_forgotten", topic_other=None, granted=["other"]),
        ask(made[4], topic_room=None, state_main=None),
        ask(made[5]),
        foreign,
        ask(made[6]),
        ask(made[7], topic_room=None, state_main=None),
        ask(made[8], topic_secret=None),
    )
    refusals = [type(result) for result in results[1:9]]
    assert refusals == [
        TokenExpired,
        SessionTerminated,
        InvalidToken,
        ClientForgotten,
        ConnectionLimit,
        SessionExpired,
        InvalidToken,
        InvalidToken,
    ]
    first, last, curious = (answered(results[number]) for number in (0, 9, 10))
    assert first.logs[ROOM].key == last.logs[ROOM].key
    assert isinstance(curious.denied["topic:secret"], TopicDenied)
    attached = {made[number].session.pk for number in (0, 4, 7, 8)}
    assert set(Client.objects.values_list("session", flat=True)) == attached
    assert set(Connection.objects.filter(closed_at=None).values_list("session", flat=True)) == attached
    assert Connection.objects.get(session=made[4].session.pk).pk == full.connection
    assert set(Subscription.objects.values_list("session", flat=True)) == {made[0].session.pk, made[7].session.pk}
    assert set(StateDocument.objects.values_list("session", flat=True)) == {made[7].session.pk}
    assert not Stream.objects.exists()
    for created in made:
        new = ["connection_established"] if created.session.pk in attached - {made[4].session.pk} else []
        assert events_of(created) == before[created.session.pk] + new
        assert_whole(created)


def test_an_inactive_or_deleted_user_proves_nothing() -> None:
    users = [get_user_model().objects.create_user(name) for name in ("alice", "bob")]
    alice, bob = (lifecycle.create_session(user=user) for user in users)
    users[0].is_active = False
    users[0].save()
    refused, attached = attach(ask(alice), ask(bob))
    assert isinstance(refused, InvalidToken) and isinstance(attached, Attachment)
    assert attached.session.user_id == users[1].pk
    users[1].delete()
    assert isinstance(attach(ask(bob))[0], InvalidToken)


@pytest.mark.requirement("OWASP WebSocket: connections")
def test_limits_count_the_members_before_in_the_group(settings: Any) -> None:
    settings.SESSION_MGMT = {"max_connections_per_session": 2, "max_connections_per_user": 3}
    alice = get_user_model().objects.create_user("alice")
    one, two = (lifecycle.create_session(user=alice) for _ in range(2))
    results = attach(ask(one), ask(one), ask(one), ask(two), ask(two))
    assert [type(result) for result in results] == [
        Attachment,
        Attachment,
        ConnectionLimit,
        Attachment,
        ConnectionLimit,
    ]
    # Who comes back takes its own place, also where no other is free.
    back = attach(ask(one, results[0].client_id), ask(two), ask(one, results[1].client_id))
    assert [type(result) for result in back] == [Attachment, ConnectionLimit, Attachment]
    assert Connection.objects.filter(closed_at=None).count() == 3


def test_a_new_client_does_not_take_the_place_of_one_that_returns_in_the_same_group(settings: Any) -> None:
    settings.SESSION_MGMT = {"max_connections_per_session": 1}
    (created,) = fresh(1)
    (known,) = attach(ask(created))
    results = attach(ask(created), ask(created, known.client_id))
    assert [type(result) for result in results] == [ConnectionLimit, Attachment]


def test_ghosts_of_a_dead_process_do_not_count(settings: Any) -> None:
    settings.SESSION_MGMT = {"max_connections_per_session": 1}
    (created,) = fresh(1)
    attach(ask(created))
    later = clock.read("default") + connections.ghost_time() + timedelta(seconds=1)
    assert isinstance(attach(ask(created), now=later)[0], Attachment)


def test_new_clients_take_the_places_of_those_that_were_away_longest(settings: Any) -> None:
    settings.SESSION_MGMT = {"max_clients": 3}
    (created,) = fresh(1)
    now = clock.read("default")
    old = [answered(attach(ask(created), now=now + timedelta(seconds=number))[0]) for number in range(3)]
    for one in old:
        ends.close(one, code=1006, closed_by="client")
    Receipt.objects.create(client_id=old[1].client, seq=1, digest=bytes(32), outcome=b"{}", at=now)
    # The oldest one comes back in the same group: the others make room.
    results = attach(ask(created), ask(created, old[0].client_id), ask(created), ask(created))
    assert [type(result) for result in results] == [Attachment, Attachment, Attachment, ConnectionLimit]
    kept = {result.client for result in results[:3]}
    assert set(Client.objects.values_list("pk", flat=True)) == kept
    assert not Receipt.objects.exists()


def test_a_log_over_a_limit_is_denied_alone(settings: Any) -> None:
    settings.SESSION_MGMT = {"max_subscriptions": 2, "max_documents": 2}
    one, two = fresh(2)
    topics, documents = {f"topic_t{n}": None for n in range(3)}, {f"state_d{n}": None for n in range(3)}
    names = [f"t{n}" for n in range(3)]
    results = [
        answered(result)
        for result in attach(
            ask(one, granted=names, **topics, **documents),
            ask(one, granted=["t9"], topic_t9=None, state_d9=None),
            ask(two, granted=names, **topics, **documents),
        )
    ]
    for result in (results[0], results[2]):
        assert set(result.logs) == {"state:d0", "state:d1", "topic:t0", "topic:t1"}
        assert {name: type(error) for name, error in result.denied.items()} == {
            "topic:t2": SubscriptionLimit,
            "state:d2": DocumentLimit,
        }
        assert result.subscriptions == ["t0", "t1"]
    assert {type(error) for error in results[1].denied.values()} == {SubscriptionLimit, DocumentLimit}
    assert Stream.objects.count() == 0 and StateDocument.objects.count() == 4


# -- the same rules as for one ---------------------------------------------------------------------------------------


def test_two_tabs_of_a_session_in_one_group_number_their_events_in_order() -> None:
    (created,) = fresh(1)
    first = [
        answered(result) for result in attach(ask(created, session=None), ask(created, state_main=None, session=None))
    ]
    assert events_of(created) == ["connection_established"] * 2
    assert [one.logs["session"].head.offset for one in first] == [2, 3]
    state.update(created.session, {"a": 1})
    seen = first[0].logs["session"].head.as_json()
    back = attach(
        ask(created, first[0].client_id, session=seen),
        ask(created, first[1].client_id, session=seen, state_main=first[1].logs[MAIN].head.as_json()),
    )
    assert events_of(created) == [
        "connection_established",
        "connection_established",
        "connection_lost",
        "connection_restored",
        "connection_lost",
        "connection_restored",
        "state_synchronized",
    ]
    assert_whole(created)
    verdicts = [answered(one).logs["session"].verdict for one in back]
    assert [(v.mode, v.first, v.last) for v in verdicts] == [(Mode.ENTRIES, 3, 5), (Mode.ENTRIES, 3, 8)]
    assert Connection.objects.filter(closed_at=None).count() == 2


def test_a_position_that_lies_about_the_sessions_log_is_noticed_in_a_group() -> None:
    one, two = fresh(2)
    known = [answered(result) for result in attach(ask(one, session=None), ask(two, session=None))]
    places = [result.logs["session"].head for result in known]
    lies = [[places[0].epoch, 1, "0" * 16], [places[1].epoch, places[1].offset + 1, "0" * 16]]
    back = attach(*(ask(c, k.client_id, session=lie) for c, k, lie in zip((one, two), known, lies, strict=True)))
    assert [answered(result).logs["session"].verdict.reason for result in back] == [Reason.HISTORY_LOST] * 2


def test_a_client_that_comes_back_fences_its_older_connection_off() -> None:
    one, two = fresh(2)
    before = [answered(result) for result in attach(ask(one), ask(two))]
    group = attach_all([ask(one, before[0].client_id, acked=7), ask(two, before[1].client_id)])
    back = [answered(result) for result in group.results]
    assert [result.generation for result in back] == [2, 2]
    assert group.replaced == [(result.client, 2) for result in back]
    assert [(result.went_back, result.last_seq) for result in back] == [(True, 7), (False, 0)]
    closed = Connection.objects.filter(pk__in=[result.connection for result in before])
    assert set(closed.values_list("close_code", "closed_by")) == {(1006, "client")}
    assert dict(Client.objects.values_list("pk", "last_seq")) == {back[0].client: 7, back[1].client: 0}


def test_what_was_committed_unknown_to_us_is_taken_over_when_it_runs_again() -> None:
    one, two = fresh(2)
    (known,) = attach(ask(two))
    asks = [ask(one, topic_room=None), ask(two, known.client_id)]
    first = [answered(result) for result in attach(*asks)]
    again = [answered(result) for result in attach(*asks)]
    assert [result.client for result in again] == [result.client for result in first]
    assert [result.generation for result in again] == [2, 3]
    assert [result.is_new for result in again] == [True, False]
    assert Client.objects.count() == 2
    assert set(Connection.objects.filter(closed_at=None).values_list("pk", flat=True)) == {
        result.connection for result in again
    }


# -- others at the same time -----------------------------------------------------------------------------------------


@pytest.mark.postgres
def test_whose_session_is_held_is_held_alone_and_nobody_waits_for_it() -> None:
    one, two, three = fresh(3)
    (known,) = attach(ask(three))
    hold_session = lambda: list(SessionActivity.objects.select_for_update().filter(pk=one.session.pk))  # noqa: E731
    hold_client = lambda: list(Client.objects.select_for_update().filter(pk=known.client))  # noqa: E731
    with held(hold_session), held(hold_client):
        asks = [ask(one, topic_room=None), ask(two, topic_room=None), ask(three, known.client_id), ask(three)]
        results = attach(*asks, wait=False)
        assert [type(result) for result in results] == [Held, Attachment, Held, Attachment]
        assert not Client.objects.filter(session=one.session.pk).exists()
    slow = [answered(attach(asks[number], wait=True)[0]) for number in (0, 2)]
    assert slow[1].generation == 2


@pytest.mark.postgres
def test_a_terminated_expired_or_deleted_session_is_refused_by_whoever_waited_for_it(settings: Any) -> None:
    user = get_user_model().objects.create_user("alice")
    ended, expired, deleted = *fresh(2), lifecycle.create_session(user=user)
    late = clock.read("default") + timedelta(days=60)
    works = {
        SessionTerminated: (ended, lambda: lifecycle.terminate_session(SERVER, ended.session.pk)),
        SessionExpired: (expired, lambda: expiry.expire_due(limit=10, now=late)),
        InvalidToken: (deleted, user.delete),
    }
    for refusal, (created, work) in works.items():
        with held(work) as holding:
            assert isinstance(attach(ask(created), wait=False)[0], Held)
            waiting = Waiting(lambda created=created: attach(ask(created), wait=True)[0])
            holding.end()
        assert isinstance(waiting.result(), refusal)
    assert not Client.objects.exists()


class Waiting:
    """Work that waits for a lock in a thread; it is known to wait once the database says so."""

    def __init__(self, work: Any) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self._pool = ThreadPoolExecutor(1)
        self._future = self._pool.submit(self._run, work)

    def _run(self, work: Any) -> Any:
        try:
            return work()
        finally:
            connection.close()

    def result(self) -> Any:
        try:
            return self._future.result(30)
        finally:
            self._pool.shutdown()


def test_groups_race_ends_of_their_sessions_and_one_of_them_wins() -> None:
    """Whoever commits first: attached and then ended, or refused. Nothing of a connection outlives the end open."""
    user = get_user_model().objects.create_user("alice")
    mine = [lifecycle.create_session(user=user) for _ in range(4)]
    others = fresh(12)
    made = [*others[:4], *mine, *others[4:]]

    def end_some() -> None:
        for created in others[:4]:
            lifecycle.terminate_session(SERVER, created.session.pk)

    def expire_some() -> None:
        SessionActivity.objects.filter(pk__in=[created.session.pk for created in others[4:8]]).update(
            expires_at=clock.read("default") - timedelta(hours=1)
        )
        expiry.expire_due(limit=4)

    def connect_all() -> list[Any]:
        return attach_all([ask(created, state_main=None, topic_room=None) for created in made], wait=True).results

    results = together(connect_all, end_some, expire_some, user.delete, connect_all)
    alive = {created.session.pk for created in others[8:]}
    for group in (results[0], results[4]):
        by_session = {created.session.pk: result for created, result in zip(made, group, strict=True)}
        assert all(isinstance(by_session[key], Attachment) for key in alive)
        assert all(isinstance(result, Attachment | Exception) for result in group)
    # On PostgreSQL a cleanup skips rows that a group has locked, and leaves them to the next one.
    expiry.expire_due(limit=4)
    assert set(Connection.objects.filter(closed_at=None).values_list("session", flat=True)) == alive
    assert not ClientSession.objects.filter(pk__in=[created.session.pk for created in mine]).exists()
    for created in others:
        assert_whole(created)


def test_the_same_client_in_two_transactions_at_once_is_attached_twice_and_the_later_one_stays() -> None:
    (created,) = fresh(1)
    (known,) = attach(ask(created))

    def come_back() -> Any:
        return answered(attach(ask(created, known.client_id), wait=True)[0])

    results = together(*[come_back] * 4)
    assert sorted(result.generation for result in results) == [2, 3, 4, 5]
    newest = max(results, key=lambda result: result.generation)
    assert Connection.objects.get(closed_at=None).pk == newest.connection
    assert_whole(created)


def test_a_group_that_fails_at_its_end_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    (created,) = fresh(1)
    monkeypatch.setattr(resume.opening, "open_connections", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        attach(ask(created, state_main=None, topic_room=None))
    assert not any(model.objects.exists() for model in (Client, Connection, StateDocument, Subscription, Stream))
    assert not transaction.get_connection().in_atomic_block
