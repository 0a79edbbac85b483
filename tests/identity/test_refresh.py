"""Refresh tokens: one chain, the same answer for those who race or ask again, and the end for copies."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection

from session_mgmt.actions.access import SERVER
from session_mgmt.actions.sessions import ending, lifecycle, refreshing, repeating, tokens
from session_mgmt.actions.sessions.lifecycle import Device
from session_mgmt.exceptions import InvalidField, InvalidToken, SessionExpired, SessionTerminated
from session_mgmt.models import AuditEntry, ClientSession, SessionActivity, Token, clock
from tests.identity.conftest import later, make_pair, new_nonce, refresh, refresh_of, run_together

pytestmark = pytest.mark.django_db


def reason(session: ClientSession) -> str:
    return ClientSession.objects.get(pk=session.pk).end_reason


@pytest.mark.requirement("ASVS 7.2.3")
def test_both_tokens_have_a_prefix_and_256_bits_and_only_digests_are_stored() -> None:
    pair = make_pair().pair
    assert pair is not None
    assert re.fullmatch("sma_[A-Za-z0-9_-]{43}", pair.access.secret)
    assert re.fullmatch("smr_[A-Za-z0-9_-]{22}_[A-Za-z0-9_-]{43}", pair.refresh.secret)
    stored = " ".join(str(row.__dict__) for row in Token.objects.all())
    assert pair.access.secret[4:] not in stored and pair.refresh.secret[27:] not in stored
    assert "secret" not in repr(pair)


def test_an_access_token_lives_a_quarter_of_an_hour_a_tenth_more_or_less() -> None:
    lives = [
        (created.token.expires_at - created.session.created_at).total_seconds()
        for created in (make_pair() for _ in range(20))
    ]
    assert all(810 <= life <= 990 for life in lives)
    assert len(set(lives)) > 10


@pytest.mark.requirement("ASVS 9.2.2")
def test_each_token_is_taken_for_its_own_use_only() -> None:
    created = make_pair()
    with pytest.raises(InvalidToken):
        tokens.verify_token("default", refresh_of(created), now=later())
    with pytest.raises(InvalidToken):
        refresh(created.token.secret)


@pytest.mark.parametrize("secret", ["", "smr_", "smr_" + "A" * 66, "sma_" + "A" * 43, "smr_\ud800", "x" * 5000])
def test_what_is_no_refresh_token_is_one_error(secret: str) -> None:
    with pytest.raises(InvalidToken):
        refresh(secret)


@pytest.mark.parametrize("nonce", ["", "A" * 42, "A" * 44, "A" * 42 + "!", "A" * 42 + "\u00e9", "A" * 42 + "\n"])
def test_a_nonce_has_one_form(nonce: str) -> None:
    with pytest.raises(InvalidField):
        refreshing.refresh_tokens(refresh_of(make_pair()), nonce)


def test_a_refreshed_pair_proves_the_session_and_is_refreshed_again() -> None:
    created = make_pair()
    first = refresh(refresh_of(created), minutes=10)
    assert tokens.verify_token("default", first.pair.access.secret, now=later(minutes=20)).pk == created.session.pk
    second = refresh(first.pair.refresh.secret, minutes=20)
    assert second.pair != first.pair
    assert 810 <= second.expires_in <= 990


def test_a_family_has_few_rows_whatever_its_age() -> None:
    secret = refresh_of(make_pair())
    for minutes in range(0, 600, 12):
        secret = refresh(secret, minutes=minutes).pair.refresh.secret
    # The pair that was used last, the one that follows it, and nothing else.
    assert Token.objects.count() == 4


@pytest.mark.requirement("ASVS 10.4.8")
def test_a_family_ends_at_the_absolute_deadline() -> None:
    created = make_pair(config={"idle_timeout": 3600, "absolute_timeout": 3600})
    secret, ends = refresh_of(created), set()
    for minutes in range(0, 60, 6):
        pair = refresh(secret, minutes=minutes).pair
        secret = pair.refresh.secret
        ends.add(pair.refresh.expires_at)
    # It proves for a while after it whose session that was, and the time for that does not grow.
    assert len(ends) == 1
    for use in (
        partial(refresh, secret, minutes=61),
        partial(tokens.verify_token, "default", pair.access.secret, now=later(minutes=61)),
    ):
        with pytest.raises(SessionExpired):
            use()


def test_a_refresh_is_no_activity() -> None:
    created = make_pair()
    before = SessionActivity.objects.values_list("last_active_at", "expires_at").get()
    refresh(refresh_of(created), minutes=10)
    assert SessionActivity.objects.values_list("last_active_at", "expires_at").get() == before


@pytest.mark.django_db(transaction=True)
@pytest.mark.requirement("RFC 9700 races")
@pytest.mark.requirement("ASVS 2.3.3")
def test_s27_fifty_refreshes_at_once_leave_one_chain() -> None:
    secret = refresh_of(make_pair())
    found = run_together(50, lambda _: refreshing.refresh_tokens(secret, new_nonce()))
    assert {type(one) for one in found} == {refreshing.Refreshed}, found
    assert len({(one.pair.access.secret, one.pair.refresh.secret) for one in found}) == 1
    assert Token.objects.filter(kind="refresh").count() == 2
    assert Token.objects.filter(kind="access").count() == 2
    assert ClientSession.objects.get().state == "active"


@pytest.mark.requirement("RFC 9700 races")
def test_s28_a_lost_answer_is_given_again_after_a_day_to_the_same_nonce() -> None:
    secret, nonce = refresh_of(make_pair()), new_nonce()
    first = refresh(secret, nonce)
    again = refresh(secret, nonce, hours=23)
    assert again.pair == first.pair
    assert again.expires_in == 0
    assert refresh(again.pair.refresh.secret, hours=23).pair != first.pair


def test_s28_not_once_the_next_token_was_used() -> None:
    created, nonce = make_pair(), new_nonce()
    first = refresh(refresh_of(created), nonce)
    refresh(first.pair.refresh.secret, minutes=10)
    with pytest.raises(InvalidToken):
        refresh(refresh_of(created), nonce, minutes=11)
    assert reason(created.session) == "token_reuse"


@pytest.mark.requirement("ASVS 10.4.5")
def test_s29_a_stolen_token_gets_the_same_pair_within_the_grace_and_ends_the_session_after_it() -> None:
    created = make_pair()
    first = refresh(refresh_of(created))
    assert refresh(refresh_of(created), seconds=29).pair == first.pair
    with pytest.raises(InvalidToken):
        refresh(refresh_of(created), seconds=31)
    assert reason(created.session) == "token_reuse"
    with pytest.raises(SessionTerminated):
        refresh(first.pair.refresh.secret, seconds=32)


def test_s29_a_token_of_ten_rotations_ago_is_known_by_its_family() -> None:
    created = make_pair()
    secret = refresh_of(created)
    for number in range(10):
        secret = refresh(secret, minutes=number).pair.refresh.secret
    assert not Token.objects.filter(digest=tokens.hash_token(refresh_of(created))).exists()
    with pytest.raises(InvalidToken):
        refresh(refresh_of(created), minutes=11)
    assert reason(created.session) == "token_reuse"


def test_s30_reuse_ends_a_session_that_no_login_can_prove_and_is_audited_without_a_secret() -> None:
    created = make_pair()
    refresh(refresh_of(created))
    with pytest.raises(InvalidToken):
        refreshing.refresh_tokens(refresh_of(created), new_nonce(), device=Device(ip="192.0.2.7"), now=later(minutes=1))
    entry = AuditEntry.objects.get(action="refresh_reused")
    assert (entry.session, entry.ip, entry.data, entry.actor) == (created.session.pk, "192.0.2.7", {}, None)


def test_an_invented_secret_of_a_known_family_is_reuse_and_of_an_unknown_one_nothing() -> None:
    created, other = make_pair(), make_pair()
    Token.objects.filter(session=other.session).delete()
    with pytest.raises(InvalidToken):
        refresh(refresh_of(other)[:-1] + "A")
    assert reason(other.session) == ""
    with pytest.raises(InvalidToken):
        refresh(refresh_of(created)[:-2] + "__")
    assert reason(created.session) == "token_reuse"


def test_an_older_auth_version_is_refused_without_an_alarm() -> None:
    created = make_pair()
    first = refresh(refresh_of(created))
    ClientSession.objects.update(auth_version=2)
    for secret in (refresh_of(created), first.pair.refresh.secret, refresh_of(created)[:-2] + "__"):
        with pytest.raises(InvalidToken):
            refresh(secret, minutes=5)
    with pytest.raises(InvalidToken):
        tokens.verify_token("default", first.pair.access.secret, now=later())
    assert reason(created.session) == ""
    assert set(AuditEntry.objects.values_list("action", flat=True)) == {"refresh_refused"}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("act", ["end", "revoke", "reuse"])
def test_s31_a_child_made_beside_an_end_or_a_reuse_is_dead_on_arrival(act: str) -> None:
    for _ in range(5):
        created = make_pair()
        first = refresh(refresh_of(created))

        def run(number: int, created: Any = created, live: str = first.pair.refresh.secret) -> Any:
            if number % 2:
                return refreshing.refresh_tokens(live, new_nonce())
            if act == "end":
                return lifecycle.terminate_session(SERVER, created.session.pk)
            if act == "reuse":
                return refreshing.refresh_tokens(refresh_of(created), new_nonce(), now=later(minutes=1))
            return ClientSession.objects.filter(pk=created.session.pk).update(auth_version=2)

        found = run_together(6, run)
        made = [one.pair.access.secret for one in found if isinstance(one, refreshing.Refreshed)]
        for secret in made:
            with pytest.raises((InvalidToken, SessionTerminated)):
                tokens.verify_token("default", secret, now=later())


def test_a_refresh_of_an_ended_session_says_how_it_ended() -> None:
    created = make_pair()
    with pytest.raises(SessionExpired) as caught:
        refresh(refresh_of(created), hours=25)
    assert caught.value.facts == {"session_id": str(created.session.pk), "reason": "timeout"}
    ending.end_session("default", created.session.pk, ClientSession.State.TERMINATED, "requested", later())
    with pytest.raises(SessionTerminated):
        refresh(refresh_of(created))


def test_a_refresh_of_somebody_who_may_no_longer_act_is_refused(alice: Any) -> None:
    created = make_pair(alice)
    type(alice).objects.update(is_active=False)
    with pytest.raises(InvalidToken):
        refresh(refresh_of(created))


@pytest.mark.requirement("ASVS 13.3.1")
def test_a_key_may_be_replaced_between_a_refresh_and_its_repetition(settings: Any) -> None:
    settings.SESSION_MGMT = {"TOKEN_KEYS": ("old",)}
    secret = refresh_of(make_pair())
    first = refresh(secret)
    settings.SESSION_MGMT = {"TOKEN_KEYS": ("new", "old")}
    assert refresh(secret).pair == first.pair
    second = refresh(first.pair.refresh.secret)
    settings.SESSION_MGMT = {"TOKEN_KEYS": ("new",)}
    # Made by a key that is gone: it cannot be told again, and nobody has copied anything.
    with pytest.raises(InvalidToken):
        refresh(secret)
    assert refresh(first.pair.refresh.secret).pair == second.pair
    assert reason(ClientSession.objects.get()) == ""


def test_s51_the_same_nonce_creates_once(alice: Any, bob: Any) -> None:
    nonce = new_nonce()

    def create(user: Any = alice, **more: Any) -> lifecycle.Created:
        return repeating.create_once(nonce, user, lambda: lifecycle.create_session(user=user, nonce=nonce), **more)

    first, again = create(), create()
    assert (again.session.pk, again.pair, again.position) == (first.session.pk, first.pair, first.position)
    assert ClientSession.objects.count() == 1
    for refused in (lambda: create(bob), lambda: create(now=clock.read("default") + timedelta(hours=2))):
        with pytest.raises(InvalidField):
            refused()


@pytest.mark.django_db(transaction=True)
def test_s51_the_same_nonce_at_once_creates_one_session() -> None:
    nonce = new_nonce()
    found = run_together(8, lambda _: repeating.create_once(nonce, None, lambda: lifecycle.create_session(nonce=nonce)))
    assert len({one.session.pk for one in found}) == len({one.token.secret for one in found}) == 1
    assert ClientSession.objects.count() == 1


def test_s46_a_token_without_a_pair_goes_on_and_code_of_before_may_write_one() -> None:
    created = lifecycle.create_session()
    digest = tokens.hash_token("sma_" + "o" * 43)
    # The columns that the code of before knows.
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO session_mgmt_token (kind, digest, session_id, family, created_at, expires_at)"
            " SELECT 'access', %s, session_id, family, created_at, expires_at FROM session_mgmt_token",
            [digest],
        )
    for secret in (created.token.secret, "sma_" + "o" * 43):
        assert tokens.verify_token("default", secret, now=later(hours=23)).pk == created.session.pk
