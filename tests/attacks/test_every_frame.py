"""Attacks by every frame of the table of scopes, so that a new one is under attack as soon as it is in the table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from django.contrib.auth import get_user_model

from session_mgmt.actions.access import SERVER
from session_mgmt.actions.sessions import lifecycle
from session_mgmt.actions.sessions.lifecycle import Created
from session_mgmt.backends.doorbell import Doorbell
from session_mgmt.bridge import bridge
from session_mgmt.consumers.hub import hub
from session_mgmt.exceptions import list_errors
from session_mgmt.models import Client as ClientRow
from session_mgmt.models import ClientSession, SessionActivity, SessionEvent, StateDocument, Subscription, Token
from session_mgmt.protocol import scopes
from session_mgmt.registry import topic
from session_mgmt.shortcuts import apublish, state
from tests.identity.conftest import make_pair, new_nonce, refresh_of

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "of-alice-alone"
CODES = {error.name: error.number for error in list_errors()}
# Frames that are answered by what is the sender's own, or not at all.
HARMLESS = {"ack", "ping", "pong", "unsubscribe", "leave", "configure", "disconnect"}
REFUSED = {
    "connect": "invalid_frame",
    "subscribe": "topic_denied",
    "history": "topic_denied",
    "enter": "topic_denied",
    "members": "topic_denied",
    "value": "topic_denied",
    "update": "epoch_changed",
    "publish": "publish_denied",
    "send": "handler_failed",
    "refresh": "invalid_token",
}
ENDED = dict.fromkeys((*REFUSED, "unsubscribe", "leave"), "session_terminated") | {"connect": "invalid_frame"}
ANSWERS = ("pong", "receipt", "reply", "error", "bye")
NUMBERED = ("update", "publish", "send")
# An update that is asked for again keeps its number, and a second connect ends the connection.
LAST = ("update", "connect")


@dataclass(frozen=True)
class Owned:
    """All that Alice has: her session, a client of it, a document, and a topic that only she may follow."""

    created: Created
    client: str
    document: dict[str, Any]
    topic: str

    def make_frame(self, kind: str, number: int) -> dict[str, Any]:
        """Return a frame that names her things in every field that any frame has."""
        return {
            "type": kind,
            "id": number,
            "seq": number,
            "ping": number,
            "session": str(self.created.session.pk),
            "session_id": str(self.created.session.pk),
            "client_id": self.client,
            "user": str(self.created.session.user_id),
            "token": refresh_of(self.created),
            "nonce": new_nonce(),
            "log": f"topic:{self.topic}",
            "topic": self.topic,
            "doc": "main",
            "data": SECRET[:8],
            "strategy": "client_wins",
            **self.document,
        }


def make_alice() -> Created:
    return make_pair(get_user_model().objects.create_user("alice", password="a password"), metadata={"of": SECRET})


def gather_owned(created: Created) -> Owned:
    row = StateDocument.objects.get(session=created.session)
    at = created.session.created_at
    client = ClientRow.objects.create(session=created.session, created_at=at)
    name = f"private:{created.session.user_id}"
    Subscription.objects.create(session=created.session, topic=name, created_at=at)
    return Owned(created, client.client_id, {"base": row.version, "epoch": row.epoch}, name)


def make_bob() -> Created:
    return make_pair(get_user_model().objects.create_user("bob", password="a password"))


@pytest.fixture
def private(declared: None) -> Iterator[None]:
    """Declare a topic of each user's own; what was declared before comes back with ``declared``."""

    def is_theirs(session: Any, user: str) -> bool:
        return str(session.user_id) == user

    topic("private:{user}", publish=is_theirs, presence=True)(is_theirs)
    yield


@pytest.fixture
async def hers(transactional_db: None, private: None) -> Owned:
    created = await bridge().call(make_alice)
    await state.areplace(created.session, {"of": SECRET})
    owned = await bridge().call(gather_owned, created)
    await apublish(owned.topic, SECRET)
    return owned


@pytest.fixture
async def bobs(transactional_db: None) -> Created:
    return await bridge().call(make_bob)


def dump_rows_of(session: Any) -> dict[str, list[dict[str, Any]]]:
    """Return all rows of a session."""
    found = {"ClientSession": list(ClientSession.objects.filter(pk=session).values())}
    for model in (SessionActivity, StateDocument, ClientRow, Subscription, Token, SessionEvent):
        found[model.__name__] = list(model.objects.filter(session=session).order_by("pk").values())
    return found


def list_kinds() -> list[str]:
    """Return all kinds but ``disconnect``, which has a connection of its own, in an order that lets each be judged."""
    return sorted(scopes.FRAMES.keys() - {"disconnect"}, key=lambda kind: (kind in LAST, kind == "connect", kind))


def name_refusal(frame: dict[str, Any]) -> str | None:
    """Return the name of a documented refusal; ``None`` for any other answer."""
    error = frame if frame["type"] == "error" else frame.get("error")
    if error is None:
        return None
    assert CODES[error["name"]] == error["code"], frame
    return str(error["name"])


def name_end(frame: dict[str, Any]) -> str | None:
    return str(frame["name"]) if frame["type"] == "bye" else name_refusal(frame)


async def hear_answer(peer: Any, kind: str, number: int = 1) -> dict[str, Any]:
    """Return what the server answers to a frame; an unknown kind must be refused."""
    if kind in ("ack", "pong"):
        await peer.say(type="ping", id=number)
    return dict(await peer.until(lambda frame: frame["type"] in ANSWERS))


async def attack(peer: Any, hers: Owned, kind: str, number: int) -> str | None:
    await peer.say(**hers.make_frame(kind, number))
    return name_refusal(await hear_answer(peer, kind, number))


def require_untold(peer: Any) -> None:
    assert SECRET not in orjson.dumps(peer.seen).decode()


@pytest.mark.requirement("ASVS 8.2.2", "CVE-2023-28858")
async def test_no_frame_reaches_what_is_somebody_elses(peers: Any, hers: Owned, bobs: Created) -> None:
    before = await bridge().call(dump_rows_of, hers.created.session.pk)
    number, answers = 0, {}
    peer = peers()
    await peer.open(bobs.token.secret)
    for kind in list_kinds():
        number += kind in NUMBERED
        answers[kind] = await attack(peer, hers, kind, number)
    assert await peer.closed() == 4500
    leaving = peers()
    await leaving.open(bobs.token.secret)
    answers["disconnect"] = await attack(leaving, hers, "disconnect", 1)
    assert answers.keys() == scopes.FRAMES.keys()
    assert {kind: name for kind, name in answers.items() if kind not in HARMLESS} == REFUSED
    assert {answers[kind] for kind in HARMLESS} == {None}
    for one in (peer, leaving):
        require_untold(one)
    assert await bridge().call(dump_rows_of, hers.created.session.pk) == before


async def test_names_that_somebody_else_has_too_are_the_callers_own(peers: Any, hers: Owned, bobs: Created) -> None:
    before = await bridge().call(dump_rows_of, hers.created.session.pk)
    peer = peers()
    names = ("state:main", f"session:{hers.created.session.pk}", f"topic:{hers.topic}")
    names += (f"state:{hers.created.session.pk}/main", "topic:private:1:2")
    connected = await peer.open(bobs.token.secret, logs=dict.fromkeys(names))
    modes = {name: connected["logs"][name]["mode"] for name in names}
    assert modes.pop("state:main") != "denied"
    assert modes.pop(f"state:{hers.created.session.pk}/main") in ("denied", "absent", "replay", "snapshot", "live")
    assert set(modes.values()) == {"denied"}
    await peer.say(type="update", seq=1, doc="main", data={"of": "bob"})
    assert (await peer.receipt(1))["position"][1] == 1
    await peer.say(type="publish", topic=hers.topic, data="x", ephemeral=True)
    assert (await peer.until_type("error"))["name"] == "publish_denied"
    require_untold(peer)
    assert await bridge().call(dump_rows_of, hers.created.session.pk) == before


@pytest.mark.requirement("ASVS 4.4.3")
async def test_connect_proves_one_session_and_names_no_other(peers: Any, hers: Owned, bobs: Created) -> None:
    before = await bridge().call(dump_rows_of, hers.created.session.pk)
    for client in (hers.client, "c_of_nobody"):
        peer = peers()
        assert (await peer.open(bobs.token.secret, client_id=client))["name"] == "client_forgotten"
        assert await peer.closed() == 4508
    for text in (str(hers.created.session.pk), hers.client, "smr_" + "x" * 43, "sma_" + "x" * 43):
        peer = peers()
        assert (await peer.open(text))["name"] == "invalid_token"
        assert await peer.closed() == 4501
    peer = peers()
    await peer.handshake()
    frame = {**hers.make_frame("connect", 1), "token": bobs.token.secret, "client_id": None, "logs": {}}
    del frame["user"]
    await peer.say(**frame)
    assert (await peer.next())["session"]["session_id"] == str(bobs.session.pk)
    require_untold(peer)
    assert await bridge().call(dump_rows_of, hers.created.session.pk) == before


async def test_before_connect_every_frame_is_refused_and_ends_the_connection(peers: Any, hers: Owned) -> None:
    before = await bridge().call(dump_rows_of, hers.created.session.pk)
    for kind in scopes.FRAMES.keys() - {"connect"}:
        peer = peers()
        await peer.handshake()
        await peer.say(**hers.make_frame(kind, 1))
        assert (name_refusal(await peer.next()), await peer.closed()) == ("invalid_frame", 4500), kind
        assert [frame["type"] for frame in peer.seen] == ["error", "bye"], kind
        require_untold(peer)
    assert await bridge().call(dump_rows_of, hers.created.session.pk) == before


@pytest.mark.requirement("ASVS 7.4.1")
async def test_after_the_end_no_frame_does_anything(peers: Any, hers: Owned, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end is in the table, and no doorbell has told this process: its sockets are still open."""
    mine = hers.created
    sockets = {kind: peers() for kind in scopes.FRAMES}
    for one in sockets.values():
        await one.open(mine.token.secret)
    monkeypatch.setattr(Doorbell, "ring", lambda *args: None)
    await bridge().call(lifecycle.terminate_session, SERVER, mine.session.pk)
    before = await bridge().call(dump_rows_of, mine.session.pk)
    answers = {}
    for kind, one in sockets.items():
        await one.say(**hers.make_frame(kind, 1))
        answers[kind] = name_end(await hear_answer(one, kind))
    assert {kind: name for kind, name in answers.items() if kind not in HARMLESS - {"unsubscribe", "leave"}} == ENDED
    await hub().rounds.check_sessions()
    codes = {kind: await one.closed() for kind, one in sockets.items()}
    assert codes == dict.fromkeys(scopes.FRAMES, 4503) | {"connect": 4500, "disconnect": 1000}
    again = peers()
    assert (await again.open(mine.token.secret))["name"] == "session_terminated"
    assert await again.closed() == 4503
    after = await bridge().call(dump_rows_of, mine.session.pk)
    assert after == before
