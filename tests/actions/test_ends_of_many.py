"""Sessions that end or are deleted together: as many statements for twelve as for two, and each of them once."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection, connections, transaction
from django.db.models.signals import post_delete, pre_delete
from django.test.utils import CaptureQueriesContext

from session_mgmt.actions import audit
from session_mgmt.actions.clients import Fence
from session_mgmt.actions.group_commit import Write
from session_mgmt.actions.sessions import (
    device_list,
    devices,
    ending,
    expiry,
    lifecycle,
    standing,
    stopping,
    user_changes,
)
from session_mgmt.actions.sessions.device_list import Viewer
from session_mgmt.actions.state import prepare
from session_mgmt.actions.webhooks import replaying
from session_mgmt.bridge import bridge
from session_mgmt.exceptions import Replaced, SessionTerminated
from session_mgmt.models import (
    AuditEntry,
    Client,
    ClientSession,
    Connection,
    Login,
    SessionActivity,
    SessionEvent,
    StateDocument,
    WebhookCursor,
    WebhookDelivery,
    clock,
)
from session_mgmt.protocol.codes import Close
from session_mgmt.shortcuts import end_user_sessions, erase_user, state
from tests.actions.test_lock_order import wait_for_a_lock
from tests.bridge.threads import together

pytestmark = pytest.mark.django_db(transaction=True)

State = ClientSession.State


def make_user(name: str, sessions: int) -> Any:
    """Make a user with sessions, each with a client that is connected and a document, and every other with a login."""
    user = get_user_model().objects.create_user(name, password=None)
    made = [lifecycle.create_session(user=user).session for _ in range(sessions)]
    clients = Client.objects.bulk_create([Client(session=row, generation=1, created_at=row.created_at) for row in made])
    Connection.objects.bulk_create(
        Connection(
            session=client.session,
            client=client,
            generation=1,
            server="test",
            opened_at=client.created_at,
            lease_expires_at=client.created_at + timedelta(days=1),
        )
        for client in clients
    )
    StateDocument.objects.bulk_create(
        StateDocument(session=row, chain=bytes(32), last_modified=row.created_at) for row in made
    )
    for row in made[1::2]:
        digest, now = uuid.uuid4().bytes * 2, row.created_at
        row.login = Login.objects.create(digest=digest, user=user, cookie_digest=digest, created_at=now, seen_at=now)
        row.save(update_fields=["login"])
    return user


def keys_of(user: Any) -> list[uuid.UUID]:
    return list(ClientSession.objects.filter(user=user).order_by("pk").values_list("pk", flat=True))


def end(sessions: list[uuid.UUID], reason: str = "requested") -> set[uuid.UUID]:
    with transaction.atomic():
        return ending.end_sessions("default", sessions, State.TERMINATED, reason, clock.read("default"))


def list_ends() -> list[uuid.UUID]:
    """Return the session of each event that tells an end."""
    ends = SessionEvent.objects.filter(type__in=["session_terminated", "session_expired"])
    return list(ends.order_by("session").values_list("session", flat=True))


def list_late(now: Any) -> list[uuid.UUID]:
    return expiry.expire_due(limit=1000, now=now + timedelta(days=400))


def note_nothing(_: list[uuid.UUID]) -> None:
    """Keep nothing."""


WAYS: dict[str, Callable[[Any], Any]] = {
    "query": lambda user: user.client_sessions.all().delete(),
    "user": lambda user: user.delete(),
    "erasure": lambda user: erase_user(user),
    "standing": lambda user: standing.settle_sessions(keys_of(user)),
    "logout everywhere": lambda user: end_user_sessions(user),
    "expiry": lambda user: list_late(clock.read("default")),
    "admin": lambda user: list(
        devices.end_devices(keys_of(user), "by hand", lambda ended: audit.add_entries("x", ended))
    ),
    "device list": lambda user: device_list.end_others(Viewer(user_id=user.pk, user=user)),
    "room for another": lambda user: lifecycle.make_room("default", user, clock.read("default")),
}


@pytest.mark.parametrize("way", WAYS)
def test_twelve_sessions_end_with_as_many_statements_as_two(way: str, settings: Any) -> None:
    counts = []
    for number in (2, 12):
        user = make_user(f"user-{number}", number)
        settings.SESSION_MGMT = {"max_sessions_per_user": 1}
        if way == "standing":
            get_user_model().objects.filter(pk=user.pk).update(is_active=False)
        with CaptureQueriesContext(connection) as captured, transaction.atomic():
            WAYS[way](user)
        settings.SESSION_MGMT = {}
        counts.append(len(captured))
        assert not ClientSession.objects.filter(state=State.ACTIVE).exists()
        assert not Connection.objects.filter(closed_at=None).exists()
    assert counts[0] == counts[1]


# -- work on many that go on -------------------------------------------------------------------------------------------


def stop_all(user: Any) -> None:
    groups = stopping.stop_sessions(keys_of(user), Close.DETACHED, lambda group: audit.add_entries("reconnect", group))
    assert list(groups) == [keys_of(user)]
    assert set(Client.objects.values_list("generation", flat=True)) == {2}
    assert set(Connection.objects.values_list("close_code", flat=True)) == {Close.DETACHED}
    assert AuditEntry.objects.count() == len(keys_of(user))


def replay_all(user: Any) -> None:
    assert replaying.replay(replaying.find_settled()) == len(keys_of(user))
    assert set(WebhookCursor.objects.values_list("done", "lease")) == {(0, "")}


def count_awaiting(user: Any) -> None:
    """Count activity of sessions whose deadline was brought forward by a change of the password."""
    assert lifecycle.count_activity(keys_of(user)) == set(keys_of(user))
    assert max(SessionActivity.objects.values_list("expires_at", flat=True)) < clock.read("default") + timedelta(
        hours=1
    )


def end_others(user: Any) -> None:
    own = ClientSession.objects.filter(user=user).exclude(login=None).first()
    device_list.end_others(Viewer(user_id=user.pk, user=user, session=own.pk))
    assert ClientSession.objects.get(state=State.ACTIVE) == own


def deliver(user: Any) -> None:
    """Give each session a delivery that was given up."""
    for key in keys_of(user):
        facts = {"session_id": key, "endpoint_id": 1}
        now = clock.read("default")
        WebhookCursor.objects.create(**facts, head=1, done=1, next_at=now, leased_until=now, lease="mine")
        WebhookDelivery.objects.create(
            **facts, sequence=1, event="session_created", payload=b"{}", state="dead",
            recorded_at=now, due_since=now, settled_at=now,
        )  # fmt: skip


def change_password(user: Any) -> None:
    get_user_model().objects.filter(pk=user.pk).update(password="!another")
    SessionActivity.objects.update(expires_at=clock.read("default") + standing.CHECK_WITHIN)


def leave(user: Any) -> None:
    """Prepare nothing."""


ON_MANY: dict[str, tuple[Callable[[Any], None], Callable[[Any], None]]] = {
    "reconnect": (leave, stop_all),
    "replay": (deliver, replay_all),
    "activity": (change_password, count_awaiting),
    "other devices": (leave, end_others),
}


@pytest.mark.parametrize("work", ON_MANY)
def test_work_on_twelve_sessions_costs_as_many_statements_as_on_four(work: str) -> None:
    prepare, act = ON_MANY[work]
    counts = []
    for number in (4, 12):
        user = make_user(f"user-{number}", number)
        prepare(user)
        with CaptureQueriesContext(connection) as captured:
            act(user)
        counts.append(len(captured))
        ClientSession.objects.all().delete()
        AuditEntry.objects.all().delete()
    assert counts[0] == counts[1]


def test_users_of_many_sessions_are_looked_at_by_orders_of_a_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_changes, "_TOGETHER", 2)
    user = make_user("ann", 3)
    orders: list[Any] = []
    monkeypatch.setattr(user_changes.notify.doorbell(), "ring", lambda heads, order=None: orders.append(order))
    user.save()
    looks = [order["look"] for order in orders if order and "look" in order]
    assert [len(look) for look in looks] == [2, 1]
    assert sorted(key for look in looks for key in look) == [key.hex for key in keys_of(user)]


def test_twelve_users_are_deleted_with_as_many_statements_as_two() -> None:
    counts = []
    for number in (2, 12):
        for each in range(number):
            make_user(f"user-{each}", 2 - each % 3)
        with CaptureQueriesContext(connection) as captured:
            get_user_model().objects.filter(username__startswith="user-").delete()
        counts.append(len(captured))
        assert not ClientSession.objects.exists() and not Login.objects.exists() and not StateDocument.objects.exists()
    assert counts[0] == counts[1]


def test_two_that_end_overlapping_sets_end_each_session_once() -> None:
    first, second = (keys_of(make_user(name, 6)) for name in ("ann", "bob"))
    shared = first[3:]
    ended = together(
        lambda: end(first), lambda: end(list(reversed([*second, *shared]))), lambda: end([*shared, *first[:3]])
    )
    assert sorted(key for keys in ended for key in keys) == sorted([*first, *second]) == list_ends()


def test_a_session_that_was_ended_meanwhile_is_ended_by_one_and_told_once() -> None:
    mine = keys_of(make_user("ann", 4))
    end([mine[1]], "before")
    assert end(mine, "then") == {mine[0], *mine[2:]}
    assert list_ends() == mine
    assert ClientSession.objects.get(pk=mine[1]).end_reason == "before"


@pytest.mark.postgres
def test_a_group_waits_for_whoever_holds_one_of_it_and_leaves_that_one_if_it_has_ended() -> None:
    mine = keys_of(make_user("ann", 4))
    found: list[set[uuid.UUID]] = []

    def end_all() -> None:
        try:
            found.append(end(mine, "all"))
        finally:
            connections.close_all()

    thread = threading.Thread(target=end_all)
    with transaction.atomic():
        assert end([mine[2]], "one") == {mine[2]}
        thread.start()
        wait_for_a_lock()
    thread.join()
    assert found == [{*mine[:2], mine[3]}]
    assert list_ends() == mine


def test_clients_that_write_while_their_sessions_end_together_are_refused() -> None:
    mine = keys_of(make_user("ann", 3))
    clients = list(Client.objects.order_by("session"))
    documents = list(StateDocument.objects.order_by("session").values_list("pk", flat=True))
    errors: list[Any] = []

    def write(client: Client, document: int) -> None:
        fence = Fence(client.pk, client.client_id, 1, 1, b"1" * 32)
        try:
            errors.append(
                bridge().write(Write(prepare.prepare_blind(document, "ops", [["set", "/late", 1]]), fence)).error
            )
        finally:
            connections.close_all()

    writers = [threading.Thread(target=write, args=pair) for pair in zip(clients, documents, strict=True)]
    with transaction.atomic():
        end(mine)
        for thread in writers:
            thread.start()
    for thread in writers:
        thread.join()
    assert len(errors) == 3 and {type(error) for error in errors} <= {SessionTerminated, Replaced}
    assert not any("late" in state.get(session) for session in ClientSession.objects.all())


def test_a_group_is_told_to_other_processes_by_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = keys_of(make_user("ann", 3))
    orders: list[Any] = []
    monkeypatch.setattr(ending.notify.doorbell(), "ring", lambda heads, order=None: orders.append(order))
    end(mine)
    assert [order["close"] for order in orders if order and "close" in order] == [[key.hex for key in mine]]


def test_sessions_of_one_login_end_with_it_and_each_leaves_its_entry() -> None:
    user = make_user("ann", 4)
    login = Login.objects.first()
    ClientSession.objects.update(login=login)
    mine = keys_of(user)
    told = devices.end_devices([mine[0], mine[1]], "by hand", lambda ended: audit.add_entries("terminate", ended))
    assert list(told) == [mine[:2]]
    assert list_ends() == mine
    assert list(AuditEntry.objects.order_by("session").values_list("session", flat=True)) == mine[:2]


def test_sessions_that_stand_no_longer_for_several_reasons_are_settled_one_reason_after_the_other() -> None:
    gone, changed, fine = (make_user(name, 2) for name in ("ann", "bob", "eve"))
    get_user_model().objects.filter(pk=gone.pk).update(is_active=False)
    get_user_model().objects.filter(pk=changed.pk).update(password="!another")
    # Bob's other session hangs on a login, and is given time to have that proved.
    waiting, turns = {key for user in (gone, changed, fine) for key in keys_of(user)}, 0
    while waiting:
        waiting -= standing.settle_sessions(waiting)
        turns += 1
    assert turns == 2
    reasons = ClientSession.objects.exclude(state=State.ACTIVE).order_by("user__username")
    assert list(reasons.values_list("user__username", "end_reason")) == [
        ("ann", standing.USER_DEACTIVATED),
        ("ann", standing.USER_DEACTIVATED),
        ("bob", standing.CREDENTIALS_CHANGED),
    ]
    soon = clock.read("default") + standing.CHECK_WITHIN
    assert SessionActivity.objects.get(session__user=changed, live=True).expires_at <= soon


def test_groups_that_are_killed_in_between_end_the_rest_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "TOGETHER", 2)
    mine = keys_of(make_user("ann", 5))
    assert next(devices.end_devices(mine, "by hand", note_nothing)) == mine[:2]
    assert list_ends() == mine[:2]
    assert list(devices.end_devices(mine, "by hand", note_nothing)) == [[], mine[2:4], mine[4:]]
    assert list_ends() == mine


def test_a_group_that_fails_leaves_nothing_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = keys_of(make_user("ann", 3))
    monkeypatch.setattr(ending, "record_entries", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(devices.end_devices(mine, "by hand", note_nothing))
    assert SessionActivity.objects.filter(live=True).count() == 3
    assert Login.objects.filter(ended_at=None).count() == 1 and not Connection.objects.exclude(closed_at=None).exists()


# -- deletions by Django -----------------------------------------------------------------------------------------------


@pytest.fixture
def told() -> Any:
    """Collect what Django announces of sessions."""
    heard: list[tuple[str, uuid.UUID]] = []

    def note(name: str) -> Callable[..., None]:
        return lambda instance, **_: heard.append((name, instance.pk))

    receivers = {"pre": (pre_delete, note("pre")), "post": (post_delete, note("post"))}
    for signal, receiver in receivers.values():
        signal.connect(receiver, sender=ClientSession)
    yield heard
    for signal, receiver in receivers.values():
        signal.disconnect(receiver, sender=ClientSession)


def test_a_deletion_by_query_tells_the_project_of_each_session_and_counts_them(told: Any) -> None:
    mine = keys_of(make_user("ann", 3))
    rows = ClientSession.objects.filter(pk__in=mine).select_for_update()
    assert rows.delete()[1]["session_mgmt.ClientSession"] == 3
    assert sorted(told) == sorted((name, key) for key in mine for name in ("pre", "post"))


def test_a_filter_that_changes_while_it_is_deleted_by_deletes_what_it_was_true_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second, third = keys_of(make_user("ann", 3))
    end([first, second])
    monkeypatch.setattr("session_mgmt.models.together._ROWS", 1)

    def change(instance: ClientSession, **_: Any) -> None:
        end([third])
        ClientSession.objects.filter(pk=second).update(label="changed")

    pre_delete.connect(change, sender=ClientSession)
    try:
        ClientSession.objects.filter(state=State.TERMINATED, label="").delete()
    finally:
        pre_delete.disconnect(change, sender=ClientSession)
    left = ClientSession.objects.get()
    assert (left.pk, left.activity.live, StateDocument.objects.get().session_id) == (third, False, third)


def test_a_query_that_django_cannot_delete_is_refused_as_ever() -> None:
    for rows in (ClientSession.objects.all()[:1], ClientSession.objects.values("pk")):
        with pytest.raises(TypeError):
            rows.delete()


def test_a_deletion_of_users_is_undone_as_a_whole() -> None:
    users = [make_user(name, 2) for name in ("ann", "bob")]
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        get_user_model().objects.filter(pk__in=[user.pk for user in users]).delete()
        raise ZeroDivisionError
    assert SessionActivity.objects.count() == StateDocument.objects.count() == 4
    users[0].delete()
    assert keys_of(users[1]) == list(SessionActivity.objects.order_by("pk").values_list("pk", flat=True))
