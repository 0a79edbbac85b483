"""Timing: whether a refused token exists cannot be told by the number of statements that its refusal costs.

Where a token is looked up in steps, in a refresh and at connect, one that was never made costs fewer. Whoever could
tell the two apart must hold 128 random bits of a real token at least. What such a holder cannot tell is why.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test.utils import CaptureQueriesContext

from session_mgmt.exceptions import InvalidToken
from session_mgmt.models import AuditEntry, ClientSession, Token
from session_mgmt.protocol.frames import Connect
from tests.api.calls import Caller, refused
from tests.attaching import attach_client
from tests.identity.conftest import make_pair, refresh, refresh_of

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


def count_refused(call: Callable[[], Any]) -> int:
    with CaptureQueriesContext(connection) as seen, pytest.raises(InvalidToken):
        call()
    return len(seen.captured_queries)


@pytest.mark.requirement("ASVS 11.2.4")
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


def attach(secret: str) -> Any:
    return attach_client(Connect(token=secret, client_id=None, acked=0, logs={}, agent="t"))


# Texts of the right form that were never made.
INVENTED = {refresh: f"smr_{'x' * 22}_{'x' * 43}", attach: f"sma_{'x' * 43}"}


@pytest.mark.requirement("ASVS 11.2.4")
@pytest.mark.parametrize("use", INVENTED)
def test_the_reason_of_a_refusal_cannot_be_told_by_its_statements(use: Callable[[str], Any], alice: Any) -> None:
    known, invented = [], []
    for change in WAYS.values():
        type(alice).objects.update(is_active=True)
        created = make_pair(alice)
        secret = refresh_of(created) if use is refresh else created.token.secret
        change(created)
        for text, counts in ((secret, known), (INVENTED[use], invented)):
            # The first of each in ten seconds is written down.
            with pytest.raises(InvalidToken):
                use(text)
            counts.append(count_refused(partial(use, text)))
    assert (len(set(known)), len(set(invented))) == (1, 1), (known, invented)
    assert set(AuditEntry.objects.values_list("action", flat=True)) <= {"refresh_refused"}
