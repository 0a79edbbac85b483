"""Functions of the project that meet a database which is away give no answer, and lose nothing by it."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import Any, NoReturn
from uuid import UUID

import psycopg
import pytest
from django.db import DatabaseError, Error, OperationalError, connection, transaction
from django.db.transaction import TransactionManagementError

from session_mgmt.actions import access
from session_mgmt.actions.topics import subscriptions
from session_mgmt.exceptions import ReauthRequired, Unavailable
from session_mgmt.models import ClientSession
from session_mgmt.registry import Presence, topic
from session_mgmt.user_code import call_sync
from tests.away import fail_in_postgres, fail_in_sqlite, raise_as_django, raise_away

SESSION = ClientSession(pk=UUID(int=1))
PASSES = {
    "the server stops": fail_in_postgres("57P01"),
    "the server has crashed": fail_in_postgres("57P02"),
    "the server starts": fail_in_postgres("57P03"),
    "the connection is cut": fail_in_postgres(""),
    "the connection is closed": psycopg.InterfaceError("connection already closed"),
    "the connection is broken": fail_in_postgres("08006"),
    "PgBouncer has no server": fail_in_postgres("08P01"),
    "too many connections": fail_in_postgres("53300"),
    "PostgreSQL's disk is full": fail_in_postgres("53100"),
    "PostgreSQL's disk": fail_in_postgres("58030"),
    "a lock that is not had in time": fail_in_postgres("55P03"),
    "a deadlock": fail_in_postgres("40P01"),
    "a transaction that is not serializable": fail_in_postgres("40001"),
    "a server that only reads": fail_in_postgres("25006"),
    "a snapshot that is too old": fail_in_postgres("72000"),
    "SQLite is locked": fail_in_sqlite(sqlite3.SQLITE_BUSY),
    "SQLite is locked after a crash": fail_in_sqlite(sqlite3.SQLITE_BUSY_RECOVERY),
    "a table of SQLite is locked": fail_in_sqlite(sqlite3.SQLITE_LOCKED),
    "SQLite's disk": fail_in_sqlite(sqlite3.SQLITE_IOERR_WRITE),
    "SQLite's disk is full": fail_in_sqlite(sqlite3.SQLITE_FULL),
    "SQLite's file cannot be opened": fail_in_sqlite(sqlite3.SQLITE_CANTOPEN),
    "SQLite's locks are gone": fail_in_sqlite(sqlite3.SQLITE_PROTOCOL),
    "SQLite's schema moves": fail_in_sqlite(sqlite3.SQLITE_SCHEMA),
    "half a file": fail_in_sqlite(sqlite3.SQLITE_CORRUPT, sqlite3.DatabaseError),
    "another file": fail_in_sqlite(sqlite3.SQLITE_NOTADB, sqlite3.DatabaseError),
    # The project may ask a database of which the app knows nothing.
    "a server of another kind": type("OperationalError", (Exception,), {})(2006, "server has gone away"),
}
STAYS = {
    "a slow statement": fail_in_postgres("57014"),
    "a table that PostgreSQL does not have": fail_in_postgres("42P01"),
    "a value that is there already": fail_in_postgres("23505"),
    "a transaction that has failed before": fail_in_postgres("25P02"),
    "a statement that SQLite does not understand": fail_in_sqlite(sqlite3.SQLITE_ERROR),
    "a constraint of SQLite": fail_in_sqlite(sqlite3.SQLITE_CONSTRAINT, sqlite3.IntegrityError),
}


class OwnError(Exception):
    """What a project raises in place of others' errors."""


def raise_from(cause: Exception) -> NoReturn:
    try:
        raise_as_django(cause)
    except Error as error:
        raise OwnError from error


def raise_from_none(cause: Exception) -> NoReturn:
    try:
        raise_as_django(cause)
    except Exception:
        raise ValueError("no such order") from None


def raise_from_driver(cause: Exception) -> NoReturn:
    raise cause


def raise_in_transaction(cause: Exception) -> NoReturn:
    try:
        raise_as_django(cause)
    except Exception as error:
        raise TransactionManagementError("end of the 'atomic' block") from error


WAYS = [raise_as_django, raise_from, raise_from_none, raise_from_driver, raise_in_transaction]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("cause", PASSES.values(), ids=PASSES)
def test_a_database_that_is_away_or_busy_is_no_answer(cause: Exception, way: Any) -> None:
    with pytest.raises(Unavailable) as raised:
        call_sync(way, cause)
    assert raised.value.retry_after == 1.0


@pytest.mark.parametrize("cause", STAYS.values(), ids=STAYS)
def test_a_statement_that_would_fail_again_is_the_functions_own_fault(cause: Exception) -> None:
    with pytest.raises(DatabaseError):
        call_sync(raise_as_django, cause)


def test_no_memory_is_no_answer() -> None:
    def fail() -> None:
        raise MemoryError

    with pytest.raises(Unavailable):
        call_sync(fail)


def test_what_the_function_answers_itself_while_a_database_is_away_is_its_answer() -> None:
    def refuse() -> None:
        try:
            raise_away()
        except OperationalError:
            raise ReauthRequired(max_age=60) from None

    with pytest.raises(ReauthRequired):
        call_sync(refuse)


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_was_lost_in_a_transaction_is_no_answer() -> None:
    def lose() -> None:
        with transaction.atomic():
            connection.close()
            with suppress(DatabaseError):
                connection.cursor()
            connection.cursor()

    with pytest.raises(Unavailable):
        call_sync(lose)


def test_a_function_that_raises_such_an_error_by_itself_has_failed() -> None:
    def fail() -> None:
        raise OperationalError("made up")

    with pytest.raises(OperationalError):
        call_sync(fail)


@pytest.mark.django_db
def test_a_table_that_nobody_has_made_is_the_functions_own_fault() -> None:
    with pytest.raises(DatabaseError):
        call_sync(lambda: connection.cursor().execute("SELECT * FROM nowhere"))


@pytest.mark.parametrize(
    "ask", [access.check_follow, access.check_publish, access.ask_member, subscriptions.find_refusal]
)
def test_no_topic_is_denied_while_a_database_is_away(ask: Any) -> None:
    answers = iter([raise_away, lambda: True])

    def answer(session: Any, pk: str) -> bool:
        return next(answers)()

    topic("orders:{pk}", publish=answer, presence=Presence(member=answer))(
        (lambda session, pk: True) if ask is access.ask_member else answer
    )
    with pytest.raises(Unavailable):
        ask(SESSION, "orders:1")
