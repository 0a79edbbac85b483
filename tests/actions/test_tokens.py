"""Tokens: secrets that are stored nowhere, and prove one session while it lives."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model

from session_mgmt.actions.access import SERVER
from session_mgmt.actions.sessions import lifecycle, tokens
from session_mgmt.exceptions import InvalidToken, SessionExpired, SessionTerminated, TokenExpired
from session_mgmt.models import Token, clock

pytestmark = pytest.mark.django_db


def verify(secret: str, **later: float) -> Any:
    return tokens.verify_token("default", secret, now=clock.read("default") + timedelta(**later))


def test_a_token_has_a_prefix_and_256_random_bits() -> None:
    made = {lifecycle.create_session().token.secret for _ in range(20)}
    assert len(made) == 20
    assert all(re.fullmatch(r"sma_[A-Za-z0-9_-]{43}", secret) for secret in made)


@pytest.mark.requirement("ASVS 11.4.1")
def test_only_a_digest_is_stored_and_nothing_prints_the_secret() -> None:
    secret = lifecycle.create_session().token.secret
    stored = Token.objects.get()
    assert bytes(stored.digest) == tokens.hash_token(secret)
    assert secret not in f"{stored} {stored!r} {stored.__dict__}"


@pytest.mark.requirement("ASVS 7.2.2")
def test_a_token_proves_its_own_session() -> None:
    first, second = lifecycle.create_session(), lifecycle.create_session()
    assert verify(first.token.secret).pk == first.session.pk
    assert verify(second.token.secret).pk == second.session.pk


@pytest.mark.parametrize("secret", ["", "sma_", "sma_" + "A" * 43, "smr_" + "A" * 43, "x" * 5000, "sma_\ud800"])
@pytest.mark.requirement("ASVS 6.3.8")
def test_what_is_no_token_is_one_error(secret: str) -> None:
    with pytest.raises(InvalidToken):
        verify(secret)


def test_a_token_is_compared_in_full() -> None:
    secret = lifecycle.create_session().token.secret
    for almost in (secret[:-1], secret + "A", secret.swapcase(), secret.upper()):
        with pytest.raises(InvalidToken):
            verify(almost)


def test_a_refresh_token_gives_no_access() -> None:
    created = lifecycle.create_session()
    Token.objects.update(kind=Token.Kind.REFRESH)
    with pytest.raises(InvalidToken):
        verify(created.token.secret)


def test_a_revoked_token_and_one_of_an_inactive_user_are_invalid() -> None:
    user = get_user_model().objects.create_user("alice")
    created, other = lifecycle.create_session(user=user), lifecycle.create_session()
    get_user_model().objects.filter(pk=user.pk).update(is_active=False)
    Token.objects.filter(session=other.session).update(revoked_at=clock.read("default"))
    for token in (created.token, other.token):
        with pytest.raises(InvalidToken):
            verify(token.secret)


@pytest.mark.requirement("ASVS 9.2.1")
def test_an_expired_token_of_a_living_session_can_be_told_from_an_invalid_one() -> None:
    created = lifecycle.create_session()
    Token.objects.update(expires_at=clock.read("default"))
    with pytest.raises(TokenExpired):
        verify(created.token.secret, seconds=1)


def test_an_ended_session_says_how_it_ended() -> None:
    terminated, expired = lifecycle.create_session(), lifecycle.create_session(config={"idle_timeout": 60})
    lifecycle.terminate_session(SERVER, terminated.session.pk)
    with pytest.raises(SessionTerminated):
        verify(terminated.token.secret)
    with pytest.raises(SessionExpired):
        verify(expired.token.secret, seconds=60 + 20)


@pytest.mark.requirement("ASVS 11.2.4")
def test_verifying_costs_one_query(django_assert_num_queries: Any) -> None:
    created = lifecycle.create_session(user=get_user_model().objects.create_user("alice"))
    now = clock.read("default")
    with django_assert_num_queries(1):
        found = tokens.verify_token("default", created.token.secret, now=now)
        assert (found.user.username, found.activity.live) == ("alice", True)
