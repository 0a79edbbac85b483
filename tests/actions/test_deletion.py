"""A deletion wins over whatever is being written for the sessions that go, on every way and with no error."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection, connections, transaction
from django.db.models.deletion import Collector

from session_mgmt.actions import audit, cleanup
from session_mgmt.actions.access import SERVER
from session_mgmt.actions.clients import Fence
from session_mgmt.actions.group_commit import Write
from session_mgmt.actions.sessions import attachments, deletion, lifecycle
from session_mgmt.actions.state import prepare
from session_mgmt.bridge import bridge
from session_mgmt.exceptions import InvalidField, SessionMgmtError
from session_mgmt.models import AuditEntry, Client, ClientSession, SessionActivity, StateDocument
from session_mgmt.protocol.frames import Connect
from session_mgmt.shortcuts import send, state
from session_mgmt.writes import verbs
from tests.attaching import attach_client
from tests.bridge.threads import together

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = 20


@pytest.fixture
def user() -> Any:
    return get_user_model().objects.create_user("ada")


def connect(created: lifecycle.Created) -> attachments.Attachment:
    logs = {"state:main": None, "topic:room:1": None, "session": None}
    frame = Connect(token=created.token.secret, client_id=None, acked=0, logs=logs, agent="test")
    return attach_client(frame, frozenset({"room:1"}), server="test")


def write_everything(created: lifecycle.Created) -> None:
    """Write a row of every kind that hangs on a session."""
    connect(created)
    state.update(created.session, {"a": 1})
    state.update(created.session, {"b": 1}, name="other")
    state.compress(created.session)
    send(created.session, "hello")


def run_elsewhere(work: Callable[[], Any]) -> threading.Thread:
    """Run on another thread, with a connection of its own."""

    def run() -> None:
        try:
            work()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Let something commit after Django has collected the rows to delete, and before it deletes the first."""
    collect = Collector.collect

    def arrange(work: Callable[[], Any]) -> None:
        begun: list[bool] = []

        def collect_first(self: Collector, *given: Any, **options: Any) -> None:
            # Collecting calls itself for all that hangs on a row.
            is_outermost = not begun
            begun.append(True)
            collect(self, *given, **options)
            if is_outermost:
                run_elsewhere(work).join()

        monkeypatch.setattr(Collector, "collect", collect_first)

    return arrange


def test_what_is_written_after_a_deletion_has_begun_does_not_fail_it(user: Any, between: Any) -> None:
    created = lifecycle.create_session(user=user)
    between(lambda: write_everything(created))
    user.delete()
    assert not ClientSession.objects.exists()
    assert not StateDocument.objects.exists()


def test_a_session_that_is_made_after_a_deletion_has_begun_goes_with_its_user(user: Any, between: Any) -> None:
    between(lambda: write_everything(lifecycle.create_session(user=user)))
    user.delete()
    assert not ClientSession.objects.exists()


def test_an_audit_entry_of_a_user_who_is_deleted_stays_without_an_actor(user: Any, between: Any) -> None:
    between(lambda: audit.add_entry("look", user=user))
    user.delete()
    assert AuditEntry.objects.get().actor is None


def test_a_deletion_of_many_by_query_wins_too(user: Any, between: Any) -> None:
    created = lifecycle.create_session(user=user)
    between(lambda: write_everything(created))
    ClientSession.objects.filter(user=user).delete()
    assert not SessionActivity.objects.exists()


def test_the_purge_of_a_session_wins_over_a_write(user: Any) -> None:
    created = lifecycle.create_session(user=user)
    write_everything(created)
    lifecycle.terminate_session(SERVER, created.session.pk)
    ClientSession.objects.update(ended_at=created.session.created_at.replace(year=2020))
    assert cleanup.run_cleanup().purged == 1
    assert not ClientSession.objects.exists()
    assert not Client.objects.exists()


def test_a_successor_outlives_the_session_that_it_came_from() -> None:
    first, second = (lifecycle.create_session().session for _ in range(2))
    ClientSession.objects.filter(pk=second.pk).update(recovered_from=first)
    deletion.delete_sessions("default", [first.pk])
    assert ClientSession.objects.values_list("pk", "recovered_from").get() == (second.pk, None)


def test_writes_that_come_while_a_deletion_runs_are_refused_by_name(user: Any) -> None:
    created = lifecycle.create_session(user=user)
    write_everything(created)
    client = Client.objects.get()
    fence = Fence(client.pk, client.client_id, client.generation, 1, b"1" * 32)
    document = StateDocument.objects.get(name="main").pk
    same_user = get_user_model().objects.get()
    refusals: list[Any] = []

    def note(write: Callable[[], Any]) -> None:
        try:
            refusals.append(write())
        except SessionMgmtError as error:
            refusals.append(error)

    late = [
        lambda: state.update(created.session, {"late": True}),
        lambda: state.update(created.session, {"late": True}, name="third"),
        lambda: send(created.session, "late"),
        lambda: connect(created),
        lambda: bridge().write(Write(prepare.prepare_blind(document, "ops", [["set", "/x", 1]]), fence)).error,
        lambda: lifecycle.create_session(user=same_user),
    ]
    with transaction.atomic():
        user.delete()
        threads = [run_elsewhere(lambda write=write: note(write)) for write in late]  # type: ignore[misc]
    for thread in threads:
        thread.join()
    assert len(refusals) == len(late)
    assert all(isinstance(refusal, SessionMgmtError) for refusal in refusals), refusals
    assert not ClientSession.objects.exists()


def test_a_user_is_deleted_under_a_tab_that_writes_without_a_pause() -> None:
    """Many rounds: whichever of the two is first, nothing fails and nothing stays."""
    for number in range(ROUNDS):
        user = get_user_model().objects.create_user(f"user-{number}")
        created = lifecycle.create_session(user=user)
        connect(created)
        stop = threading.Event()

        def write(created: lifecycle.Created = created, stop: threading.Event = stop) -> None:
            count = 0
            while not stop.is_set():
                try:
                    verbs.update(created.session.pk, f"doc-{count % 5}", "merge", {"n": count})
                    send(created.session, count)
                except SessionMgmtError:
                    return
                count += 1

        def delete(user: Any = user, stop: threading.Event = stop) -> None:
            try:
                user.delete()
            finally:
                stop.set()

        together(write, delete)
    assert not ClientSession.objects.exists()


def test_a_session_for_a_user_who_is_gone_is_refused_with_a_code(user: Any) -> None:
    gone = get_user_model().objects.get()
    user.delete()
    with pytest.raises(InvalidField, match="user"):
        lifecycle.create_session(user=gone)
    connection.check_constraints()
