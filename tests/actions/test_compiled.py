"""A query that is compiled once answers as the ORM does, for any thread and connection."""

from __future__ import annotations

from datetime import timedelta
from threading import Thread
from typing import Any

import pytest
from django.db import connections
from django.test import override_settings

from session_mgmt.actions.sessions import lifecycle, tokens
from session_mgmt.exceptions import InvalidToken
from session_mgmt.models import Token, clock
from session_mgmt.models.compiled import CompiledQuery

pytestmark = pytest.mark.django_db
JOINED = ("session", "session__user", "session__activity")


@pytest.fixture
def alice(django_user_model: Any) -> Any:
    return django_user_model.objects.create_user("alice", email="alice@example.com")


def make_query() -> CompiledQuery[Token]:
    return CompiledQuery(lambda using: Token.objects.using(using).select_related(*JOINED))


def read_all(token: Token) -> list[dict[str, Any]]:
    """All columns of a token and of what is joined to it."""
    session = token.session
    rows = [token, session, session.activity, *([session.user] if session.user_id else [])]
    return [{field.name: field.value_from_object(row) for field in row._meta.concrete_fields} for row in rows]


@pytest.mark.parametrize("is_nobodys", [False, True], ids=["users", "nobodys"])
def test_the_instances_are_those_of_the_orm(is_nobodys: bool, alice: Any, django_assert_num_queries: Any) -> None:
    made = lifecycle.create_session(user=None if is_nobodys else alice, metadata={"a": [1, None, "ü"]})
    token = Token.objects.select_related(*JOINED).get(session=made.session)
    query, values = make_query(), {"digest": bytes(token.digest), "kind": token.kind}
    for _ in range(2):
        with django_assert_num_queries(1):
            found = query.find("default", **values)
            assert found is not None and read_all(found) == read_all(token)
        # Whoever saves an instance writes an update, and no second row.
        assert not found._state.adding and found._state.db == "default"


def test_other_values_find_other_rows_or_none() -> None:
    query = make_query()
    made = [lifecycle.create_session().session for _ in range(3)]
    for session in made:
        token = Token.objects.get(session=session)
        found = query.find("default", digest=token.digest, kind=token.kind)
        assert found is not None and found.session_id == session.pk
        assert query.find("default", digest=token.digest, kind="cookie") is None
    assert query.find("default", digest=b"", kind="access") is None


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_was_compiled_on_is_not_kept() -> None:
    made = lifecycle.create_session()
    query, digest = make_query(), Token.objects.get(session=made.session).digest
    seen: list[Any] = []

    def ask() -> None:
        try:
            seen.append(query.find("default", digest=digest, kind="access"))
        finally:
            connections.close_all()

    for _ in range(2):
        thread = Thread(target=ask)
        thread.start()
        thread.join()
    assert [token.session_id for token in seen] == [made.session.pk] * 2


def test_a_filter_for_users_that_is_changed_counts_from_the_next_call(alice: Any) -> None:
    secret = lifecycle.create_session(user=alice).token.secret
    now = clock.read("default") + timedelta(seconds=1)
    assert tokens.find_token("default", secret, now=now).session.user == alice
    with override_settings(SESSION_MGMT={"USER_STANDING": {"last_name": "Known"}}):
        with pytest.raises(InvalidToken):
            tokens.find_token("default", secret, now=now)
        type(alice).objects.update(last_name="Known")
        assert tokens.find_token("default", secret, now=now).session.user == alice
    assert tokens.find_token("default", secret, now=now).session.user == alice
