"""Frames of a connection whose session was claimed, whose tokens were revoked, or whose client has attached again, in
the moment before it is told: none of them is carried out.

The frames are those of the table of scopes, so that a new one cannot be forgotten: it needs a row here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest
from django.contrib.auth import get_user_model

from session_mgmt.actions.clients import Attached
from session_mgmt.actions.sessions import attachments, entering, following, looking, pairs, refreshing, resume
from session_mgmt.actions.sessions.attachments import Ask
from session_mgmt.actions.sessions.entries import Wish
from session_mgmt.actions.sessions.lifecycle import Created
from session_mgmt.actions.sessions.pairs import Pair
from session_mgmt.actions.sessions.stamps import Evidence
from session_mgmt.actions.state import bodies
from session_mgmt.actions.topics import subscriptions
from session_mgmt.backends.doorbell import Doorbell
from session_mgmt.bridge import bridge
from session_mgmt.consumers.hub import hub
from session_mgmt.exceptions import Replaced
from session_mgmt.models import (
    Client,
    ClientSession,
    Publication,
    Receipt,
    SessionActivity,
    SessionEvent,
    StateDocument,
    Subscription,
    Token,
    clock,
)
from session_mgmt.models.isolation import open_transaction
from session_mgmt.protocol import scopes
from session_mgmt.protocol.frames import Connect
from session_mgmt.protocol.logs import stream_key
from session_mgmt.registry import on_message, topic
from session_mgmt.shortcuts import publish, state
from tests.identity.conftest import make_pair, new_nonce, refresh_of, run_together
from tests.identity.test_claim_races import run_in_order

pytestmark = pytest.mark.django_db(transaction=True)

# By name; the kind is the first word. ``{refresh}`` is the session's refresh token of before.
FRAMES: dict[str, dict[str, Any]] = {
    "update": {"seq": 2, "doc": "cart", "ops": [["set", "/late", True]]},
    "update of a new document": {"seq": 2, "doc": "late", "ops": [["set", "/late", True]]},
    "publish": {"seq": 2, "topic": "room:1", "data": "late"},
    "publish ephemeral": {"topic": "room:1", "data": "late", "ephemeral": True},
    "send": {"seq": 2, "data": {"n": 1}},
    "subscribe to a new topic": {"id": 1, "log": "topic:room:late", "position": None},
    "subscribe to a known topic": {"id": 1, "log": "topic:room:known", "position": None},
    "subscribe to a followed topic": {"id": 1, "log": "topic:room:1", "position": None},
    "subscribe to a document": {"id": 1, "log": "state:late", "position": None},
    "subscribe to the session": {"id": 1, "log": "session", "position": None},
    "unsubscribe": {"id": 1, "log": "topic:room:1"},
    "history": {"id": 1, "log": "topic:room:1", "before": None},
    "enter": {"id": 1, "log": "topic:room:1", "data": "late"},
    "leave": {"id": 1, "log": "topic:room:1"},
    "members": {"id": 1, "log": "topic:room:1"},
    "value": {"id": 1, "log": "topic:room:1"},
    "ack": {"seq": 1},
    "pong": {"ping": 1, "acked": 1},
    "ping": {"id": 1},
    "configure": {"id": 1, "interval": 20},
    "refresh": {"id": 1, "token": "{refresh}", "nonce": "Zm9yIHRoaXMgcmVxdWVzdCBvbmx5LCAzMiBieXRlcyE"},
    "connect": {"token": "sma_" + "x" * 43, "client_id": None, "logs": {}, "acked": 0},
    "disconnect": {},
}
ROWS = (Client, ClientSession, Publication, Receipt, SessionEvent, StateDocument, Subscription, Token)
# No statement of these finds out that the client may act no more; the next round does.
UNNOTICED = ("ack", "pong", "ping", "configure", "refresh", "subscribe to a followed topic")
# Entries are of what was written before.
ECHOES = {"bye", "pong", "ping", "entries"}
# A client that follows a log is told its own place.
ANSWERS = {
    "connect": {"error"},
    "refresh": {"error"},
    "configure": {"reply"},
    "subscribe to a followed topic": {"reply"},
}


@pytest.fixture
async def visitor(transactional_db: None, settings: Any) -> Created:
    # Rounds come when the test says so.
    settings.SESSION_MGMT = {
        "ANONYMOUS_SESSIONS": True,
        "CONTROL_INTERVAL": 3600.0,
        "LEASE_FLUSH_INTERVAL": 3600.0,
    }
    created = await bridge().call(make_pair)
    await state.areplace(created.session, {"items": [1]}, name="cart")
    await bridge().call(subscribe, created, "room:known")
    return created


def subscribe(created: Created, name: str) -> None:
    Subscription.objects.create(session=created.session, topic=name, created_at=clock.read("default"))


def claim(visitor: Created) -> None:
    ann, _ = get_user_model().objects.get_or_create(username="ann")
    wish = Wish(nonce=new_nonce(), kept=visitor.session.pk, token=refresh_of(visitor))
    assert entering.enter(wish, Evidence(user=ann, stamp=b"s" * 32)).verdict == "claimed"


def revoke(visitor: Created) -> None:
    now = clock.read("default")
    with open_transaction("default"):
        row = ClientSession.objects.select_for_update().get(pk=visitor.session.pk)
        refreshing.raise_auth_version("default", row, now)


def replace(visitor: Created) -> None:
    """Attach all clients of a session again, on another server."""
    for client in list(Client.objects.filter(session=visitor.session.pk)):
        connect = Connect(token=visitor.token.secret, client_id=client.client_id, acked=0, logs={}, agent="")
        (again,) = resume.attach_group([Ask(connect, "another")]).results
        assert isinstance(again, attachments.Attachment), again


CHANGES: dict[Callable[[Created], None], int] = {claim: 4006, revoke: 4006, replace: 4507}


def dump(session: Any) -> dict[str, Any]:
    """Return all rows but the deadlines: whoever writes is active, also if the write is refused."""
    rows = {model.__name__: list(model.objects.order_by("pk").values()) for model in ROWS}
    return rows | {"log": list(SessionActivity.objects.filter(pk=session).values("live", "event_seq"))}


def make_frame(name: str, visitor: Created) -> dict[str, Any]:
    frame = {"type": name.split()[0], **FRAMES[name]}
    return frame | ({"token": refresh_of(visitor)} if frame["type"] == "refresh" else {})


async def prepare(peer: Any, visitor: Created) -> None:
    """Connect a client that has written once, and follows its cart and a topic."""
    await peer.open(visitor.token.secret, logs={"state:cart": None})
    await peer.say(type="subscribe", id=9, log="topic:room:1", position=None)
    await peer.until_type("reply")
    await peer.say(type="update", seq=1, doc="cart", ops=[["inc", "/n", 1]])
    await peer.receipt(1)


def test_every_frame_is_in_the_table() -> None:
    assert {name.split()[0] for name in FRAMES} == scopes.FRAMES.keys()


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
async def test_s05_no_frame_is_carried_out_once_its_connection_may_act_no_more(
    peers: Any, visitor: Created, monkeypatch: pytest.MonkeyPatch, change: Callable[[Created], None]
) -> None:
    # A refresh is proved by its own token: a connection that was replaced may send one, as anybody may over HTTP.
    sockets = {name: peers() for name in FRAMES if (name, change) != ("refresh", replace)}
    for one in sockets.values():
        await prepare(one, visitor)
    other, witness = await bridge().call(make_pair), peers()
    await witness.open(other.token.secret)
    await witness.until_following("topic:room:1")
    with monkeypatch.context() as without_bell:
        without_bell.setattr(Doorbell, "ring", lambda *args: None)
        await bridge().call(change, visitor)
    before, codes = await bridge().call(dump, visitor.session.pk), {}
    # First those that are noticed by themselves: what ends the others ends all.
    names = sorted(sockets, key=UNNOTICED.__contains__)
    told = {name: len(one.seen) for name, one in sockets.items()}
    for name in names:
        await sockets[name].say(**make_frame(name, visitor))
        if name == "refresh":
            await sockets[name].until_type("error")
        if name in UNNOTICED:
            await sockets[name].say(type="ping", id=99)
            await sockets[name].until(lambda frame: frame["type"] == "pong" and frame["id"] == 99)
        else:
            codes[name] = await sockets[name].closed()
    await hub().rounds.check_sessions()
    codes |= {name: await sockets[name].closed() for name in names if name in UNNOTICED}
    assert codes == dict.fromkeys(sockets, CHANGES[change]) | {"connect": 4500, "disconnect": 1000}
    heard = {name: {frame["type"] for frame in one.seen[told[name] :]} - ECHOES for name, one in sockets.items()}
    assert heard == {name: ANSWERS.get(name, set()) for name in sockets}
    await hub().late_writes.flush()
    after = await bridge().call(dump, visitor.session.pk)
    assert {name: rows for name, rows in after.items() if rows != before[name]} == {}
    await witness.say(type="ping", id=1)
    await witness.until_type("pong")
    assert [frame for frame in witness.seen if frame["type"] in ("ephemeral", "entries")] == []


@pytest.fixture
def asking(declared: None, visitor: Created) -> Iterator[None]:
    """Declare functions of the project that take so long that the session is claimed meanwhile."""

    def claim_meanwhile(session: Any, name: str) -> bool:
        claim(visitor)
        return True

    topic("slow:{name}", publish=claim_meanwhile)(claim_meanwhile)

    @on_message
    def answer(session: Any, data: Any) -> Any:
        # On another connection: what a handler writes is undone with it.
        assert run_together(1, lambda _: claim(visitor)) == [None]
        publish("room:1", "by a handler")
        return {}

    yield


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "subscribe", "id": 1, "log": "topic:slow:1", "position": None},
        {"type": "history", "id": 1, "log": "topic:slow:1"},
        {"type": "publish", "topic": "slow:1", "data": "late", "ephemeral": True},
        {"type": "publish", "seq": 1, "topic": "slow:1", "data": "late"},
        {"type": "send", "seq": 1, "data": "late"},
    ],
    ids=lambda frame: f"{frame['type']}{'_ephemeral' if 'ephemeral' in frame else ''}",
)
async def test_s05_no_frame_is_carried_out_whose_session_is_claimed_while_the_application_is_asked(
    peers: Any, visitor: Created, asking: None, frame: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, rings = peers(), []
    await one.open(visitor.token.secret)
    monkeypatch.setattr(Doorbell, "ring", lambda bell, heads, *rest: rings.append(heads))
    await one.say(**frame)
    assert await one.closed() == 4006
    assert {frame["type"] for frame in one.seen} <= {"connected", "bye"}
    after = await bridge().call(dump, visitor.session.pk)
    assert [row["topic"] for row in after["Subscription"]] == ["room:known"]
    assert (after["Publication"], after["Receipt"]) == ([], [])
    assert [heads for heads in rings if stream_key("slow:1") in heads] == []


def unsubscribe(visitor: Created, attached: Attached) -> None:
    subscriptions.remove_subscription(visitor.session.pk, "room:known", attached, gate=nullcontext())


def follow(visitor: Created, attached: Attached) -> None:
    wish = looking.LogWish(visitor.session.pk, {"topic:room:2": None}, frozenset({"room:2"}), attached=attached)
    following.follow_log(wish, "topic:room:2")


def make_document(visitor: Created, attached: Attached) -> None:
    at = clock.read("default")
    bodies.ensure_document("default", visitor.session.pk, "late", most=9, at=at, attached=attached)


def raises_generation(sql: str) -> bool:
    return sql.startswith("UPDATE") and '"generation"' in sql.partition("WHERE")[0]


@pytest.mark.parametrize("verb", [unsubscribe, follow, make_document])
def test_s05_what_waits_for_a_claim_is_not_carried_out_after_it(
    settings: Any, declared: None, verb: Callable[[Created, Attached], None]
) -> None:
    settings.SESSION_MGMT = {"ANONYMOUS_SESSIONS": True}
    visitor = make_pair()
    subscribe(visitor, "room:known")
    client = Client.objects.create(session=visitor.session, generation=1, created_at=clock.read("default"))

    def act() -> Any:
        try:
            verb(visitor, Attached(client.pk, 1))
        except Replaced:
            return (
                list(Subscription.objects.values_list("topic", flat=True)),
                StateDocument.objects.filter(name="late").exists(),
            )

    _, found = run_in_order(partial(claim, visitor), raises_generation, act)
    assert found == (["room:known"], False)


async def test_s05_a_right_to_publish_that_is_believed_ends_with_the_bell_of_the_claim(
    peers: Any, visitor: Created
) -> None:
    one, witness = peers(), peers()
    await one.open(visitor.token.secret)
    await one.until_following("topic:room:1")
    other = await bridge().call(make_pair)
    await witness.open(other.token.secret)
    await witness.until_following("topic:room:1")
    frame = {"type": "publish", "topic": "room:1", "data": "before", "ephemeral": True}
    await one.say(**frame)
    await witness.until_type("ephemeral")
    await bridge().call(claim, visitor)
    await one.say(**frame | {"data": "late"})
    assert await one.closed() == 4005
    await witness.say(type="ping", id=1)
    await witness.until_type("pong")
    assert [frame["data"] for frame in witness.seen if frame["type"] == "ephemeral"] == ["before"]


async def test_s22_a_tab_with_tokens_of_before_is_told_so_though_another_one_has_come_back_here(
    peers: Any, visitor: Created, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would stop for good if it were told that its client had been replaced."""
    one, other = peers(), peers()
    await one.open(visitor.token.secret)
    monkeypatch.setattr(Doorbell, "ring", lambda *args: None)
    pair = await bridge().call(renew, visitor)
    await other.open(pair.access.secret)
    await hub().rounds.check_sessions()
    assert await one.closed() == 4006
    await other.say(type="ping", id=1)
    await other.until_type("pong")


def renew(visitor: Created) -> Pair:
    """Revoke the tokens of a session, and give it new ones."""
    now = clock.read("default")
    with open_transaction("default"):
        row = ClientSession.objects.select_related("activity").get(pk=visitor.session.pk)
        refreshing.raise_auth_version("default", row, now)
        return pairs.start_family("default", row, pairs.begin_family(new_nonce()), now)
