"""Open sockets of a visitor whose session is claimed: they come back as themselves, and lose no write."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model

from session_mgmt.actions.sessions import entering
from session_mgmt.actions.sessions.entries import Entered, Wish
from session_mgmt.actions.sessions.lifecycle import Created
from session_mgmt.actions.sessions.stamps import Evidence
from session_mgmt.bridge import bridge
from session_mgmt.consumers.hub import hub
from session_mgmt.shortcuts import state
from tests.identity.conftest import make_pair, new_nonce, refresh_of
from tests.walks.conftest import BOTH_WAYS

pytestmark = BOTH_WAYS

CART = "state:cart"


@pytest.fixture
async def visitor(transactional_db: None, settings: Any) -> Created:
    settings.SESSION_MGMT = {"ANONYMOUS_SESSIONS": True}
    return await bridge().call(make_pair)


def claim(visitor: Created) -> Entered:
    ann, _ = get_user_model().objects.get_or_create(username="ann")
    wish = Wish(nonce=new_nonce(), kept=visitor.session.pk, token=refresh_of(visitor))
    return entering.enter(wish, Evidence(user=ann, stamp=b"s" * 32))


def count(visitor: Created) -> Any:
    return state.get(visitor.session, name="cart")


async def hear_claim(peer: Any) -> None:
    assert await peer.closed() == 4005
    byes = [frame for frame in peer.seen if frame["type"] == "bye"]
    assert [(bye["code"], bye["reason"]) for bye in byes] == [(4005, "claimed")]


async def test_s05_an_open_socket_is_closed_with_4005_claimed_and_comes_back_as_itself(
    peers: Any, visitor: Created
) -> None:
    one, other = peers(), peers()
    connected = await one.open(visitor.token.secret, logs={CART: None})
    await other.open(visitor.token.secret)
    await one.say(type="update", seq=1, doc="cart", ops=[["inc", "/n", 1]])
    await one.receipt(1)
    entered = await bridge().call(claim, visitor)
    assert entered.verdict == "claimed" and entered.pair is not None
    await hear_claim(one)
    await hear_claim(other)
    # The token of before proves nothing.
    stale = peers()
    await stale.handshake()
    await stale.say(type="connect", token=visitor.token.secret, client_id=connected["client_id"], logs={}, acked=0)
    assert await stale.closed() == 4501
    two = peers()
    again = await two.open(entered.pair.access.secret, client_id=connected["client_id"])
    assert (again["type"], again["client_id"]) == ("connected", connected["client_id"])
    # The number that was used up is told again, and not written again.
    await two.say(type="update", seq=1, doc="cart", ops=[["inc", "/n", 1]])
    await two.receipt(1)
    await two.say(type="update", seq=2, doc="cart", ops=[["inc", "/n", 1]])
    assert (await two.receipt(2)).get("error") is None
    assert await bridge().call(count, visitor) == {"n": 2}


async def test_s05_writes_sent_beside_a_claim_are_written_once(peers: Any, visitor: Created) -> None:
    one = peers()
    connected = await one.open(visitor.token.secret, logs={CART: None})
    for seq in range(1, 21):
        await one.say(type="update", seq=seq, doc="cart", ops=[["inc", "/n", 1]])
        if seq == 10:
            await one.receipt(1)
            entered = await bridge().call(claim, visitor)
    await hear_claim(one)
    assert entered.verdict == "claimed" and entered.pair is not None
    receipts = {frame["seq"]: frame for frame in one.seen if frame["type"] == "receipt"}
    # What meets the claim is no answer: it has no receipt, and its number is not used up.
    assert [frame for frame in receipts.values() if "error" in frame] == []
    two = peers()
    await two.open(entered.pair.access.secret, client_id=connected["client_id"])
    for seq in range(1, 21):
        if seq not in receipts:
            await two.say(type="update", seq=seq, doc="cart", ops=[["inc", "/n", 1]])
            assert "error" not in await two.receipt(seq)
    assert await bridge().call(count, visitor) == {"n": 20}


async def test_s05_without_the_bell_the_round_closes_and_no_write_of_the_visitors_passes(
    peers: Any, visitor: Created, monkeypatch: pytest.MonkeyPatch
) -> None:
    from session_mgmt.backends.doorbell import Doorbell

    one = peers()
    connected = await one.open(visitor.token.secret, logs={CART: None})
    monkeypatch.setattr(Doorbell, "ring", lambda *args: None)
    entered = await bridge().call(claim, visitor)
    await one.say(type="update", seq=1, doc="cart", ops=[["inc", "/n", 1]])
    await hub().rounds.check_sessions()
    assert await one.closed() == 4006
    assert [frame for frame in one.seen if frame["type"] == "receipt"] == []
    assert await bridge().call(count, visitor) == {}
    assert entered.pair is not None
    two = peers()
    await two.open(entered.pair.access.secret, client_id=connected["client_id"])
    await two.say(type="update", seq=1, doc="cart", ops=[["inc", "/n", 1]])
    assert "error" not in await two.receipt(1)
    assert await bridge().call(count, visitor) == {"n": 1}
