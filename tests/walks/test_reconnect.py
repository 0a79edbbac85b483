"""Walk four: whatever was missed comes back, once and in order, or the loss is said."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from session_mgmt.actions.access import SERVER
from session_mgmt.actions.sessions import closing, lifecycle
from session_mgmt.bridge import bridge
from session_mgmt.consumers.connection import LOST
from session_mgmt.consumers.hub import hub
from session_mgmt.models import AuditEntry, Client, Connection, Publication, SessionEvent, StateRevision, Stream
from session_mgmt.writes import verbs
from tests.walks.conftest import BOTH_WAYS

pytestmark = BOTH_WAYS

ROOM = "topic:room:1"
MAIN = "state:main"


async def test_missed_entries_are_replayed_once_and_the_receipt_says_which(peers: Any, created: Any) -> None:
    one = peers()
    connected = await one.open(created.token.secret, logs={ROOM: None, MAIN: None})
    positions = {name: verdict["position"] for name, verdict in connected["logs"].items()}
    await one.drop()
    for number in range(5):
        await bridge().read(verbs.publish, "room:1", number)
    await bridge().read(verbs.update, created.session.pk, "main", "merge", {"a": 1})
    two = peers()
    again = await two.open(created.token.secret, client_id=connected["client_id"], logs=positions)
    assert (again["verdict"], again["reason"], again["generation"]) == ("full", "resumed", 2)
    recovery = await two.until_type("recovery")
    entries = {f["log"]: f for f in two.seen if f["type"] == "entries"}
    assert [entry[2] for entry in entries[ROOM]["entries"]] == [0, 1, 2, 3, 4]
    assert entries[ROOM]["recovered"] and entries[MAIN]["recovered"]
    assert recovery["receipt"]["replayed"] == {ROOM: [1, 5], MAIN: [1, 1]}
    assert recovery["receipt"]["lost"] == {}


async def test_a_session_that_received_nothing_resumes_and_gets_what_came_meanwhile(peers: Any, created: Any) -> None:
    one = peers()
    connected = await one.open(created.token.secret, logs={ROOM: None})
    position = connected["logs"][ROOM]["position"]
    assert position[1] == 0
    await one.drop()
    await bridge().read(verbs.publish, "room:1", "first")
    two = peers()
    await two.open(created.token.secret, client_id=connected["client_id"], logs={ROOM: position})
    assert [entry[2] for entry in await two.entry(ROOM)] == ["first"]


async def test_ten_drops_in_a_row_all_resume_in_full(peers: Any, created: Any) -> None:
    one = peers()
    connected = await one.open(created.token.secret, logs={ROOM: None})
    client, position = connected["client_id"], connected["logs"][ROOM]["position"]
    await one.drop()
    for number in range(1, 11):
        await bridge().read(verbs.publish, "room:1", number)
        peer = peers()
        again = await peer.open(created.token.secret, client_id=client, logs={ROOM: position})
        assert again["verdict"] == "full"
        ((offset, tag, data),) = await peer.entry(ROOM)
        assert (offset, data) == (number, number)
        position = [position[0], offset, tag]
        await peer.drop()


async def test_replay_in_pages_meets_live_entries_without_hole_or_overlap(
    peers: Any, created: Any, settings: Any
) -> None:
    settings.SESSION_MGMT = {"replay_page": 7}
    for number in range(1, 51):
        await bridge().read(verbs.publish, "room:1", number)
    stream = await bridge().read(Stream.objects.get)
    one, two = peers(), peers()
    await two.open(created.token.secret)
    await one.open(created.token.secret, logs={ROOM: [stream.epoch, 0, ""]})
    for seq in range(1, 31):
        await two.say(type="publish", seq=seq, topic="room:1", data=50 + seq)
    seen: list[Any] = []
    while len(seen) < 80:
        seen += await one.entry(ROOM)
    assert [entry[0] for entry in seen] == list(range(1, 81)) == [entry[2] for entry in seen]
    assert sum(frame.get("recovered", False) for frame in one.seen) == 1


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        (lambda p: [p[0], p[1] + 5, p[2]], "history_lost"),
        (lambda p: [p[0], p[1], "0" * 16], "history_lost"),
        (lambda p: [p[0], p[1] - 1, p[2]], "history_lost"),
        (lambda p: ["ffff", p[1], p[2]], "epoch_changed"),
        (lambda p: ["", p[1], p[2]], "epoch_changed"),
        (lambda p: [p[0], -1, p[2]], "unreadable_position"),
        (lambda p: [p[0], 2**53, p[2]], None),
        (lambda p: [p[0], 2**53 - 1, p[2]], "history_lost"),
        (lambda p: [p[0], str(p[1]), p[2]], "unreadable_position"),
        (lambda p: [p[0], True, p[2]], "unreadable_position"),
        (lambda p: p[:2], "unreadable_position"),
        (lambda p: {"offset": 1}, "unreadable_position"),
    ],
)
async def test_a_position_that_lies_is_never_recovered(peers: Any, created: Any, lie: Any, reason: Any) -> None:
    for number in range(3):
        await bridge().read(verbs.publish, "room:1", number)
        await bridge().read(verbs.update, created.session.pk, "main", "merge", {"n": number})
    one = peers()
    connected = await one.open(created.token.secret, logs={ROOM: None, MAIN: None})
    asked = {name: lie(verdict["position"]) for name, verdict in connected["logs"].items()}
    two = peers()
    again = await two.open(created.token.secret, client_id=connected["client_id"], logs=asked)
    if reason is None:  # no such integer in our JSON: the frame as a whole is refused
        assert again["type"] == "error" and again["name"] == "number_out_of_range"
        return
    assert again["logs"][ROOM]["mode"] == "gap" and again["logs"][ROOM]["reason"] == reason
    assert again["logs"][MAIN]["mode"] == "snapshot" and again["logs"][MAIN]["reason"] == reason
    assert (await two.until_type("snapshot"))["data"] == {"n": 2}
    await two.until_type("recovery")
    assert not any(frame.get("recovered") for frame in two.seen)


async def test_a_restored_database_is_noticed_although_the_offset_exists_again(peers: Any, created: Any) -> None:
    for number in range(3):
        await bridge().read(verbs.publish, "room:1", number)
    one = peers()
    connected = await one.open(created.token.secret, logs={ROOM: None})
    position = connected["logs"][ROOM]["position"]
    await one.drop()
    await bridge().call(_restore_stream, 1)
    for number in range(3):
        await bridge().read(verbs.publish, "room:1", f"new {number}")
    two = peers()
    again = await two.open(created.token.secret, client_id=connected["client_id"], logs={ROOM: position})
    assert again["logs"][ROOM]["reason"] == "history_lost"
    assert again["verdict"] == "state_only"


async def test_a_server_that_is_behind_its_client_adopts_the_clients_number(peers: Any, created: Any) -> None:
    one = peers()
    connected = await one.open(created.token.secret)
    await one.drop()
    two = peers()
    again = await two.open(created.token.secret, client_id=connected["client_id"], acked=50)
    assert again["went_back"] and again["last_seq"] == 50
    await two.say(type="update", seq=51, ops=[["set", "/a", 1]])
    assert (await two.receipt(51))["ok"]


async def test_a_trimmed_log_is_a_gap_with_its_range(peers: Any, created: Any) -> None:
    last, oldest = 20, 11
    for number in range(1, last + 1):
        await bridge().read(verbs.publish, "room:1", number)
    page = await bridge().read(lambda: list(Publication.objects.order_by("offset").values_list("offset", "tag")))
    epoch = (await bridge().read(Stream.objects.get)).epoch
    await bridge().call(_trim, oldest)
    for offset, tag in page:
        peer = peers()
        verdict = (await peer.open(created.token.secret, logs={ROOM: [epoch, offset, tag]}))["logs"][ROOM]
        if offset == last:
            assert verdict["mode"] == "up_to_date"
        elif offset >= oldest - 1:
            assert verdict["mode"] == "entries"
            assert [entry[0] for entry in await peer.entry(ROOM)] == list(range(offset + 1, last + 1))
        else:
            gap = {"mode": "gap", "from": offset + 1, "to": last, "reason": "trimmed"}
            assert verdict | {"position": None} == {**gap, "position": None}
        await peer.drop()


async def test_the_newer_connection_of_a_client_wins_and_the_older_may_not_write(peers: Any, created: Any) -> None:
    one, two = peers(), peers()
    connected = await one.open(created.token.secret)
    await two.open(created.token.secret, client_id=connected["client_id"])
    assert await one.closed() == 4507
    assert one.seen[-1]["name"] == "replaced"
    await two.say(type="update", seq=1, ops=[["set", "/a", 1]])
    assert (await two.receipt(1))["ok"]


async def test_a_write_under_an_old_generation_is_refused_by_the_row_itself(peers: Any, created: Any) -> None:
    one = peers()
    connected = await one.open(created.token.secret)
    await bridge().call(lambda: Client.objects.update(generation=9))
    await one.say(type="update", seq=1, ops=[["set", "/a", 1]])
    assert await one.closed() == 4507
    assert connected["generation"] == 1
    assert await bridge().read(StateRevision.objects.count) == 0


async def test_an_unknown_client_is_forgotten_and_never_made_as_asked(peers: Any, created: Any) -> None:
    one = peers()
    answer = await one.open(created.token.secret, client_id="c_of_my_own")
    assert answer["name"] == "client_forgotten"
    assert await one.closed() == 4508
    assert await bridge().read(Client.objects.count) == 0


async def test_ending_a_session_closes_its_connections_and_nothing_works_after(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret)
    await bridge().call(lifecycle.terminate_session, SERVER, created.session.pk)
    assert await one.closed() == 4503
    two = peers()
    assert (await two.open(created.token.secret))["name"] == "session_terminated"
    assert await two.closed() == 4503


async def test_a_resume_that_moves_a_document_is_recorded_once(peers: Any, created: Any) -> None:
    one = peers()
    connected = await one.open(created.token.secret, logs={MAIN: None})
    position = connected["logs"][MAIN]["position"]
    await one.drop()
    two = peers()
    await two.open(created.token.secret, client_id=connected["client_id"], logs={MAIN: position})
    await two.drop()
    await bridge().read(verbs.update, created.session.pk, "main", "merge", {"a": 1})
    three = peers()
    await three.open(created.token.secret, client_id=connected["client_id"], logs={MAIN: position})
    events = await bridge().read(lambda: list(SessionEvent.objects.filter(type="state_synchronized")))
    assert [orjson.loads(bytes(event.data))["documents"] for event in events] == [{"main": [0, 1]}]


async def test_a_refused_token_is_noted_and_never_stored(peers: Any, created: Any) -> None:
    one = peers()
    assert (await one.open("sma_not_a_token_of_ours"))["name"] == "invalid_token"
    assert await one.closed() == 4501
    await one.leave()
    noted = await bridge().read(AuditEntry.objects.get)
    assert noted.action == "auth_failed" and "sma_" not in str(noted.data)


async def test_a_connection_that_drops_is_told_once_as_lost(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret)
    await one.drop()
    row = await bridge().read(Connection.objects.get)
    # Without a close frame uvicorn says 1005, and other servers 1006.
    assert row.close_code in LOST and row.closed_by == "client"


async def test_a_client_that_leaves_and_comes_back_at_once_was_not_lost(peers: Any, created: Any) -> None:
    one, two = peers(), peers()
    connected = await one.open(created.token.secret)
    await one.say(type="disconnect")
    assert await one.closed() == 1000
    leaving = asyncio.create_task(one.leave())
    while hub().serving.connections:
        await bridge().read(int)
    assert not leaving.done(), "its end is still to be written"
    await two.open(created.token.secret, client_id=connected["client_id"])
    await leaving
    assert await bridge().read(SessionEvent.objects.filter(type="connection_lost").count) == 0
    codes = await bridge().read(lambda: list(Connection.objects.order_by("pk").values_list("close_code", flat=True)))
    assert codes == [1000, None]


async def test_connections_that_are_lost_together_are_closed_by_one_group(
    peers: Any, created: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    close = closing.close_connections

    def count(ended: Any, *args: Any, **more: Any) -> Any:
        sizes.append(len(ended))
        return close(ended, *args, **more)

    monkeypatch.setattr(closing, "close_connections", count)
    tabs = [peers() for _ in range(20)]
    for tab in tabs:
        await tab.open(created.token.secret)
    await asyncio.gather(*(tab.drop() for tab in tabs))
    assert sizes == [20]
    lost = await bridge().read(lambda: list(SessionEvent.objects.filter(type="connection_lost").order_by("seq")))
    assert len(lost) == 20 and lost[-1].seq - lost[0].seq == 19


async def test_a_trimmed_document_comes_as_a_snapshot(peers: Any, created: Any) -> None:
    for number in range(6):
        await bridge().read(verbs.update, created.session.pk, "main", "merge", {"n": number})
    one = peers()
    connected = await one.open(created.token.secret, logs={MAIN: None})
    epoch = connected["logs"][MAIN]["position"][0]
    two = peers()
    again = await two.open(created.token.secret, logs={MAIN: [epoch, 0, ""]})
    assert again["logs"][MAIN]["mode"] == "entries"
    frame = await two.until(lambda f: f["type"] == "entries")
    assert frame["recovered"] and len(frame["entries"]) == 6


def _restore_stream(head: int) -> None:
    kept = Publication.objects.get(offset=head)
    Publication.objects.filter(offset__gt=head).delete()
    Stream.objects.update(head=head, head_tag=kept.tag)


def _trim(oldest: int) -> None:
    before = Publication.objects.get(offset=oldest - 1)
    Publication.objects.filter(offset__lt=oldest).delete()
    Stream.objects.update(oldest=oldest, oldest_tag=before.tag)
