"""One address may make so many sessions of nobody an hour, whichever call makes them, and no more."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from session_mgmt.actions import audit
from session_mgmt.models import AuditEntry, ClientSession
from tests.api.calls import Caller
from tests.api.conftest import alice
from tests.identity.conftest import new_nonce
from tests.walks.conftest import peers

__all__ = ["alice", "peers"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def two_an_hour(settings: Any) -> None:
    settings.SESSION_MGMT = {"anonymous_sessions": True, "max_anonymous_per_address": 2}


@pytest.mark.parametrize("path", ["sessions/", "sessions/enter/"])
@pytest.mark.requirement("ASVS 2.4.1")
def test_the_next_one_waits(path: str) -> None:
    http = Caller(Client())
    answers = [http.post(path, {"nonce": new_nonce()}) for _ in range(3)]
    assert [answer.status_code // 100 for answer in answers] == [2, 2, 4]
    assert answers[2].status_code == 429
    assert 1700 < int(answers[2].headers["Retry-After"]) <= 1800
    assert ClientSession.objects.count() == 2
    assert AuditEntry.objects.filter(action=audit.LIMIT_REACHED).count() == 1
    # Another address has its own.
    assert http.post(path, {"nonce": new_nonce()}, X_Forwarded_For="192.0.2.99").status_code == 429
    other = Client(REMOTE_ADDR="192.0.2.99")
    assert Caller(other).post(path, {"nonce": new_nonce()}).status_code in (200, 201)


def test_a_repeated_request_counts_once() -> None:
    http, nonce = Caller(Client()), new_nonce()
    for _ in range(5):
        assert http.post("sessions/enter/", {"nonce": nonce}).json()["verdict"] == "created"
    assert http.post("sessions/enter/", {"nonce": new_nonce()}).status_code == 200


def test_people_with_a_login_are_not_counted(alice: Any) -> None:
    http = Client()
    http.force_login(alice)
    answers = [Caller(http).post("sessions/enter/", {"nonce": new_nonce()}) for _ in range(4)]
    assert {answer.status_code for answer in answers} <= {200, 403}
