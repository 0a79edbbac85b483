"""Connect as a page that was made for somebody: a socket of anybody else is never opened."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model

from session_mgmt.bridge import bridge
from session_mgmt.models import Connection
from tests.identity.conftest import make_pair
from tests.walks.conftest import BOTH_WAYS

pytestmark = [pytest.mark.django_db(transaction=True), BOTH_WAYS]


async def _connect(peers: Any, token: str, **more: Any) -> Any:
    peer = peers()
    await peer.handshake()
    await peer.say(type="connect", token=token, client_id=None, logs={}, acked=0, **more)
    return peer


async def test_s44_a_page_of_somebody_else_is_refused_and_leaves_no_trace(peers: Any) -> None:
    user = await bridge().call(get_user_model().objects.create_user, "ada")
    theirs = (await bridge().call(make_pair, user)).token.secret
    nobodys = (await bridge().call(make_pair)).token.secret
    for token, expected in [(theirs, str(user.pk + 1)), (theirs, None), (theirs, "*"), (nobodys, str(user.pk))]:
        peer = await _connect(peers, token, user=expected)
        assert (await peer.next())["name"] == "login_check"
        assert await peer.closed() == 4006
    assert not await bridge().read(Connection.objects.exists)


async def test_s44_the_expected_user_is_let_in(peers: Any) -> None:
    user = await bridge().call(get_user_model().objects.create_user, "ada")
    theirs = (await bridge().call(make_pair, user)).token.secret
    nobodys = (await bridge().call(make_pair)).token.secret
    for token, expected in [(theirs, {"user": str(user.pk)}), (nobodys, {"user": None}), (theirs, {})]:
        peer = await _connect(peers, token, **expected)
        assert (await peer.next())["type"] == "connected"


async def test_an_expected_user_is_a_text(peers: Any) -> None:
    token = (await bridge().call(make_pair)).token.secret
    for wrong in (7, "", "x" * 201, {"pk": 7}):
        peer = await _connect(peers, token, user=wrong)
        error = await peer.next()
        assert (error["name"], error["field"]) == ("invalid_field", "user")
