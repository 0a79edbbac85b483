"""Open sockets of users who change: their passwords, their standing, their rights; found by the hub's own rounds."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission

from session_mgmt.actions.sessions import fingerprints, lifecycle
from session_mgmt.actions.sessions.lifecycle import Created
from session_mgmt.backends.doorbell import Doorbell
from session_mgmt.bridge import bridge
from session_mgmt.consumers import log_requests
from session_mgmt.consumers.followings import Followings
from session_mgmt.consumers.hub import hub
from session_mgmt.models import ClientSession, Connection, Login, clock
from session_mgmt.registry import topic
from session_mgmt.shortcuts import access_changed, apublish, terminate_session
from tests.identity.conftest import new_nonce

TOPIC = "topic:members:1"


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no doorbell be heard, as between processes without a channel layer."""
    monkeypatch.setattr(sys.modules[Doorbell.__module__].Doorbell, "ring", lambda *args: None)


@pytest.fixture
def asked(declared: None) -> list[Any]:
    """Declare a topic for members of a group, and tell each question by the user object that it was asked with."""
    users: list[Any] = []

    @topic("members:{number}", publish=lambda session, number: session.user.has_perm("auth.view_group"))
    def may_follow(session: Any, number: str) -> bool:
        users.append(session.user)
        return bool(session.user.has_perm("auth.view_group"))

    @topic("often:{number}", recheck=timedelta(seconds=1))
    def may_follow_often(session: Any, number: str) -> bool:
        return may_follow(session, number)

    return users


def make_member() -> Any:
    user = get_user_model().objects.create_user("ann", password="a password")
    group = Group.objects.create(name="members")
    group.permissions.add(Permission.objects.get(codename="view_group"))
    user.groups.add(group)
    return user


def create_session(user: Any, *, by_login: bool = False) -> Created:
    login = None
    if by_login:
        now = clock.read("default")
        login = Login.objects.create(digest=new_nonce().encode()[:32], user=user, created_at=now, seen_at=now)
    return lifecycle.create_session(user=user, login=login)


@pytest.fixture
async def user(transactional_db: None) -> Any:
    return await bridge().call(make_member)


@pytest.fixture
async def mine(user: Any) -> Created:
    return await bridge().call(create_session, user)


def read_end(created: Created) -> tuple[str, str]:
    row = ClientSession.objects.get(pk=created.session.pk)
    return row.state, row.end_reason


async def hear_denied(peer: Any, log: str = TOPIC) -> dict[str, Any]:
    frame: dict[str, Any] = await peer.until(lambda frame: frame["type"] == "error" and frame.get("log") == log)
    return frame


async def hear_pong(peer: Any) -> list[dict[str, Any]]:
    """Return what a peer has heard up to now."""
    await peer.say(type="ping", id=77)
    await peer.until_type("pong")
    seen: list[dict[str, Any]] = peer.seen
    return seen


# -- credentials -------------------------------------------------------------------------------------------------------


async def test_s22_a_bulk_update_of_the_password_closes_with_4006_and_leaves_ten_minutes(
    peers: Any, user: Any, deaf: None
) -> None:
    created = await bridge().call(create_session, user, by_login=True)
    one, two = peers(), peers()
    for peer in (one, two):
        await peer.open(created.token.secret)
    await bridge().call(lambda: get_user_model().objects.update(password="!"))
    await hub().rounds.check_sessions()
    assert [await one.closed(), await two.closed()] == [4006, 4006]
    await hub().rounds.settle_sessions()
    row = await bridge().call(lambda: ClientSession.objects.select_related("activity").get(pk=created.session.pk))
    left = row.activity.expires_at - await bridge().call(clock.read, "default")
    assert row.state == "active" and timedelta(minutes=9) < left <= timedelta(minutes=10)


async def test_s22_without_a_login_the_session_is_over(peers: Any, user: Any, mine: Created, deaf: None) -> None:
    one = peers()
    await one.open(mine.token.secret)
    await bridge().call(lambda: get_user_model().objects.update(password="!"))
    await hub().rounds.check_sessions()
    assert await one.closed() == 4503
    await hub().rounds.settle_sessions()
    assert await bridge().call(read_end, mine) == ("terminated", "credentials_changed")


async def test_a_session_that_was_bound_anew_goes_on_and_the_round_after_is_quiet_again(
    peers: Any, user: Any, mine: Created, deaf: None
) -> None:
    from session_mgmt.actions.sessions import controls
    from session_mgmt.shortcuts import rebind_session

    one = peers()
    await one.open(mine.token.secret)

    def change() -> None:
        user.set_password("another")
        user.save()
        rebind_session(mine.session.pk, user)

    await bridge().call(change)
    await hub().rounds.check_sessions()
    await hear_pong(one)
    known = hub().serving.list_known([mine.session.pk])
    assert await bridge().call(controls.find_controls, known) == {}


async def test_with_the_bell_a_saved_user_is_looked_at_without_a_round(peers: Any, user: Any, mine: Created) -> None:
    one = peers()
    await one.open(mine.token.secret)

    def deactivate() -> None:
        user.is_active = False
        user.save()

    await bridge().call(deactivate)
    assert await one.closed() == 4503


async def test_a_quiet_round_hashes_nothing_and_makes_no_object(
    peers: Any, user: Any, deaf: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [await bridge().call(create_session, user) for _ in range(3)]
    for created in made:
        await peers().open(created.token.secret)
    hashed: list[Any] = []
    monkeypatch.setattr(fingerprints, "_hash_user", hashed.append)
    monkeypatch.setattr(fingerprints, "list_by_password", hashed.append)
    monkeypatch.setattr(get_user_model(), "from_db", hashed.append)
    await hub().rounds.check_sessions()
    assert hashed == []


# -- standing ----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("ASVS 7.4.2")
async def test_s25_a_bulk_deactivation_closes_within_a_round(peers: Any, user: Any, mine: Created, deaf: None) -> None:
    one = peers()
    await one.open(mine.token.secret)
    await bridge().call(lambda: get_user_model().objects.update(is_active=False))
    await hub().rounds.check_sessions()
    assert await one.closed() == 4503
    await hub().rounds.settle_sessions()
    assert await bridge().call(read_end, mine) == ("terminated", "user_deactivated")


@pytest.mark.parametrize("way_", ["the bell", "the round"])
async def test_s25_a_deleted_user_with_a_writing_tab_ends_without_an_error(
    peers: Any, user: Any, mine: Created, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, way_: str
) -> None:
    one = peers()
    await one.open(mine.token.secret, logs={"state:main": None})
    if way_ == "the round":
        monkeypatch.setattr(sys.modules[Doorbell.__module__].Doorbell, "ring", lambda *args: None)
    for seq in range(1, 20):
        await one.say(type="update", seq=seq, doc="main", ops=[["set", "/a", seq]])
        if seq == 10:
            deletion = asyncio.ensure_future(bridge().call(user.delete))
    await deletion
    await hub().rounds.check_sessions()
    assert await one.closed() == 4503
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("round_", ["check_positions", "flush_leases", "check_sessions"])
async def test_whatever_row_is_missed_first_a_deleted_session_is_told(
    peers: Any, user: Any, mine: Created, deaf: None, round_: str
) -> None:
    one = peers()
    await one.open(mine.token.secret, logs={"state:main": None, "session": None})
    await one.until_following("state:main")
    await bridge().call(user.delete)
    await getattr(hub().rounds, round_)()
    assert await one.closed() == 4503


async def test_a_session_that_ends_after_a_sweep_has_closed_its_connection_is_told(
    peers: Any, mine: Created, deaf: None
) -> None:
    one = peers()
    await one.open(mine.token.secret)
    now = await bridge().call(clock.read, "default")
    await bridge().call(lambda: Connection.objects.update(closed_at=now, closed_by="lease", close_code=None))
    await bridge().call(terminate_session, mine.session)
    await hub().rounds.flush_leases()
    assert await one.closed() == 4503


async def test_a_login_that_was_ended_in_the_table_alone_ends_its_sessions(peers: Any, user: Any, deaf: None) -> None:
    created = await bridge().call(create_session, user, by_login=True)
    one = peers()
    await one.open(created.token.secret)
    now = await bridge().call(clock.read, "default")
    await bridge().call(lambda: Login.objects.update(ended_at=now, end_reason="by hand"))
    await hub().rounds.check_sessions()
    assert await one.closed() == 4503
    await hub().rounds.settle_sessions()
    assert await bridge().call(read_end, created) == ("terminated", "by hand")


async def test_what_could_not_be_written_is_tried_again(
    peers: Any, user: Any, mine: Created, deaf: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from session_mgmt.actions.sessions import standing
    from session_mgmt.exceptions import Unavailable

    one = peers()
    await one.open(mine.token.secret)
    await bridge().call(lambda: get_user_model().objects.update(is_active=False))
    real = standing.settle_sessions

    def fail(*_: Any) -> None:
        raise Unavailable()

    monkeypatch.setattr(standing, "settle_sessions", fail)
    await hub().rounds.check_sessions()
    assert await one.closed() == 4503
    with pytest.raises(Unavailable):
        await hub().rounds.settle_sessions()
    monkeypatch.setattr(standing, "settle_sessions", real)
    await hub().rounds.settle_sessions()
    assert await bridge().call(read_end, mine) == ("terminated", "user_deactivated")


# -- rights ------------------------------------------------------------------------------------------------------------


def leave_group(user: Any) -> None:
    user.groups.clear()


@pytest.mark.parametrize("with_bell", [True, False])
@pytest.mark.requirement("ASVS 8.3.2")
async def test_s26_a_group_that_is_taken_away_stops_delivery_on_every_tab(
    peers: Any, user: Any, mine: Created, asked: list[Any], with_bell: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = peers(), peers()
    for peer in (one, two):
        await peer.open(mine.token.secret, logs={TOPIC: None, "topic:room:1": None})
    if not with_bell:
        monkeypatch.setattr(sys.modules[Doorbell.__module__].Doorbell, "ring", lambda *args: None)
    await bridge().call(leave_group, user)
    if not with_bell:
        await hub().rounds.check_sessions()
    for peer in (one, two):
        denied = await hear_denied(peer)
        assert (denied["name"], denied["temporary"]) == ("topic_denied", False)
    await apublish("members:1", "for members")
    await apublish("room:1", "for everybody")
    await hub().rounds.check_positions()
    # The other topic goes on.
    assert [entry[2] for entry in await one.entry("topic:room:1")] == ["for everybody"]
    assert not [f for f in await hear_pong(one) if f["type"] == "entries" and f["log"] == TOPIC]
    # Whoever asks again is told the same.
    await one.say(type="subscribe", id=5, log=TOPIC, position=None)
    assert (await one.until_type("error"))["name"] == "topic_denied"


async def test_s26_the_question_is_asked_with_a_user_that_was_read_for_it(
    peers: Any, user: Any, mine: Created, asked: list[Any]
) -> None:
    one = peers()
    await one.open(mine.token.secret, logs={TOPIC: None})
    # Before the change, or the answer for the connect would be on its way and be asked for again as well.
    await one.until_following("topic:room:1")
    await bridge().call(access_changed, user)
    await _until(lambda: len(asked) == 2)
    assert asked[0] is not asked[1]
    assert TOPIC in _followed()


async def test_s26_a_change_that_nobody_tells_is_found_at_the_recheck(
    peers: Any, user: Any, mine: Created, asked: list[Any], deaf: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = peers()
    often = "topic:often:1"
    await one.open(mine.token.secret, logs={TOPIC: None, often: None})
    await bridge().call(lambda: Group.permissions.through.objects.all().delete())
    await hub().rounds.check_sessions()
    assert {TOPIC, often} <= _followed()
    loop = asyncio.get_running_loop()
    rechecks, began = hub().rechecks, loop.time()
    hub().arrivals.grants.forget(mine.session.pk)
    monkeypatch.setattr(rechecks, "_clock", lambda: began + 2)
    await rechecks.ask_due()
    assert (await hear_denied(one, often))["name"] == "topic_denied"
    assert TOPIC in _followed()
    hub().arrivals.grants.forget(mine.session.pk)
    monkeypatch.setattr(rechecks, "_clock", lambda: began + 301)
    await rechecks.ask_due()
    assert (await hear_denied(one))["name"] == "topic_denied"


async def test_s26_an_answer_on_its_way_while_rights_change_is_asked_again(
    peers: Any, user: Any, mine: Created, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application has said yes, then the right goes, then the log is followed."""
    one = peers()
    await one.open(mine.token.secret)
    served = next(iter(hub().serving.connections))
    join = Followings.join

    def join_late(followings: Followings, log: Any) -> Any:
        # The round has seen the change while the answer was on its way.
        known = hub().serving._known
        if followings is served.followings and log.name == TOPIC and known[mine.session.pk].access_version == 1:
            known[mine.session.pk] = known[mine.session.pk]._replace(access_version=2)
        return join(followings, log)

    monkeypatch.setattr(Followings, "join", join_late)
    await one.say(type="subscribe", id=5, log=TOPIC, position=None)
    await one.until_type("reply")
    await _until(lambda: len(asked) == 2)


async def test_s26_a_client_attached_by_the_answers_of_before_is_asked_about_again(
    peers: Any, user: Any, mine: Created, asked: list[Any], deaf: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The right goes between the question and the transaction that attaches the client."""
    from session_mgmt.consumers.arrivals import Arrivals

    ask = Arrivals._ask_application

    async def ask_and_wait(arrivals: Any, group: Any) -> Any:
        found = await ask(arrivals, group)
        await arrivals.grants.wait([arrival.question for arrival in found])
        if found:
            await bridge().call(leave_group, user)
        return found

    monkeypatch.setattr(Arrivals, "_ask_application", ask_and_wait)
    one = peers()
    connected = await one.open(mine.token.secret, logs={TOPIC: None})
    assert connected["logs"][TOPIC]["mode"] != "denied"
    await hub().rounds.check_sessions()
    assert (await hear_denied(one))["name"] == "topic_denied"


async def test_s26_an_answer_that_is_kept_is_not_given_after_the_rights_have_changed(
    peers: Any, user: Any, mine: Created, asked: list[Any], deaf: None
) -> None:
    await peers().open(mine.token.secret, logs={TOPIC: None})
    await bridge().call(leave_group, user)
    connected = await peers().open(mine.token.secret, logs={TOPIC: None})
    assert connected["logs"][TOPIC]["mode"] == "denied"


async def test_s26_the_right_to_publish_is_asked_about_again(
    peers: Any, user: Any, mine: Created, asked: list[Any]
) -> None:
    one = peers()
    await one.open(mine.token.secret, logs={TOPIC: None})
    await one.say(type="publish", seq=1, topic="members:1", data="a")
    assert (await one.receipt(1)).get("error") is None
    await bridge().call(leave_group, user)
    await hear_denied(one)
    await one.say(type="publish", seq=2, topic="members:1", data="b")
    assert "publish_denied" in str(await one.receipt(2))


class Turn(asyncio.Lock):
    """Lock that tells that somebody wants it."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted = asyncio.Event()

    async def acquire(self) -> Literal[True]:
        self.wanted.set()
        return await super().acquire()


@pytest.mark.parametrize("takes_long", [False, True])
async def test_s26_a_page_that_waits_for_its_reader_is_not_given_after_the_right_is_gone(
    peers: Any, user: Any, mine: Created, asked: list[Any], takes_long: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that does not read holds up its own page, and could have what was published since."""
    one = peers()
    await one.open(mine.token.secret)
    served = next(iter(hub().serving.connections))
    turn = served.replay_turn = Turn()
    async with turn:
        turn.wanted.clear()
        if takes_long:
            monkeypatch.setattr(log_requests, "KEPT_SECONDS", 0.0)
        await one.say(type="history", id=5, log=TOPIC)
        await asyncio.wait_for(turn.wanted.wait(), 60)
        if takes_long:
            # Nobody tells of this change.
            await bridge().call(lambda: Group.permissions.through.objects.all().delete())
        else:
            await bridge().call(leave_group, user)
            await hub().rounds.check_sessions()
        await apublish("members:1", "for members")
    answer = await one.until(lambda frame: frame.get("id") == 5)
    assert (answer["type"], answer.get("name")) == ("error", "topic_denied")


def _followed() -> set[str]:
    return {name for served in hub().serving.connections for name in served.followings}


async def _until(is_so: Callable[[], bool]) -> None:
    """Wait for the tasks of the hub, one after the other, until something is so."""
    async with asyncio.timeout(60):
        while not is_so():
            await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()}, return_when=asyncio.FIRST_COMPLETED)
