"""The sweep and the retention of logs: what is old goes, what is needed stays, and readers are told the truth."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import orjson
import pytest
from django.db import IntegrityError
from django.db import connections as database_connections

from session_mgmt.actions import cleanup
from session_mgmt.actions.access import SERVER
from session_mgmt.actions.sessions import attachments, closing, connections, deletion, lifecycle
from session_mgmt.actions.sessions.lifecycle import Created
from session_mgmt.actions.state import bodies, lookup
from session_mgmt.actions.topics import reading
from session_mgmt.models import (
    ClientSession,
    Connection,
    Outbox,
    Publication,
    Receipt,
    SessionActivity,
    SessionEvent,
    StateDocument,
    StateRevision,
    StateSnapshot,
    Stream,
    Token,
    clock,
)
from session_mgmt.models.sql import Statements
from session_mgmt.protocol.codes import Close
from session_mgmt.protocol.frames import Connect
from session_mgmt.protocol.position import Position
from session_mgmt.protocol.recovery import Mode, Reason, decide
from session_mgmt.registry import registry, topic
from session_mgmt.writes import verbs
from tests.attaching import attach_client
from tests.bridge.threads import together

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def rooms() -> Iterator[None]:
    before = list(registry.topics)
    topic("room:{number}", entries=3)(lambda session, number: True)
    topic("day:{number}", retain=timedelta(days=1))(lambda session, number: True)
    yield
    registry.topics[:] = before


def later(**by: float) -> Any:
    return clock.read("default") + timedelta(**by)


def overdue(count: int) -> list[Created]:
    made = [lifecycle.create_session() for _ in range(count)]
    SessionActivity.objects.update(expires_at=later(hours=-1))
    return made


def attach(created: Created) -> attachments.Attachment:
    frame = Connect(token=created.token.secret, client_id=None, acked=0, logs={}, agent="test")
    return attach_client(frame, server="test")


def verdict(name: str, place: Position) -> Any:
    asked = (name, place.offset)
    return decide(place, reading.read_windows(Statements(database_connections["default"]), [asked])[asked])


def test_the_sweep_works_in_chunks_until_nothing_is_left(settings: Any) -> None:
    settings.SESSION_MGMT = {"cleanup_chunk": 3}
    overdue(7)
    steps: list[tuple[str, int]] = []
    report = cleanup.run_cleanup(lambda step, rows: steps.append((step, rows)))
    assert report.expired == 7
    assert [step for step in steps if step[0] == "expired"] == [("expired", 3), ("expired", 3), ("expired", 1)]
    assert cleanup.run_cleanup().as_dict() == cleanup.CleanupReport().as_dict()


def test_two_sweeps_at_once_end_everything_once() -> None:
    overdue(30)
    reports = together(cleanup.run_cleanup, cleanup.run_cleanup)
    assert sum(report.expired for report in reports) == 30
    assert SessionEvent.objects.filter(type="session_expired").count() == 30


def test_connections_of_a_dead_process_are_closed_and_told_once() -> None:
    created = lifecycle.create_session()
    attach(created)
    assert cleanup.run_cleanup().connections == 0
    assert cleanup.run_cleanup(now=later(seconds=91)).connections == 1
    row = Connection.objects.get()
    assert (row.close_code, row.closed_by) == (1006, "lease")
    assert SessionEvent.objects.filter(type="connection_lost").count() == 1


def test_a_flush_that_finds_its_connection_swept_is_told() -> None:
    attachment = attach(lifecycle.create_session())
    closing.close_dead(limit=10, now=later(seconds=91))
    beat = connections.Beat(attachment.connection, 1.0, 1.0, 1, 0, 1, 1, 1, 1)
    assert connections.renew_leases([beat]) == {attachment.connection: Close.INSUFFICIENT_STATE}


def test_ended_sessions_are_kept_for_the_retention_and_then_purged_with_everything() -> None:
    created = lifecycle.create_session()
    verbs.update(created.session.pk, "main", "data", {"a": 1})
    attach(created)
    kept = lifecycle.create_session().session.pk
    lifecycle.terminate_session(SERVER, created.session.pk)
    assert cleanup.run_cleanup(now=later(days=29, hours=23)).purged == 0
    ClientSession.objects.filter(pk=kept).exclude(state="active").delete()
    assert cleanup.run_cleanup(now=later(days=30, seconds=1)).purged >= 1
    assert not ClientSession.objects.filter(pk=created.session.pk).exists()
    assert not StateRevision.objects.exists()


def test_a_purge_goes_on_past_a_protected_session_among_those_that_ended_at_one_moment(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SESSION_MGMT = {"cleanup_chunk": 1}
    keys = sorted(lifecycle.create_session().session.pk for _ in range(4))
    for key in keys:
        lifecycle.terminate_session(SERVER, key)
    ClientSession.objects.update(ended_at=later())
    delete, tried = deletion.delete_sessions, list[Any]()

    def refuse_protected(using: str, sessions: list[Any]) -> None:
        tried.extend(sessions)
        # One that is found again would be so for ever.
        assert len(tried) <= len(keys)
        if keys[1] in sessions:
            raise IntegrityError
        delete(using, sessions)

    monkeypatch.setattr(deletion, "delete_sessions", refuse_protected)
    assert cleanup.run_cleanup(now=later(days=31)).purged == 3
    assert [session.pk for session in ClientSession.objects.all()] == [keys[1]]
    assert tried == keys


def test_expired_tokens_and_confirmed_receipts_go() -> None:
    created = lifecycle.create_session()
    client = attach(created).client
    now = later()
    for seq in (1, 2, 3):
        Receipt.objects.create(client_id=client, seq=seq, digest=b"", outcome=b"{}", at=now)
    type(Receipt.objects.first().client).objects.update(confirmed_seq=2)
    Token.objects.update(expires_at=now)
    report = cleanup.run_cleanup()
    assert (report.tokens, report.receipts) == (1, 2)
    assert Receipt.objects.get().seq == 3


def test_refused_wishes_go_after_the_retention_and_waiting_ones_stay() -> None:
    for refused in ("", "too_deep"):
        Outbox.objects.create(kind="publish", target="x", payload=b"1", refused=refused, created_at=later(days=-31))
    assert cleanup.run_cleanup().outbox == 1
    assert Outbox.objects.get().refused == ""


def test_a_topic_keeps_its_number_of_entries_and_says_trimmed(rooms: None) -> None:
    places = [verbs.publish("room:1", number) for number in range(6)]
    assert cleanup.run_cleanup().publications == 3
    stream = Stream.objects.get()
    assert (stream.head, stream.oldest, stream.oldest_tag) == (6, 4, places[2].tag)
    assert list(Publication.objects.order_by("offset").values_list("offset", flat=True)) == [4, 5, 6]
    assert (verdict("room:1", places[1]).mode, verdict("room:1", places[1]).reason) == (Mode.LOST, Reason.TRIMMED)
    assert (verdict("room:1", places[2]).mode, verdict("room:1", places[2]).first) == (Mode.ENTRIES, 4)
    assert verdict("room:1", Position(stream.epoch, 3, "0" * 16)).reason is Reason.HISTORY_LOST


def test_a_topic_whose_entries_are_all_too_old_keeps_its_head(rooms: None) -> None:
    last = [verbs.publish("day:1", number) for number in range(3)][-1]
    assert cleanup.run_cleanup(now=later(hours=23)).publications == 0
    assert cleanup.run_cleanup(now=later(hours=25)).publications == 3
    stream = Stream.objects.get()
    assert (stream.head, stream.oldest, stream.oldest_tag) == (3, 4, last.tag)
    assert verdict("day:1", last).mode is Mode.UP_TO_DATE
    assert verbs.publish("day:1", "next").offset == 4
    assert verdict("day:1", last).mode is Mode.ENTRIES


def test_a_long_topic_is_trimmed_in_chunks(rooms: None, settings: Any) -> None:
    settings.SESSION_MGMT = {"cleanup_chunk": 2}
    for number in range(10):
        verbs.publish("room:1", number)
    steps: list[int] = []
    cleanup.run_cleanup(lambda step, rows: steps.append(rows))
    assert steps == [2, 2, 2, 1]


def test_topics_are_trimmed_by_two_sweeps_at_once(rooms: None) -> None:
    for room in range(4):
        for number in range(6):
            verbs.publish(f"room:{room}", number)
    reports = together(cleanup.run_cleanup, cleanup.run_cleanup)
    assert sum(report.publications for report in reports) == 12
    assert Publication.objects.count() == 12


def test_a_document_keeps_its_newest_revisions_and_its_value(settings: Any) -> None:
    settings.SESSION_MGMT = {"max_revisions": 8}
    session = lifecycle.create_session().session.pk
    for number in range(12):
        verbs.update(session, "main", "ops", [["set", f"/k{number}", number]])
    assert cleanup.run_cleanup().revisions == 6
    row = StateDocument.objects.get()
    assert (row.version, row.oldest_revision, row.snapshot_version) == (12, 7, 12)
    assert bodies.load_body("default", row.pk).data == {f"k{number}": number for number in range(12)}
    assert cleanup.run_cleanup().revisions == 0


def test_a_client_exactly_before_the_oldest_revision_is_still_proven(settings: Any) -> None:
    settings.SESSION_MGMT = {"max_revisions": 8}
    session = lifecycle.create_session().session.pk
    places = [verbs.update(session, "main", "ops", [["inc", "/n", 1]]) for _ in range(12)]
    cleanup.run_cleanup()
    assert lookup.sync_document(session, "main", places[5].as_json())["mode"] == "entries"
    told = lookup.sync_document(session, "main", places[4].as_json())
    assert (told["mode"], told["reason"], orjson.dumps(told["data"])) == ("snapshot", "trimmed", b'{"n":12}')


def test_old_snapshots_go_and_named_ones_stay(settings: Any) -> None:
    settings.SESSION_MGMT = {"max_revisions": 4}
    session = lifecycle.create_session().session.pk
    for number in range(9):
        verbs.update(session, "main", "data", {"n": number})
        if number == 0:
            lookup.compress_document(StateDocument.objects.get().pk)
            StateSnapshot.objects.update(label="first")
    cleanup.run_cleanup()
    versions = sorted(StateSnapshot.objects.values_list("version", flat=True))
    assert (versions[0], versions[-1]) == (1, 9)
    assert len(versions) <= 4
    assert bodies.load_body("default", StateDocument.objects.get().pk).data == {"n": 8}
