"""Connections that end together are closed together: each once, told once, and none because of its neighbours."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import orjson
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from session_mgmt.actions.access import SERVER
from session_mgmt.actions.sessions import attachments, closing, connections, lifecycle
from session_mgmt.actions.sessions.closing import Ended, Recovered
from session_mgmt.actions.sessions.connections import Beat, Confirmed
from session_mgmt.models import Client, ClientSession, Connection, Receipt, SessionActivity, SessionEvent, clock
from session_mgmt.protocol.frames import Connect
from tests.attaching import attach_client
from tests.bridge.threads import held, together
from tests.ends import end

pytestmark = pytest.mark.django_db(transaction=True)


def later(**by: float) -> datetime:
    return clock.read("default") + timedelta(**by)


def attach(**fields: Any) -> attachments.Attachment:
    """Connect a client of a session of its own."""
    return come_back(lifecycle.create_session(), **fields)


def come_back(created: lifecycle.Created, **fields: Any) -> attachments.Attachment:
    given = {"client_id": None, "acked": 0, "logs": {}, "agent": "test", **fields}
    return attach_client(Connect(token=created.token.secret, **given), server="test")


def losses() -> list[tuple[Any, int, str]]:
    """List what the sessions were told: the session, the code and who closed."""
    events = SessionEvent.objects.filter(type="connection_lost").order_by("pk")
    told = [(event.session_id, orjson.loads(bytes(event.data))) for event in events]
    return [(session, data["code"], data["by"]) for session, data in told]


def row(attachment: attachments.Attachment) -> Connection:
    return Connection.objects.get(pk=attachment.connection)


def test_a_group_is_closed_and_whoever_did_not_say_good_bye_is_told_as_lost() -> None:
    left, lost, sent_away = attach(), attach(), attach()
    closing.close_connections([end(left, 1000), end(lost, 1006), end(sent_away, 4002, "server")])
    assert [(r.close_code, r.closed_by, r.closed_at is None) for r in map(row, (left, lost, sent_away))] == [
        (1000, "client", False),
        (1006, "client", False),
        (4002, "server", False),
    ]
    assert losses() == [(lost.session.pk, 1006, "client"), (sent_away.session.pk, 4002, "server")]


def test_a_group_takes_as_many_statements_for_sixty_four_as_for_eight() -> None:
    counts = []
    for size in (8, 64):
        group = [end(attach())._replace(wrote_at=later(), confirmed=Confirmed(1, 1)) for _ in range(size)]
        kept = [Recovered(member.connection, "full", "{}") for member in group]
        with CaptureQueriesContext(connection) as asked:
            closing.close_connections(group, kept)
        counts.append(len(asked))
    assert counts[0] == counts[1]
    assert Connection.objects.filter(closed_at__isnull=True).count() == 0
    assert len(losses()) == 72


def test_the_figures_activity_and_confirmations_that_no_flush_has_told_are_written() -> None:
    one = attach()
    for seq in (1, 2, 3):
        Receipt.objects.create(client_id=one.client, seq=seq, digest=b"", outcome=b"{}", at=later())
    wrote_at = later(seconds=1)
    figures = Beat(one.connection, 20.5, 30.5, 10, 1, 100, 200, 1000, 2000)
    closing.close_connections([end(one, 1000, figures=figures, wrote_at=wrote_at, confirmed=Confirmed(1, 2))])
    written = row(one)
    assert (written.rtt_ms, written.beats_missed, written.messages_in, written.bytes_out) == (20.5, 1, 100, 2000)
    assert SessionActivity.objects.get(pk=one.session.pk).last_active_at == wrote_at
    assert list(Receipt.objects.values_list("seq", flat=True)) == [3]
    assert Client.objects.get(pk=one.client).confirmed_seq == 2


def test_a_row_that_was_closed_keeps_its_reason_and_gets_its_figures() -> None:
    one = attach()
    lifecycle.terminate_session(SERVER, one.session.pk)
    closed_at = row(one).closed_at
    closing.close_connections([end(one, 1006, figures=Beat(one.connection, 1.0, 1.0, 1, 0, 7, 8, 9, 10))])
    written = row(one)
    assert (written.close_code, written.closed_by, written.closed_at) == (4503, "server", closed_at)
    assert (written.messages_in, written.bytes_out) == (7, 10)
    assert losses() == []


def test_the_end_of_a_session_leaves_rows_that_were_closed_before_as_they_are() -> None:
    created = lifecycle.create_session()
    before, open_ = come_back(created), come_back(created)
    closing.close_connections([end(before, 1001)])
    closed_at = row(before).closed_at
    lifecycle.terminate_session(SERVER, created.session.pk, reason="r" * 70)
    assert (row(before).close_code, row(before).closed_by, row(before).closed_at) == (1001, "client", closed_at)
    assert (row(open_).close_code, row(open_).closed_by) == (4503, "server")
    # SQLite would store a longer text, and PostgreSQL would refuse it.
    assert ClientSession.objects.get(pk=created.session.pk).end_reason == "r" * 60


def test_who_was_taken_over_gets_the_reason_that_its_process_knows_and_is_told_once() -> None:
    created = lifecycle.create_session()
    first = come_back(created)
    come_back(created, client_id=first.client_id)
    assert len(losses()) == 1
    closing.close_connections([end(first, 4003, "server")])
    assert (row(first).close_code, row(first).closed_by) == (4003, "server")
    assert len(losses()) == 1


def test_a_group_that_is_written_twice_is_told_once() -> None:
    group = [end(attach()) for _ in range(3)]
    closing.close_connections(group)
    closing.close_connections(group)
    assert len(losses()) == 3


def test_a_session_that_was_deleted_leaves_its_neighbours_alone() -> None:
    gone, there = attach(), attach()
    ended = [end(gone, wrote_at=later(), confirmed=Confirmed(1, 1)), end(there)]
    ClientSession.objects.filter(pk=gone.session.pk).delete()
    closing.close_connections(ended, [Recovered(gone.connection, "full", "{}")])
    assert losses() == [(there.session.pk, 1006, "client")]


def test_receipts_are_kept_beside_their_connections() -> None:
    one, two = attach(), attach()
    kept = [Recovered(one.connection, "full", '{"a":1}'), Recovered(two.connection, "state_only", '{"b":2}')]
    closing.close_connections([end(one, 1000)], kept)
    assert (row(one).verdict, row(one).receipt) == ("full", '{"a":1}')
    assert (row(two).verdict, row(two).receipt, row(two).closed_at) == ("state_only", '{"b":2}', None)


def test_a_sweep_closes_nobody_whose_lease_was_renewed_since_it_looked() -> None:
    dead, alive = attach(), attach()
    group = [end(one, 1006, "lease", figures=None, is_swept=True) for one in (dead, alive)]
    Connection.objects.filter(pk=dead.connection).update(lease_expires_at=later(seconds=-1))
    closing.close_connections(group)
    assert (row(dead).closed_by, row(alive).closed_at) == ("lease", None)
    assert losses() == [(dead.session.pk, 1006, "lease")]


def test_a_process_that_died_with_its_group_is_covered_by_the_leases() -> None:
    group = [attach() for _ in range(3)]
    assert closing.close_dead(limit=10) == 0
    assert closing.close_dead(limit=2, now=later(seconds=91)) == 2
    assert closing.close_dead(limit=2, now=later(seconds=91)) == 1
    assert sorted(losses()) == sorted((one.session.pk, 1006, "lease") for one in group)


def test_a_sweep_and_two_groups_at_once_tell_each_end_once() -> None:
    made = [attach() for _ in range(40)]
    Connection.objects.update(lease_expires_at=later(seconds=-1))
    ended = [end(one) for one in made]
    together(
        lambda: closing.close_connections(ended),
        lambda: closing.close_connections(ended[::-1]),
        lambda: closing.close_dead(limit=100),
        lambda: connections.renew_leases([one.figures for one in ended[::-1] if one.figures]),
    )
    closing.close_connections(ended)
    assert sorted(session for session, _, _ in losses()) == sorted(one.session.pk for one in made)


@pytest.mark.postgres
def test_a_session_that_somebody_has_locked_holds_up_nobody_else() -> None:
    locked, free = attach(), attach()
    ended = [end(locked), end(free)]
    lock = SessionActivity.objects.filter(pk=locked.session.pk).select_for_update(no_key=True)
    with held(lambda: list(lock)):
        closed = closing.close_connections(ended, wait=False)
        assert closed.held == [ended[0]]
        assert row(free).closed_at is not None and row(locked).closed_at is None
    assert closing.close_connections(closed.held).held == []
    assert [session for session, _, _ in losses()] == [free.session.pk, locked.session.pk]


def test_more_confirmations_than_sqlite_nests_conditions_are_written_at_once() -> None:
    clients = [attach().client for _ in range(3)]
    told = dict.fromkeys(clients[:2], Confirmed(1, 5))
    for client in clients:
        Receipt.objects.create(client_id=client, seq=5, digest=b"", outcome=b"{}", at=later())
    connections.forget_receipts({10_000 + number: Confirmed(1, 1) for number in range(1200)} | told)
    assert list(Receipt.objects.values_list("client_id", flat=True)) == clients[2:]
    assert [Client.objects.get(pk=client).confirmed_seq for client in clients] == [5, 5, 0]
    connections.forget_receipts({clients[0]: Confirmed(1, 4)})
    assert Client.objects.get(pk=clients[0]).confirmed_seq == 5


def test_what_an_older_connection_of_a_client_confirms_is_not_believed() -> None:
    """Storage that was copied to another place holds fewer answers than that of the place before."""
    created = lifecycle.create_session()
    first = come_back(created)
    Receipt.objects.create(client_id=first.client, seq=1, digest=b"", outcome=b"{}", at=later())
    again = come_back(created, client_id=first.client_id)
    connections.forget_receipts({first.client: Confirmed(first.generation, 1)})
    assert (Receipt.objects.count(), Client.objects.get(pk=first.client).confirmed_seq) == (1, 0)
    connections.forget_receipts({first.client: Confirmed(again.generation, 1)})
    assert (Receipt.objects.count(), Client.objects.get(pk=first.client).confirmed_seq) == (0, 1)


def test_the_events_of_a_group_are_for_the_caller_to_send() -> None:
    ended: list[Ended] = [end(attach(), 1000), end(attach())]
    (event,) = closing.close_connections(ended).events
    assert (event.session_id, event.type, event.data) == (
        ended[1].session,
        "connection_lost",
        {"code": 1006, "by": "client"},
    )
