"""Refresh over HTTP and over a socket."""

from __future__ import annotations

from typing import Any

import pytest

from session_mgmt.actions.sessions import tokens
from session_mgmt.bridge import bridge
from session_mgmt.consumers import lifetime
from session_mgmt.consumers.hub import hub
from session_mgmt.consumers.lifetime import find_over
from session_mgmt.models import ClientSession, Token, clock
from tests.api.calls import Caller, refused
from tests.identity.conftest import make_pair, new_nonce, refresh_of
from tests.walks.conftest import BOTH_WAYS


@pytest.fixture(autouse=True)
def anonymous(settings: Any) -> None:
    settings.SESSION_MGMT = {"ANONYMOUS_SESSIONS": True}


@pytest.mark.django_db
def test_a_session_made_with_a_nonce_has_a_pair_and_no_token_besides(nobody: Caller, on_this_thread: None) -> None:
    nonce = new_nonce()
    made = nobody.post("sessions/", {"nonce": nonce}).json()
    assert made.keys() == {"session", "positions", "endpoints", "access", "refresh", "expires_in"}
    again = nobody.post("sessions/", {"nonce": nonce}).json()
    assert [again[name] for name in ("access", "refresh")] == [made[name] for name in ("access", "refresh")]
    mine = Caller(nobody.http, made["access"], made["session"]["session_id"])
    assert mine.get("sessions/{id}/").status_code == 200
    assert Caller(nobody.http, made["refresh"]).get("sessions/").status_code == 401


@pytest.mark.django_db
def test_tokens_are_refreshed_over_http_whatever_the_headers(nobody: Caller, on_this_thread: None) -> None:
    created = make_pair()
    body = {"token": refresh_of(created), "nonce": new_nonce()}
    answer = nobody.post("tokens/refresh/", body)
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json().keys() == {"access", "refresh", "expires_in", "login_due_in", "login_changed"}
    assert nobody.post("tokens/refresh/", body).json()["refresh"] == answer.json()["refresh"]
    assert refused(nobody.post("tokens/refresh/", {**body, "token": created.token.secret}), "invalid_token", 401)
    assert refused(nobody.post("tokens/refresh/", {**body, "nonce": "short"}), "invalid_field", 400)
    assert refused(nobody.post("tokens/refresh/", {**body, "more": 1}), "invalid_field", 400)


@pytest.mark.django_db(transaction=True)
@BOTH_WAYS
class TestOverASocket:
    async def test_a_socket_lives_on_with_the_new_token(self, peers: Any) -> None:
        created = await bridge().call(make_pair)
        peer = peers()
        await peer.open(created.token.secret)
        (served,) = hub().serving.connections
        before = served.lifetime.token_over_at
        served.lifetime.token_over_at = before - 800
        await peer.say(type="refresh", id=7, token=refresh_of(created), nonce=new_nonce())
        reply = await peer.until_type("reply")
        assert reply.keys() == {"type", "id", "access", "refresh", "expires_in", "login_due_in", "login_changed"}
        # Lifetimes are spread by a tenth of 900 s to both sides, so that two of them differ by 180 s at most.
        assert served.lifetime.token_over_at > before - 190
        now = await bridge().read(clock.read, "default")
        proved = await bridge().read(tokens.verify_token, "default", reply["access"], now=now)
        assert proved.pk == created.session.pk

    @pytest.mark.requirement("CVE-2023-28858")
    async def test_a_socket_refreshes_no_other_session(self, peers: Any) -> None:
        created, other = await bridge().call(make_pair), await bridge().call(make_pair)
        peer = peers()
        await peer.open(created.token.secret)
        await peer.say(type="refresh", id=7, token=refresh_of(other), nonce=new_nonce())
        assert (await peer.until_type("error"))["name"] == "invalid_token"
        assert not await bridge().read(Token.objects.filter(used_at__isnull=False).exists)

    @pytest.mark.requirement("OWASP WebSocket: expiry")
    async def test_a_socket_whose_token_is_over_is_closed_after_the_grace(self, peers: Any) -> None:
        created = await bridge().call(make_pair)
        peer = peers()
        await peer.open(created.token.secret)
        (served,) = hub().serving.connections
        assert served.lifetime.token_over_at > find_over(served.lifetime.token_over_at + 29)
        served.lifetime.token_over_at -= 1100
        hub().rounds.watch_token(served)
        await hub().rounds.check_sessions()
        assert await peer.closed() == 4001

    async def test_each_socket_is_closed_when_its_own_token_is_over(
        self, peers: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        created = await bridge().call(make_pair)
        short, long = peers(), peers()
        await short.open(created.token.secret)
        (before,) = hub().serving.connections
        await long.open(created.token.secret)
        (served,) = hub().serving.connections - {before}
        served.lifetime.note_refresh(9000)
        await hub().rounds.check_sessions()
        for peer, seconds in ((short, 5000), (long, 10_000)):
            # As if so many seconds had passed.
            monkeypatch.setattr(lifetime, "TOKEN_GRACE", -seconds)
            await hub().rounds.check_sessions()
            assert await peer.closed() == 4001
            assert (served.closed_with is None) == (peer is short)

    async def test_a_raised_auth_version_closes_older_sockets_only(self, peers: Any) -> None:
        created = await bridge().call(make_pair)
        peer = peers()
        await peer.open(created.token.secret)
        await bridge().call(ClientSession.objects.filter(pk=created.session.pk).update, auth_version=2)
        await hub().rounds.check_sessions()
        assert await peer.closed() == 4006
        again = peers()
        assert (await again.open(created.token.secret))["name"] == "invalid_token"

    async def test_a_copied_token_closes_the_sockets(self, peers: Any) -> None:
        created = await bridge().call(make_pair)
        peer = peers()
        await peer.open(created.token.secret)
        await peer.say(type="refresh", id=7, token=refresh_of(created), nonce=new_nonce())
        await peer.until_type("reply")
        await bridge().call(Token.objects.filter(used_at__isnull=False).update, used_at=created.session.created_at)
        await peer.say(type="refresh", id=8, token=refresh_of(created)[:-2] + "__", nonce=new_nonce())
        assert await peer.closed() == 4503
