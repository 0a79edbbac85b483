"""Timing: whether a refused token exists cannot be told by the number of statements that its refusal costs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test.utils import CaptureQueriesContext

from session_mgmt.models import ClientSession, Token
from tests.api.calls import Caller, refused
from tests.identity.conftest import make_pair

pytestmark = pytest.mark.django_db


def revoke(created: Any) -> None:
    Token.objects.filter(session=created.session).update(revoked_at=created.session.created_at)


def raise_version(created: Any) -> None:
    ClientSession.objects.filter(pk=created.session.pk).update(auth_version=2)


def deactivate(created: Any) -> None:
    get_user_model().objects.filter(pk=created.session.user_id).update(is_active=False)


WAYS = {"revoked": revoke, "older version": raise_version, "user deactivated": deactivate}


def count_statements(call: Callable[[], Any]) -> int:
    with CaptureQueriesContext(connection) as seen:
        assert call().status_code == 401
    return len(seen.captured_queries)


@pytest.mark.parametrize("way_", WAYS)
def test_a_refused_token_costs_the_statements_of_one_that_never_was(way_: str, alice: Any, nobody: Caller) -> None:
    created = make_pair(alice)
    WAYS[way_](created)
    known, unknown = (Caller(nobody.http, text) for text in (created.token.secret, "sma_" + "x" * 43))
    # The first of each in ten seconds is written down.
    for caller in (known, unknown):
        assert refused(caller.get("sessions/"), "invalid_token", 401)
    assert known.get("sessions/").content == unknown.get("sessions/").content
    counts = [count_statements(partial(caller.get, "sessions/")) for caller in (known, unknown, known, unknown)]
    assert counts == [counts[0]] * 4, counts
