"""Presence: who is there in a topic, told in one entry a second, and nothing told of a drop that is short."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import orjson
import pytest

from session_mgmt.actions import cleanup
from session_mgmt.actions.clients import Attached
from session_mgmt.actions.sessions import leaving, lifecycle
from session_mgmt.actions.sessions.lifecycle import Created, Device
from session_mgmt.actions.topics import retention, telling
from session_mgmt.actions.topics.presence import Move, hide_session, move_all
from session_mgmt.actions.trimming import Queue
from session_mgmt.bridge import bridge
from session_mgmt.conf import settings
from session_mgmt.consumers.hub import hub
from session_mgmt.consumers.presence import Presences
from session_mgmt.exceptions import InvalidField
from session_mgmt.models import Attendance, Client, Connection, Member, Publication, Stream, clock
from session_mgmt.registry import Presence, registry, topic
from session_mgmt.shortcuts import amembers, members, publish

pytestmark = pytest.mark.django_db(transaction=True)
HALL, SEEN = "topic:hall:1", "topic:presence:hall:1"
GRACE = timedelta(seconds=10)


@pytest.fixture(autouse=True)
def halls(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Topics with presence, of which nothing is told or ended but by the test."""

    async def rest(self: Presences) -> None:
        """Do nothing in rounds."""

    monkeypatch.setattr(Presences, "tell", rest)
    before = list(registry.topics)

    @topic("hall:{name}", presence=True)
    def open_hall(session: Any, name: str) -> bool:
        return name != "closed"

    @topic("club:{name}", presence=Presence(member=lambda session, name: session.label or None, members_shown=3))
    def open_club(session: Any, name: str) -> bool:
        return True

    @topic("booth:{name}", presence=Presence(may_see=lambda session, name: session.label == "staff", data_bytes=10))
    def open_booth(session: Any, name: str) -> bool:
        return True

    @topic("broken:{name}", presence=Presence(member=lambda session, name: {}[name]))
    def open_broken(session: Any, name: str) -> bool:
        return True

    @topic("gate:{name}", presence=Presence(grace=timedelta(seconds=2)))
    def open_gate(session: Any, name: str) -> bool:
        return True

    @topic("mute:{name}")
    def open_mute(session: Any, name: str) -> bool:
        return True

    yield
    registry.topics[:] = before


def make(label: str = "") -> Created:
    return lifecycle.create_session(device=Device(label))


async def tell(now: datetime | None = None, **later: float) -> int:
    """Do what every process does each second, at a moment."""
    now = now or await bridge().read(clock.read, "default")

    def work(at: datetime) -> int:
        leaving.remove_gone(leaving.find_gone(now=at), leaving.find_unattended(), now=at)
        return telling.tell_changes(now=at)

    return int(await bridge().call(work, now + timedelta(**later)))


async def ask(peer: Any, type_: str, log: str = HALL, **more: Any) -> dict[str, Any]:
    peer.asked = getattr(peer, "asked", 20) + 1
    await peer.say(type=type_, id=peer.asked, log=log, **more)
    return dict(await peer.until(lambda frame: frame.get("id") == peer.asked))


def read_entries(name: str = "presence:hall:1") -> list[dict[str, Any]]:
    rows = Publication.objects.filter(stream__topic=name).order_by("offset").values_list("data", flat=True)
    return [orjson.loads(bytes(data)) for data in rows]


async def entries(name: str = "presence:hall:1") -> list[dict[str, Any]]:
    return list(await bridge().read(read_entries, name))


async def test_followers_are_told_who_comes_says_something_and_goes(peers: Any) -> None:
    one, two = await bridge().call(make), await bridge().call(make)
    watcher, guest = peers(), peers()
    await watcher.open(one.token.secret, logs={HALL: None, SEEN: None})
    await guest.open(two.token.secret)
    member = (await ask(guest, "enter", data={"name": "Ann"}))["member"]
    assert member == hide_session(two.session.pk, "hall:1") and two.session.pk.hex not in member
    assert (await ask(watcher, "members"))["members"] == {}
    assert await tell() == 1
    ((offset, _, told),) = await watcher.entry(SEEN)
    assert (offset, told["count"], told["left"], told["changed"]) == (1, 1, [], {})
    assert told["joined"][member]["data"] == {"name": "Ann"}
    found = await ask(watcher, "members")
    assert (found["position"][1], found["count"], found["members"]) == (1, 1, told["joined"])
    # The same again is no news, and other data is.
    await ask(guest, "enter", data={"name": "Ann"})
    assert await tell(seconds=2) == 0
    await ask(guest, "enter", data={"name": "Bob"})
    assert await tell(seconds=4) == 1
    ((_, _, told),) = await watcher.entry(SEEN)
    assert (told["joined"], told["changed"][member]["data"], told["count"]) == ({}, {"name": "Bob"}, 1)
    await ask(guest, "leave")
    assert await tell(seconds=6) == 1
    ((_, _, told),) = await watcher.entry(SEEN)
    assert told == {"joined": {}, "changed": {}, "left": [member], "count": 0}
    assert (await ask(watcher, "members"))["members"] == {}
    assert await bridge().read(Member.objects.count) == await bridge().read(Attendance.objects.count) == 0


async def test_changes_of_one_second_are_one_entry_and_what_came_to_nothing_is_none(peers: Any) -> None:
    guests = [await bridge().call(make) for _ in range(3)]
    sockets = []
    for created in guests:
        sockets.append(peers())
        await sockets[-1].open(created.token.secret)
    for socket in sockets:
        await ask(socket, "enter")
    now = await bridge().read(clock.read, "default")
    assert await tell(now) == 1
    await ask(sockets[0], "leave")
    # Half a second after the last entry nothing is told; what goes on meanwhile is gathered.
    assert await tell(now, seconds=0.5) == 0
    await ask(sockets[1], "leave")
    await ask(sockets[2], "leave")
    await ask(sockets[2], "enter")
    assert await tell(now, seconds=1.5) == 1
    told = await entries()
    assert [len(entry["joined"]) for entry in told] == [3, 0]
    assert set(told[1]["left"]) == {hide_session(created.session.pk, "hall:1") for created in guests[:2]}
    assert told[1]["count"] == 1
    # In and out between two entries.
    await ask(sockets[0], "enter")
    await ask(sockets[0], "leave")
    assert await tell(now, seconds=9) == 0 and len(await entries()) == 2


async def test_a_clock_that_is_set_back_keeps_nobody_waiting_for_the_moment_of_the_last_entry(peers: Any) -> None:
    one, two = peers(), peers()
    await one.open((await bridge().call(make)).token.secret)
    await two.open((await bridge().call(make)).token.secret)
    await ask(one, "enter")
    ahead = await bridge().read(clock.read, "default") + timedelta(hours=1)
    assert await bridge().call(telling.tell_changes, now=ahead) == 1
    await ask(two, "enter")
    assert await tell() == 1


async def test_a_drop_within_the_grace_tells_nothing_and_a_longer_one_tells_once(peers: Any) -> None:
    created = await bridge().call(make)
    guest = peers()
    client = (await guest.open(created.token.secret))["client_id"]
    await ask(guest, "enter", data=1)
    assert await tell() == 1
    await guest.drop()
    await until_closed()
    now = await bridge().read(clock.read, "default")
    assert await tell(now, seconds=5) == 0
    # It comes back: the row of its presence was never touched.
    back = peers()
    await back.open(created.token.secret, client_id=client)
    assert await tell(now, seconds=30) == 0 and (await amembers("hall:1")).count == 1
    await back.drop()
    await until_closed()
    now = await bridge().read(clock.read, "default")
    assert await tell(now, seconds=9) == 0
    assert await tell(now, seconds=11) == 1
    assert await tell(now, seconds=13) == 0
    assert [entry["count"] for entry in await entries()] == [1, 0]


async def test_each_topic_has_its_own_grace(peers: Any) -> None:
    created = await bridge().call(make)
    guest = peers()
    await guest.open(created.token.secret)
    for log in (HALL, "topic:gate:1"):
        await ask(guest, "enter", log, data=1)
    assert await tell() == 2
    await guest.drop()
    await until_closed()
    assert await tell(seconds=5) == 1
    assert [(await amembers(name)).count for name in ("gate:1", "hall:1")] == [0, 1]


async def until_closed() -> None:
    """Wait until the end of every connection that has ended is written."""
    await hub().late_writes.flush()


async def test_the_tabs_of_one_person_are_one_member(peers: Any) -> None:
    phone, laptop = await bridge().call(make, "ann"), await bridge().call(make, "ann")
    tabs = []
    for created in (phone, laptop, laptop):
        tabs.append(peers())
        await tabs[-1].open(created.token.secret)
        assert (await ask(tabs[-1], "enter", "topic:club:1", data=len(tabs)))["member"] == "ann"
    assert await tell() == 1
    found = await amembers("club:1")
    assert found.count == 1 and found.rows is not None and found.rows["ann"]["data"] == 3
    for tab in tabs[:2]:
        await tab.leave()
    await until_closed()
    assert await tell(seconds=60) == 0 and (await amembers("club:1")).count == 1
    await tabs[2].leave()
    await until_closed()
    assert await tell(seconds=60) == 1 and (await amembers("club:1")).count == 0


async def test_above_members_shown_only_the_number_is_told_and_below_it_the_list_comes_again(peers: Any) -> None:
    sockets = []
    for number in range(5):
        created = await bridge().call(make, f"p{number}")
        sockets.append(peers())
        await sockets[-1].open(created.token.secret)
    name, now = "presence:club:1", await bridge().read(clock.read, "default")
    log = "topic:club:1"
    for number, socket in enumerate(sockets):
        await ask(socket, "enter", log)
        await tell(now, seconds=2 * number)
    told = await entries(name)
    assert [entry["count"] for entry in told] == [1, 2, 3, 4, 5]
    assert [list(entry) for entry in told[3:]] == [["count"], ["count"]]
    assert (await amembers("club:1")).rows is None and (await amembers("club:1")).count == 5
    assert (await ask(sockets[0], "members", log))["members"] is None
    # What one of many says of itself is told to nobody.
    await ask(sockets[0], "enter", log, data="new")
    assert await tell(now, seconds=20) == 0
    # Not at the limit itself, where each who comes or goes would have the whole list sent.
    for number in (4, 3, 2):
        await ask(sockets[number], "leave", log)
        await tell(now, seconds=30 - 2 * number)
    told = (await entries(name))[5:]
    assert [entry["count"] for entry in told] == [4, 3, 2] and [list(entry) for entry in told[:2]] == [["count"]] * 2
    assert {member: row["data"] for member, row in told[2]["members"].items()} == {"p0": "new", "p1": None}
    assert (await amembers("club:1")).rows == told[2]["members"]


async def test_all_of_a_dead_server_leave_in_one_entry_and_those_who_came_back_stay(peers: Any) -> None:
    created = [await bridge().call(make) for _ in range(4)]
    clients, sockets = [], []
    for one in created:
        sockets.append(peers())
        clients.append((await sockets[-1].open(one.token.secret))["client_id"])
        await ask(sockets[-1], "enter")
    now = await bridge().read(clock.read, "default")
    assert await tell(now) == 1
    # Two of them are on a server that dies, one of which came a flush later.
    names = [hide_session(one.session.pk, "hall:1") for one in created]
    lease = settings().lease_duration

    def move_to_other_server() -> None:
        for index, later in ((0, 0.0), (1, 9.0)):
            mine = Connection.objects.filter(session=created[index].session)
            mine.update(server="dead", lease_expires_at=now + lease + timedelta(seconds=later))
        Connection.objects.exclude(server="dead").update(lease_expires_at=now + 10 * lease)

    await bridge().call(move_to_other_server)
    over = lease + GRACE
    assert await tell(now + over, seconds=-1) == 0
    assert await tell(now + over, seconds=1) == 1
    assert await tell(now + over, seconds=20) == 0
    told = await entries()
    assert set(told[-1]["left"]) == set(names[:2]) and told[-1]["count"] == 2
    # The other two live, and nothing was told of them.
    assert set((await amembers("hall:1")).rows or {}) == set(names[2:])


async def test_a_single_lapsed_client_over_http_takes_nobody_along(peers: Any) -> None:
    created = [await bridge().call(make) for _ in range(2)]
    for one in created:
        peer = peers()
        await peer.open(one.token.secret)
        await ask(peer, "enter")
    now = await bridge().read(clock.read, "default")
    assert await tell(now) == 1

    def let_lapse() -> None:
        Connection.objects.update(transport="longpoll", lease_expires_at=now + timedelta(seconds=60))
        Connection.objects.filter(session=created[0].session).update(lease_expires_at=now)

    await bridge().call(let_lapse)
    assert await tell(now, seconds=15) == 1
    assert (await entries())[-1]["left"] == [hide_session(created[0].session.pk, "hall:1")]


async def test_a_tab_that_shares_a_connection_stays_while_its_session_has_one(peers: Any) -> None:
    created = await bridge().call(make)
    leader, follower = peers(), peers()
    await leader.open(created.token.secret)
    await follower.open(created.token.secret)
    await ask(follower, "enter")
    now = await bridge().read(clock.read, "default")
    assert await tell(now) == 1

    def attach_without_connection() -> None:
        attendance = Attendance.objects.get()
        Connection.objects.filter(client=attendance.client).delete()

    await bridge().call(attach_without_connection)
    assert await tell(now, seconds=60) == 0
    await bridge().call(lambda: Connection.objects.update(lease_expires_at=now))
    assert await tell(now, seconds=62) == 1


async def test_rights_decide_who_enters_and_who_sees(peers: Any) -> None:
    guest, staff = await bridge().call(make, "guest"), await bridge().call(make, "staff")
    one, two = peers(), peers()
    await one.open(guest.token.secret)
    await two.open(staff.token.secret)
    for log in ("topic:hall:closed", "topic:mute:1", "topic:none:1", "topic:broken:1"):
        assert (await ask(one, "enter", log))["name"] == "topic_denied"
    for log in ("topic:hall:closed", "topic:mute:1", "topic:none:1"):
        assert (await ask(one, "members", log))["name"] == "topic_denied"
    assert (await ask(one, "enter", "state:main"))["name"] == "invalid_field"
    assert "member" in await ask(one, "enter", "topic:booth:1", data="8 bytes!")
    assert (await ask(one, "enter", "topic:booth:1", data="more than ten"))["name"] == "publication_too_large"
    assert (await ask(one, "members", "topic:booth:1"))["name"] == "topic_denied"
    assert (await ask(one, "subscribe", "topic:presence:booth:1"))["name"] == "topic_denied"
    assert (await ask(two, "members", "topic:booth:1"))["count"] == 0
    assert "verdict" in await ask(two, "subscribe", "topic:presence:booth:1")
    # Nobody but the app publishes there.
    await two.say(type="publish", seq=1, topic="presence:booth:1", data=1)
    assert (await two.receipt(1))["error"]["name"] == "publish_denied"
    with pytest.raises(InvalidField):
        await bridge().read(publish, "presence:booth:1", 1)
    with pytest.raises(InvalidField):
        await bridge().read(members, "mute:1")


async def test_who_may_follow_a_topic_no_longer_is_there_no_longer(peers: Any) -> None:
    allowed = {"follows", "looks", "asks", "returns", "watches"}

    @topic("guarded:{name}", presence=True)
    def open_guarded(session: Any, name: str) -> bool:
        return session.label in allowed

    @topic("watched:{name}", presence=Presence(may_see=lambda session, name: session.label in allowed))
    def open_watched(session: Any, name: str) -> bool:
        return True

    guarded, watched = "topic:guarded:1", "topic:watched:1"
    made = {label: await bridge().call(make, label) for label in sorted(allowed)}
    logs = {"follows": guarded, "looks": "topic:presence:guarded:1", "watches": "topic:presence:watched:1"}
    there: dict[str, Any] = {label: peers() for label in made}
    clients = {}
    for label, peer in there.items():
        followed = {logs[label]: None} if label in logs else {}
        clients[label] = (await peer.open(made[label].token.secret, logs=followed))["client_id"]
        assert "member" in await ask(peer, "enter", watched if label == "watches" else guarded)
    # The log of a presence is nothing to enter, for anybody. The second answer comes behind all moves before it.
    assert (await ask(there["asks"], "enter", logs["looks"]))["name"] == "topic_denied"
    assert "member" in await ask(there["looks"], "enter", guarded)
    assert await bridge().read(Attendance.objects.count) == len(there)
    allowed.clear()
    for label, log in logs.items():
        hub().rechecks.ask_again(made[label].session.pk)
        assert (await there[label].until(lambda frame, log=log: frame.get("log") == log))["name"] == "topic_denied"
    assert (await ask(there["asks"], "enter", guarded))["name"] == "topic_denied"
    connected = await peers().open(made["returns"].token.secret, client_id=clients["returns"], logs={guarded: None})
    assert connected["logs"][guarded]["mode"] == "denied"
    async with asyncio.timeout(60):
        while await bridge().read(Attendance.objects.count) > 1:
            pass
    # Whether one may see the members says nothing about being one.
    assert await bridge().read(lambda: Attendance.objects.get().client.client_id) == clients["watches"]


async def test_a_member_function_that_answers_nothing_lets_nobody_enter(peers: Any) -> None:
    peer = peers()
    await peer.open((await bridge().call(make)).token.secret)
    assert (await ask(peer, "enter", "topic:club:1"))["name"] == "topic_denied"


async def test_a_client_that_was_replaced_enters_nothing(peers: Any) -> None:
    created = await bridge().call(make)
    old, new = peers(), peers()
    client = (await old.open(created.token.secret))["client_id"]
    row = await bridge().read(lambda: Client.objects.get(client_id=client))
    await new.open(created.token.secret, client_id=client)
    stale = Move("hall:1", Attached(row.pk, row.generation), "x", b"1")
    (error,) = await bridge().call(move_all, [stale])
    assert error is not None and error.name == "replaced"
    assert await bridge().read(Member.objects.count) == 0


async def test_another_member_id_takes_the_place_of_the_first(peers: Any) -> None:
    created = await bridge().call(make, "ann")
    peer = peers()
    await peer.open(created.token.secret)
    await ask(peer, "enter", "topic:club:1")
    assert await tell() == 1
    await bridge().call(lambda: type(created.session).objects.update(label="bea"))
    again = peers()
    await again.open(created.token.secret, client_id=peer.seen[0]["client_id"])
    assert (await ask(again, "enter", "topic:club:1"))["member"] == "bea"
    assert await tell(seconds=5) == 1
    told = (await entries("presence:club:1"))[-1]
    assert (told["left"], list(told["joined"]), told["count"]) == (["ann"], ["bea"], 1)


async def test_a_client_is_in_as_many_topics_as_it_may_follow(peers: Any, settings: Any) -> None:
    settings.SESSION_MGMT = {**getattr(settings, "SESSION_MGMT", {}), "max_subscriptions": 2}
    peer = peers()
    await peer.open((await bridge().call(make)).token.secret)
    answers = [await ask(peer, "enter", f"topic:hall:{number}") for number in range(3)]
    assert [answer.get("name") for answer in answers] == [None, None, "subscription_limit"]
    assert "member" in await ask(peer, "enter", "topic:hall:1", data=2)


async def test_rows_of_presence_go_with_their_session_and_keep_their_stream(peers: Any) -> None:
    created = await bridge().call(make)
    peer = peers()
    await peer.open(created.token.secret)
    await ask(peer, "enter")
    assert await tell() == 1
    far = await bridge().read(clock.read, "default") + timedelta(days=400)
    await bridge().call(lambda: Connection.objects.update(lease_expires_at=far + GRACE))
    await bridge().call(retention.trim_streams, Queue.of([(await bridge().read(Stream.objects.get)).pk]), far, limit=10)
    # Trimmed and followed by nobody, but somebody is there.
    await bridge().call(retention.delete_unused_streams, far, limit=10)
    assert await bridge().read(Stream.objects.filter(topic="presence:hall:1").exists)
    await bridge().call(lambda: created.session.delete())
    assert await bridge().read(Attendance.objects.count) == 0
    assert await tell(far) == 1 and await bridge().read(Member.objects.count) == 0
    # The members as they were then are in no entry any more, so the next one has them all.
    assert await entries() == [{"count": 0, "members": {}}]
    await bridge().call(cleanup.run_cleanup, now=far + timedelta(days=400))
    assert not await bridge().read(Stream.objects.filter(topic="presence:hall:1").exists)


async def test_the_cleanup_ends_presence_where_no_server_does(peers: Any) -> None:
    peer = peers()
    await peer.open((await bridge().call(make)).token.secret)
    await ask(peer, "enter")
    assert await tell() == 1
    registry.topics.clear()
    later = await bridge().read(clock.read, "default") + timedelta(minutes=10)
    report = await bridge().call(cleanup.run_cleanup, now=later)
    assert report.members == 1 and await bridge().read(Member.objects.count) == 0
    assert [entry["count"] for entry in await entries()] == [1, 0]


async def test_rounds_tell_by_themselves(peers: Any, monkeypatch: pytest.MonkeyPatch, created: Any) -> None:
    monkeypatch.undo()
    watcher = peers()
    await watcher.open(created.token.secret, logs={SEEN: None})
    await ask(watcher, "enter", data="me")
    ((_, _, told),) = await watcher.entry(SEEN)
    assert told["count"] == 1
    await ask(watcher, "leave")
    ((_, _, told),) = await watcher.entry(SEEN)
    assert told["count"] == 0
