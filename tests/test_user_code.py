"""Functions of the project that meet a database which is away give no answer, and lose nothing by it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from django.db import DatabaseError, InterfaceError, OperationalError, connection

from session_mgmt.actions import access
from session_mgmt.actions.topics import subscriptions
from session_mgmt.exceptions import Unavailable
from session_mgmt.models import ClientSession
from session_mgmt.registry import Presence, topic
from session_mgmt.user_code import call_sync
from tests.away import DriverError, raise_away

SESSION = ClientSession(pk=UUID(int=1))
PASSES = {
    "the server stops": DriverError(sqlstate="57P01"),
    "the connection is cut": DriverError(),
    "too many connections": DriverError(sqlstate="53300"),
    "a deadlock": DriverError(sqlstate="40P01"),
    "SQLite is locked": DriverError(sqlite_errorcode=5),
    "SQLite's disk": DriverError(sqlite_errorcode=778),
}
STAYS = {
    "a slow statement": DriverError(sqlstate="57014"),
    "a statement that SQLite does not understand": DriverError(sqlite_errorcode=1),
}


@pytest.mark.parametrize("cause", PASSES.values(), ids=PASSES)
@pytest.mark.parametrize("kind", [OperationalError, InterfaceError])
def test_a_database_that_is_away_is_no_answer(kind: type[DatabaseError], cause: DriverError) -> None:
    def fail() -> None:
        raise kind("away") from cause

    with pytest.raises(Unavailable) as raised:
        call_sync(fail)
    assert raised.value.retry_after == 1.0


@pytest.mark.parametrize("cause", STAYS.values(), ids=STAYS)
def test_a_statement_that_would_fail_again_is_the_functions_own_fault(cause: DriverError) -> None:
    with pytest.raises(OperationalError):
        call_sync(raise_away, cause)


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
