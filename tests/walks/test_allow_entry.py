"""Permission for single publications: whoever may not have one is given none of it, by no way, and misses nothing."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.db.models import F

from session_mgmt.actions.sessions import lifecycle
from session_mgmt.actions.topics import judging
from session_mgmt.bridge import bridge
from session_mgmt.consumers import judging as crowds
from session_mgmt.consumers.hub import hub
from session_mgmt.models import Publication, Stream
from session_mgmt.registry import topic
from session_mgmt.shortcuts import TopicEntry, history
from session_mgmt.writes import verbs
from tests.away import raise_away
from tests.http_transports.conftest import http, tabs
from tests.walks.conftest import BOTH_WAYS

__all__ = ["http", "tabs"]

DESK = "topic:desk:x"
PATIENCE = 60.0


def for_all(session: Any, entry: TopicEntry) -> bool:
    return entry.data["for"] in ("all", str(session.pk))


@pytest.fixture
def desk(declared: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Topic whose readers are given what is for them; a test may judge in another way."""
    # However busy the machine is, a page is judged as a whole.
    monkeypatch.setattr(judging, "SLICE_SECONDS", PATIENCE)
    at = SimpleNamespace(judge=for_all, asked=[], threads=set())

    def may_have(session: Any, entry: TopicEntry) -> Any:
        at.asked.append((session.pk, entry))
        at.threads.add(threading.current_thread().name.rpartition("-")[0])
        return at.judge(session, entry)

    @topic("desk:{name}", publish=True, keys=("kind",), allow_entry=may_have)
    def everybody(session: Any, name: str) -> bool:
        return True

    yield at


async def publish(*readers: Any, **more: Any) -> None:
    data = [{"for": str(reader)} | more for reader in readers]
    await bridge().read(lambda: [verbs.publish("desk:x", one) for one in data])


async def read_up_to(peer: Any, place: list[Any], last: int) -> tuple[list[int], list[Any]]:
    """Read until all up to an offset has been told; return the offsets that came, and the place."""
    found: list[int] = []
    while place[1] < last:
        frame = await peer.until_type("entries")
        assert frame["prev"] == place[1] < frame["position"][1], "a hole, or the same again"
        found += [entry[0] for entry in frame["entries"]]
        place = frame["position"]
    return found, place


@BOTH_WAYS
async def test_readers_are_given_what_is_for_them_live_and_after_a_cut(
    peers: Any, created: Any, desk: SimpleNamespace, way: str
) -> None:
    other = await bridge().call(lifecycle.create_session)
    mine, yours = created.session.pk, other.session.pk
    await publish("all", yours, mine)
    one, two = peers(), peers()
    connected = await one.open(created.token.secret, logs={})
    await two.open(other.token.secret, logs={DESK: None})
    await one.say(type="subscribe", id=1, log=DESK, position=None, since={"last": 3})
    frame = await one.until_type("entries")
    place = frame["position"]
    assert ([entry[0] for entry in frame["entries"]], frame["prev"], place[1]) == ([1, 3], 0, 3)
    await publish(mine, yours, "nobody", mine)
    assert (await read_up_to(one, place, 7))[0] == [4, 7]
    frame = await two.until(lambda frame: bool(frame.get("entries")))
    assert [entry[0] for entry in frame["entries"]] == [5]
    assert [entry[2]["for"] for entry in frame["entries"]] == [str(yours)]
    await one.drop()
    await publish(yours, mine, yours)
    again = peers()
    about = {"client_id": connected["client_id"], "logs": {DESK: place}}
    connected = await again.open(created.token.secret, **about)
    assert connected["logs"][DESK]["to"] == 10
    frames = [await again.until_type("entries")]
    while not frames[-1].get("recovered"):
        frames.append(await again.until_type("entries"))
    assert [entry[0] for frame in frames for entry in frame["entries"]] == [4, 7, 9]
    assert frames[-1]["position"][1] == 10
    assert (await again.until_type("recovery"))["receipt"]["replayed"] == {DESK: [4, 10]}
    assert not [frame for frame in (*one.seen, *two.seen, *again.seen) if frame["type"] == "gap"]
    assert not [frame for frame in (*one.seen, *again.seen) if f'"{yours}"' in str(frame).replace("'", '"')]
    assert desk.threads == {"session_mgmt-handler"}
    assert {entry.topic for _, entry in desk.asked} == {"desk:x"}


@pytest.mark.sqlite
async def test_about_what_a_filter_leaves_out_nobody_is_asked(peers: Any, created: Any, desk: SimpleNamespace) -> None:
    await publish("all", kind="a")
    await publish("all", "nobody", kind="b")
    one = peers()
    await one.open(created.token.secret, logs={})
    await one.say(type="subscribe", id=1, log=DESK, position=None, since={"last": 3}, filter={"kind": "b"})
    frame = await one.until_type("entries")
    assert [entry[0] for entry in frame["entries"]] == [2]
    assert [entry.offset for _, entry in desk.asked] == [2, 3]
    # Where nothing comes the place is told with the next beat.
    await publish("nobody", kind="b")
    (served,) = [c for c in hub().serving.connections if DESK in c.followings]
    following = served.followings[DESK]
    while following.sent < 4:
        following.feed.catch_up()
        await following.feed.wait_for_read()
        await following.wait_for_replay()
    served.followings.tell_places()  # type: ignore[attr-defined]
    frame = await one.until_type("entries")
    assert (frame["prev"], frame["entries"], frame["position"][1]) == (3, [], 4)
    # Another filter counts from the client's place on.
    await one.say(type="subscribe", id=2, log=DESK, position=None, filter={"kind": "a"})
    assert (await one.until(lambda frame: frame.get("id") == 2))["verdict"]["position"][1] == 4
    await publish("all", kind="b")
    await publish("all", kind="a")
    assert (await read_up_to(one, frame["position"], 6))[0] == [6]


@pytest.mark.sqlite
@BOTH_WAYS
async def test_ephemeral_publications_are_judged_in_their_order(
    peers: Any, created: Any, desk: SimpleNamespace, way: str
) -> None:
    one = peers()
    await one.open(created.token.secret, logs={DESK: None})
    await one.until_following(DESK)
    for number, reader in enumerate(["all", "nobody", created.session.pk, "nobody", "all"]):
        data = {"for": str(reader), "n": number}
        await one.say(type="publish", topic="desk:x", ephemeral=True, data=data)
    told = [(await one.until_type("ephemeral"))["data"]["n"] for _ in range(3)]
    assert told == [0, 2, 4]
    assert {entry.offset for _, entry in desk.asked} == {None}


async def test_polls_leave_out_what_is_not_allowed_and_move_on(tabs: Any, created: Any, desk: SimpleNamespace) -> None:
    tab = tabs(created.token.secret)
    await tab.attach({DESK: None})
    await publish("nobody", created.session.pk, "nobody")
    (frame,) = await tab.poll()
    place = frame["position"]
    assert ([entry[0] for entry in frame["entries"]], frame["prev"], place[1]) == ([2], 0, 3)
    tab.logs[DESK]["position"] = place
    held = asyncio.create_task(tab.poll())
    await publish("nobody", "all")
    found: list[int] = []
    # A poll may end between the two.
    for frame in await held:
        assert frame["prev"] == place[1]
        place, found = frame["position"], found + [entry[0] for entry in frame["entries"]]
    while place[1] < 5:
        tab.logs[DESK]["position"] = place
        for frame in await tab.poll():
            assert frame["prev"] == place[1]
            place, found = frame["position"], found + [entry[0] for entry in frame["entries"]]
    assert found == [5]


async def test_the_past_has_no_entry_that_is_not_allowed(
    peers: Any, http: Any, created: Any, desk: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish("all", *["nobody"] * 5, "all", "nobody")
    one = peers()
    await one.open(created.token.secret, logs={})

    async def ask(**more: Any) -> tuple[list[int], bool, Any]:
        await one.say(type="history", id=7, log=DESK, **more)
        page = await one.until(lambda frame: frame.get("id") == 7)
        entries = page["entries"]
        return [entry[0] for entry in entries], page["more"], entries and [page["epoch"], *entries[0][:2]]

    offsets, more, before = await ask(limit=2)
    assert (offsets, more) == ([7], True)
    # A page of which nothing is allowed is not told: the next one is looked at.
    offsets, more, before = await ask(limit=2, before=before)
    assert (offsets, more) == ([1], False)
    address, bearer = "/api/topics/desk:x/publications/", {"Authorization": f"Bearer {created.token.secret}"}
    page = (await http.get(address, headers=bearer)).json()
    assert ([entry[0] for entry in page["entries"]], page["more"]) == ([1, 7], False)
    assert len((await bridge().read(history, "desk:x")).entries) == 8, "code of the project's own asks nobody"
    monkeypatch.setattr(judging, "MOST_PAGES", 0)
    assert (await ask())[:2] == ([], False)


@pytest.mark.parametrize(
    ("judge", "logged"),
    # No return is no, as with every function that allows something.
    [(lambda: 1 / 0, 1), (lambda: "no", 1), (lambda: (False, "not yours"), 1), (lambda: None, 0), (lambda: [][0], 1)],
    ids=["error", "text", "tuple", "nothing", "lookup"],
)
@pytest.mark.sqlite
async def test_an_answer_that_fails_denies_its_entry_alone_and_is_logged_once(
    peers: Any,
    created: Any,
    desk: SimpleNamespace,
    judge: Callable[[], Any],
    logged: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    desk.judge = lambda session, entry: entry.data["for"] == "all" or judge()
    one = peers()
    await one.open(created.token.secret, logs={})
    await publish("all", "nobody", "nobody", "all")
    with caplog.at_level(logging.ERROR):
        await one.say(type="subscribe", id=1, log=DESK, position=None, since={"last": 4})
        frame = await one.until_type("entries")
    assert ([entry[0] for entry in frame["entries"]], frame["position"][1]) == ([1, 4], 4)
    assert len([record for record in caplog.records if "allow_entry" in record.message]) == logged


@pytest.mark.sqlite
async def test_a_slow_function_holds_up_its_own_topic_alone_and_its_entries_come_bit_by_bit(
    peers: Any, created: Any, desk: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, goes_on = threading.Event(), threading.Event()

    def wait(session: Any, entry: TopicEntry) -> bool:
        begun.set()
        return goes_on.wait(PATIENCE * 3)

    desk.judge = wait
    monkeypatch.setattr(judging, "SLICE_SECONDS", 0.0)
    await publish("all", "all", "all")
    one = peers()
    await one.open(created.token.secret, logs={"topic:room:1": None})
    try:
        await one.say(type="subscribe", id=1, log=DESK, position=None, since={"last": 3})
        assert await asyncio.to_thread(begun.wait, PATIENCE)
        await bridge().read(verbs.publish, "room:1", {"n": 1})
        # Also of the same client.
        assert [entry[2] for entry in await one.entry("topic:room:1")] == [{"n": 1}]
    finally:
        goes_on.set()
    frames = [await one.until_type("entries") for _ in range(3)]
    assert [(f["prev"], [entry[0] for entry in f["entries"]], f["position"][1]) for f in frames] == [
        (0, [1], 1),
        (1, [2], 2),
        (2, [3], 3),
    ]


def trim_all() -> None:
    Publication.objects.all().delete()
    Stream.objects.update(oldest=F("head") + 1, oldest_tag=F("head_tag"))


def trim_to(oldest: int) -> None:
    before = Publication.objects.get(offset=oldest - 1)
    Publication.objects.filter(offset__lt=oldest).delete()
    Stream.objects.update(oldest=oldest, oldest_tag=before.tag)


async def test_a_reader_that_comes_back_behind_the_log_is_told_the_gap_and_goes_on_from_there(
    peers: Any, tabs: Any, created: Any, desk: SimpleNamespace
) -> None:
    await publish("all", "nobody")
    one, tab = peers(), tabs(created.token.secret)
    connected = await one.open(created.token.secret, logs={DESK: None})
    await tab.attach({DESK: None})
    place = connected["logs"][DESK]["position"]
    await one.drop()
    await publish("nobody", created.session.pk, "nobody", "all")
    await bridge().call(trim_to, 5)
    again = peers()
    about = {"client_id": connected["client_id"], "logs": {DESK: place}}
    verdict = (await again.open(created.token.secret, **about))["logs"][DESK]
    # All that may be gone counts: nobody is asked any more for whom it was.
    told = {name: verdict[name] for name in ("mode", "from", "to", "reason")}
    assert told == {"mode": "gap", "from": 3, "to": 6, "reason": "trimmed"}
    frames = await tab.poll(hold=0)
    (gap,) = [frame for frame in frames if frame["type"] == "gap"]
    assert (gap["from"], gap["to"], tab.logs[DESK]["position"][1]) == (3, 6, 6)
    desk.asked.clear()
    await publish("nobody", "all")
    assert await read_up_to(again, verdict["position"], 8) == ([8], again.seen[-1]["position"])
    while tab.logs[DESK]["position"][1] < 8:
        await tab.poll()
    assert [entry[0] for entry in tab.entries[DESK]] == [8]
    assert {entry.offset for _, entry in desk.asked} == {7, 8}, "of the gap nobody is asked"


@pytest.mark.sqlite
async def test_a_gap_in_front_of_a_slow_judge_begins_where_it_has_judged(
    peers: Any, created: Any, desk: SimpleNamespace
) -> None:
    begun, goes_on = threading.Event(), threading.Event()

    def wait(session: Any, entry: TopicEntry) -> bool:
        begun.set()
        return goes_on.wait(PATIENCE * 3) and for_all(session, entry)

    desk.judge = wait
    one = peers()
    connected = await one.open(created.token.secret, logs={DESK: None})
    await one.until_following(DESK)
    place = connected["logs"][DESK]["position"]
    (served,) = [c for c in hub().serving.connections if DESK in c.followings]
    try:
        await publish("nobody")
        assert await asyncio.to_thread(begun.wait, PATIENCE)
        await publish("all", "all")
        # As after the seconds for which a page is kept.
        served.followings[DESK].feed.pages.drop()
        await bridge().call(trim_all)
    finally:
        goes_on.set()
    gap = await one.until_type("gap")
    judged = one.seen[-2]
    # First how far it has been judged, of which nothing was allowed; the gap begins behind that.
    assert (judged["prev"], judged["entries"], judged["position"][1]) == (place[1], [], 1)
    assert (gap["from"], gap["to"], gap["reason"], gap["position"][1]) == (2, 3, "trimmed", 3)
    await publish("nobody", "all")
    assert (await read_up_to(one, gap["position"], 5))[0] == [5]


async def test_a_database_that_is_away_ends_the_connection_and_skips_nothing(
    peers: Any, created: Any, desk: SimpleNamespace
) -> None:
    def fail(session: Any, entry: TopicEntry) -> bool:
        raise_away()

    one = peers()
    connected = await one.open(created.token.secret, logs={DESK: None})
    await one.until_following(DESK)
    desk.judge = fail
    await publish("all")
    assert 4000 <= await one.closed() < 4500
    assert not [frame for frame in one.seen if frame["type"] == "entries"]
    desk.judge = for_all
    again = peers()
    place = connected["logs"][DESK]["position"]
    await again.open(created.token.secret, client_id=connected["client_id"], logs={DESK: place})
    frame = await again.until_type("entries")
    assert ([entry[0] for entry in frame["entries"]], frame["position"][1]) == ([1], 1)


@pytest.mark.sqlite
async def test_a_reader_too_many_is_refused_for_a_while(
    peers: Any, tabs: Any, created: Any, desk: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crowds, "MOST_READERS", 1)
    one, two = peers(), peers()
    await one.open(created.token.secret, logs={DESK: None})
    connected = await two.open(created.token.secret, logs={DESK: None, "topic:room:1": None})
    refusal = connected["logs"][DESK]["error"]
    assert (refusal["name"], refusal["temporary"]) == ("busy", True) and refusal["retry_after"] > 0
    assert connected["logs"]["topic:room:1"]["mode"] != "denied"
    await two.say(type="subscribe", id=1, log=DESK, position=None)
    assert (await two.until(lambda frame: frame.get("id") == 1))["name"] == "busy"
    tab = tabs(created.token.secret)
    await tab.attach({DESK: None})
    (error,) = await tab.poll(hold=0)
    assert (error["log"], error["name"]) == (DESK, "busy")
    # To follow it again is no reader more.
    await one.say(type="subscribe", id=2, log=DESK, position=None)
    assert (await one.until(lambda frame: frame.get("id") == 2))["type"] == "reply"
