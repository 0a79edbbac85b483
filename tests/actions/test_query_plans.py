"""Statements of the hot paths use indexes, and no index is there twice."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import connection, models
from django.test.utils import CaptureQueriesContext

from session_mgmt.actions import cleanup, group_commit
from session_mgmt.actions.clients import Fence
from session_mgmt.actions.group_commit import Group, Write
from session_mgmt.actions.outcome import Outcome
from session_mgmt.actions.sessions import lifecycle, recovery
from session_mgmt.actions.state import bodies, prepare
from session_mgmt.actions.state.updates import Terms
from session_mgmt.actions.timeline.ledger import Record
from session_mgmt.actions.topics import reading
from session_mgmt.actions.topics.ledger import Publication
from session_mgmt.models import AuditEntry, Client, ClientSession, Login, SessionActivity, Token, clock
from session_mgmt.models.sql import Statements
from session_mgmt.shortcuts import end_user_sessions, erase_user, publish, state
from tests.actions.conftest import Desk

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def traced() -> Iterator[list[str]]:
    """Collect every statement that this thread's connection executes, with its values."""
    connection.ensure_connection()
    raw: sqlite3.Connection = connection.connection
    found: list[str] = []
    raw.set_trace_callback(found.append)
    try:
        yield found
    finally:
        raw.set_trace_callback(None)


def list_scans(statements: list[str]) -> list[str]:
    """Return the steps of these statements that read a whole table of ours."""
    scans = []
    for sql in statements:
        if sql.split(maxsplit=1)[0] not in {"SELECT", "WITH", "UPDATE", "DELETE", "INSERT"}:
            continue
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {sql}".replace("%", "%%"))
            steps = [row[3] for row in cursor.fetchall()]
        # The outbox is read from its front.
        scans += [f"{step}: {sql}" for step in steps if step.startswith("SCAN session_mgmt_") and "outbox" not in step]
    return scans


@pytest.mark.sqlite
def test_repeated_writes_of_a_group_are_found_by_their_index(desk: Desk) -> None:
    writers = [desk.writer() for _ in range(3)]
    for writer in writers:
        writer.write(("inc", "/n", 1))
        writer.write(("inc", "/n", 1))
    writes = [
        Write(
            prepare.prepare_blind(writer.document, "ops", [["inc", "/n", 1]]),
            Fence(writer.client.pk, writer.client.client_id, 1, seq, b"another"),
        )
        for writer in writers
        for seq in (1, 2, 3)
    ]
    publications = [Write(Publication(f"room:{number}", b"1")) for number in range(3)]
    with traced() as statements:
        group_commit.write_group("default", [*writes, *publications], Group(), wait=True)
    assert len(statements) > 10
    assert list_scans(statements) == []


def make_keyed_writes(desk: Desk, document: int, keys: list[str]) -> list[Write]:
    """Return an update, a publication and a message under each key."""
    return [
        Write(item)
        for key in keys
        for item in (
            prepare.prepare_blind(document, "ops", [["inc", "/n", 1]], Terms(key=key)),
            Publication(f"room:{key}", b"1", key),
            Record(desk.session.pk, "message", b"1", key),
        )
    ]


def commit_group(writes: list[Write]) -> tuple[int, list[Outcome]]:
    """Commit a group; return the number of its statements, and the outcomes."""
    group = Group()
    with CaptureQueriesContext(connection) as queries:
        group_commit.write_group("default", writes, group, wait=True)
    return len(queries), [decision for decision in group.decisions if isinstance(decision, Outcome)]


def test_the_keys_of_a_group_are_looked_up_together(desk: Desk) -> None:
    document = desk.writer().document
    # SQLite takes rows in parts of 64 and of 8.
    few, _ = commit_group(make_keyed_writes(desk, document, [f"few {number}" for number in range(8)]))
    many, first = commit_group(make_keyed_writes(desk, document, [f"many {number}" for number in range(64)]))
    assert many == few
    _, again = commit_group(make_keyed_writes(desk, document, [f"many {number}" for number in range(64)]))
    assert len(first) == 192
    assert [outcome.position for outcome in again] == [outcome.position for outcome in first]
    assert desk.data() == {"n": 72}


@pytest.mark.sqlite
def test_keys_are_found_by_their_index(desk: Desk) -> None:
    writes = make_keyed_writes(desk, desk.writer().document, ["a", "b", "c"])
    commit_group(writes)
    with traced() as statements:
        group_commit.write_group("default", writes, Group(), wait=True)
    assert list_scans(statements) == []


@pytest.mark.sqlite
def test_places_in_several_topics_are_found_by_their_index() -> None:
    for number in range(6):
        publish(f"room:{number % 2}", number)
    with traced() as statements:
        found = reading.read_windows(Statements(connection), [("room:0", 1), ("room:1", 2)])
    assert [window.tag_at_asked is not None for window in found.values()] == [True, True]
    assert list_scans(statements) == []


@pytest.mark.sqlite
def test_places_in_several_documents_are_found_by_their_index(desk: Desk) -> None:
    for name in ("one", "two"):
        for number in range(3):
            state.update(desk.session, {"n": number}, name=name)
    with traced() as statements:
        places = [(desk.session.pk, "one", 1), (desk.session.pk, "two", 2)]
        found = bodies.load_windows(Statements(connection), places)
    assert set(found) == set(places)
    assert list_scans(statements) == []


# Read as a whole, page by page: who of them is due depends on settings or on another table.
WALKED = ("session_mgmt_member", "session_mgmt_receipt", "session_mgmt_sessionactivity", "session_mgmt_statedocument")


@pytest.mark.sqlite
def test_the_cleanup_finds_what_is_due_by_an_index(desk: Desk) -> None:
    writer = desk.writer()
    writer.write(("inc", "/n", 1))
    publish("room:1", 1)
    for _ in range(3):
        lifecycle.create_session()
    SessionActivity.objects.exclude(pk=desk.session.pk).update(expires_at=now_and(hours=-1))
    with traced() as statements:
        cleanup.run_cleanup()
        cleanup.run_cleanup(now=now_and(days=31))
    assert len(statements) > 100
    walks = tuple(f"SCAN {table}" for table in WALKED)
    # The first row that is young enough is looked for from the front.
    scans = [scan for scan in list_scans(statements) if not scan.startswith(walks) and not scan.endswith("LIMIT 1")]
    assert scans == []


def now_and(**by: float) -> datetime:
    return clock.read("default") + timedelta(**by)


def test_a_sweep_costs_what_goes_and_not_what_stays() -> None:
    def count_statements(number: int) -> int:
        for each in range(number):
            publish(f"kept:{number}:{each}", 1)
            lifecycle.create_session()
        with CaptureQueriesContext(connection) as queries:
            assert not any(cleanup.run_cleanup().as_dict().values())
        return len(queries)

    assert count_statements(50) == count_statements(1)


@pytest.fixture
def analyzed(transactional_db: None) -> Iterator[Any]:
    """A user with a login and sessions, among many rows that have neither user nor login, after ``ANALYZE``."""
    user = get_user_model().objects.create_user("ann")
    login = Login.objects.create(digest=b"d" * 32, user=user, created_at=now_and(), seen_at=now_and())
    for _ in range(3):
        session = lifecycle.create_session(user=user).session
    ClientSession.objects.filter(pk=session.pk).update(login=login)
    state.update(lifecycle.create_session().session, {"n": 1})
    many = [ClientSession(created_at=session.created_at) for _ in range(300)]
    ClientSession.objects.bulk_create(many)
    Client.objects.bulk_create([Client(session=row, created_at=session.created_at) for row in many])
    activity = SessionActivity.objects.get(pk=session.pk)
    times = {name: getattr(activity, name) for name in ("last_active_at", "absolute_deadline", "expires_at")}
    SessionActivity.objects.bulk_create([SessionActivity(session=row, idle_seconds=60, **times) for row in many])
    AuditEntry.objects.bulk_create([AuditEntry(action="cleanup", at=session.created_at) for _ in many])
    token = {"kind": "access", "created_at": session.created_at, "expires_at": times["expires_at"]}
    Token.objects.bulk_create([Token(session=row, digest=row.pk.bytes, **token) for row in many])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    yield user
    with connection.cursor() as cursor:
        # For the tests that come later, in the same file.
        cursor.execute("DELETE FROM sqlite_stat1")
        cursor.execute("ANALYZE sqlite_schema")


@pytest.mark.sqlite
def test_the_few_rows_that_have_a_value_are_found_among_many_that_have_none(analyzed: Any) -> None:
    ended = lifecycle.create_session().session
    logins = [0, *Login.objects.values_list("pk", flat=True)]
    with traced() as statements:
        created = lifecycle.create_session(user=analyzed)
        recovery.find_successor("default", ended)
        assert AuditEntry.objects.filter(session=ended.pk).count() == 0
        assert Token.objects.filter(parent=1).count() == 0
        assert ClientSession.objects.filter(login__in=logins).count() == 1
        end_user_sessions(analyzed, keep=created.session)
        cleanup.run_cleanup()
        assert erase_user(analyzed).sessions == 4
    assert len(statements) > 50
    # What else is read as a whole is small, or is asked for by facts that are no columns.
    sparse = re.compile("SCAN session_mgmt_(clientsession|client|token|login)")
    assert [scan for scan in list_scans(statements) if sparse.match(scan)] == []


def test_a_column_that_may_be_empty_is_indexed_where_it_is_not() -> None:
    """SQLite else reads the whole table for a value, once ``ANALYZE`` has told it that nearly all entries are equal."""
    whole = []
    for model in apps.get_app_config("session_mgmt").get_models():
        whole += [field for field in model._meta.local_fields if field.null and field.db_index and not field.unique]
        plain = [index for index in model._meta.indexes if index.condition is None]
        whole += [index for index in plain if model._meta.get_field(index.fields[0]).null]
    assert whole == []


def test_no_foreign_key_has_an_index_that_a_wider_one_begins_with() -> None:
    doubled = [
        f"{model.__name__}.{field.name}"
        for model in apps.get_app_config("session_mgmt").get_models()
        for field in model._meta.local_fields
        if isinstance(field, models.ForeignKey) and field.db_index and field.name in list_leading_fields(model)
    ]
    assert doubled == []


def list_leading_fields(model: Any) -> set[str]:
    """Return the first fields of indexes that hold every row."""
    whole = [each for each in [*model._meta.constraints, *model._meta.indexes] if hasattr(each, "fields")]
    return {each.fields[0] for each in whole if each.condition is None and each.fields}


def test_the_tables_hold_the_indexes_that_the_models_declare() -> None:
    """Also those that a migration of another index of the same column could have dropped."""
    for model in apps.get_app_config("session_mgmt").get_models():
        with connection.cursor() as cursor:
            found = connection.introspection.get_constraints(cursor, model._meta.db_table)
        declared = {each.name for each in [*model._meta.indexes, *model._meta.constraints]}
        assert declared <= set(found), model.__name__
        whole = {name: facts for name, facts in found.items() if facts["index"] and name not in declared}
        single = {tuple(facts["columns"]) for facts in whole.values() if not facts["unique"]}
        for field in model._meta.local_fields:
            if isinstance(field, models.ForeignKey) and not field.db_index:
                assert (field.column,) not in single, field
