"""The client's core: frames and calls in, effects out."""

from __future__ import annotations

from typing import Any

from session_mgmt.client.core import ACK_EVERY, Core
from session_mgmt.client.effects import (
    OUT_OF_ORDER,
    Abandon,
    Changed,
    Deliver,
    Effect,
    Emit,
    Fetch,
    Following,
    Leave,
    Place,
    ResendAfter,
    Send,
    Settle,
    StorePosition,
)
from session_mgmt.client.storage import Saved
from session_mgmt.client.transports.places import Places
from session_mgmt.documents.replaced import digest_value
from session_mgmt.protocol.position import Position
from tests.client.fake_server import connected, entries, snapshot


def ready_core(**changes: Any) -> Core:
    core = Core(Saved())
    core.open_replica("main")
    run(core, connected(**changes), snapshot("state:main", 0, {}))
    return core


def run(core: Core, *frames: dict[str, Any]) -> list[Effect]:
    return [effect for frame in frames for effect in core.receive_frame(frame)]


def sent(effects: list[Effect]) -> list[dict[str, Any]]:
    return [effect.frame for effect in effects if isinstance(effect, Send)]


def ok(seq: int, **more: Any) -> dict[str, Any]:
    return {"type": "receipt", "seq": seq, "ok": True} | more


def no(seq: int, name: str, temporary: bool, **more: Any) -> dict[str, Any]:
    error = {"code": 1, "name": name, "temporary": temporary, "message": "", **more}
    return {"type": "receipt", "seq": seq, "ok": False, "error": error}


def revision(ops: list[Any], client_id: str = "c_other", seq: int = 1) -> dict[str, Any]:
    return {"ops": ops, "client_id": client_id, "seq": seq}


def test_the_opening_names_every_followed_log_with_its_position() -> None:
    core = Core(Saved(client_id="c_one", positions={"session": ["e", 3, "t3"], "topic:a": ["e", 1, "t1"]}))
    core.open_replica("main")
    list(core.follow_log("topic:a"))
    opening = core.build_connect("sma_token")
    assert opening["logs"] == {"session": ["e", 3, "t3"], "topic:a": ["e", 1, "t1"], "state:main": None}
    assert (opening["client_id"], opening["token"], opening["acked"]) == ("c_one", "sma_token", 0)


def test_a_change_shows_at_once_and_once_through_entry_and_receipt() -> None:
    core = ready_core()
    seq, effects = core.add_update("main", [["inc", "/n", 1]], "server_wins")
    assert core.open_replica("main").view == {"n": 1}
    assert sent(effects)[0] | {"base": 0, "epoch": "e1", "seq": 1} == sent(effects)[0]
    run(core, entries("state:main", 1, revision([["inc", "/n", 1]], "c_one", seq)))
    assert core.open_replica("main").view == {"n": 1}
    run(core, ok(seq))
    assert core.open_replica("main").view == {"n": 1}
    assert len(core.outbox) == 0


def test_entries_of_others_go_below_what_is_on_its_way() -> None:
    core = ready_core()
    core.add_update("main", [["set", "/a", "mine"]], "server_wins")
    run(core, entries("state:main", 1, revision([["set", "/a", "theirs"], ["set", "/b", 1]])))
    assert core.open_replica("main").view == {"a": "mine", "b": 1}
    assert core.open_replica("main").confirmed == {"a": "theirs", "b": 1}


def test_a_refused_change_is_taken_back() -> None:
    core = ready_core()
    seq, _ = core.add_update("main", [["set", "/a", 1]], "reject")
    effects = run(core, no(seq, "conflict", temporary=False))
    assert Changed("main", {"a": 1}, {}) in effects
    assert any(isinstance(effect, Settle) and not effect.receipt["ok"] for effect in effects)


def test_writes_without_a_receipt_are_sent_again_in_order_after_a_reconnect() -> None:
    core = ready_core()
    core.add_write({"type": "publish", "topic": "a", "data": 1})
    core.add_update("main", [["set", "/a", 1]], "server_wins")
    core.mark_disconnected()
    _, offline = core.add_write({"type": "send", "data": 3})
    assert offline == []
    again = sent(run(core, connected(last_seq=1, generation=2)))
    assert [(frame["seq"], frame["type"]) for frame in again] == [(1, "publish"), (2, "update"), (3, "send")]


def test_a_snapshot_after_a_reconnect_holds_what_was_decided_before_it() -> None:
    core = ready_core()
    core.add_update("main", [["inc", "/n", 1]], "server_wins")
    core.add_update("main", [["inc", "/n", 1]], "server_wins")
    core.mark_disconnected()
    run(core, connected(last_seq=1), snapshot("state:main", 1, {"n": 1}))
    assert core.open_replica("main").view == {"n": 2}


def test_a_temporary_refusal_keeps_the_number_and_holds_later_writes() -> None:
    core = ready_core()
    seq, _ = core.add_write({"type": "publish", "topic": "a", "data": 1})
    assert ResendAfter(2.0) in run(core, no(seq, "busy", temporary=True, retry_after=2.0))
    _, held = core.add_write({"type": "publish", "topic": "a", "data": 2})
    assert held == []
    assert [frame["seq"] for frame in sent(list(core.resend_writes()))] == [1, 2]


def test_a_first_write_refused_by_seq_gap_lets_the_client_say_again_how_far_it_is() -> None:
    core = ready_core()
    first, _ = core.add_write({"type": "publish", "topic": "a", "data": 1})
    second, _ = core.add_write({"type": "publish", "topic": "a", "data": 2})
    assert OUT_OF_ORDER not in run(core, no(second, "seq_gap", temporary=True))
    assert run(core, no(first, "seq_gap", temporary=True)) == [OUT_OF_ORDER]


def test_an_update_refused_for_its_base_is_sent_again_with_the_newest() -> None:
    core = ready_core()
    seq, _ = core.add_update("main", [["set", "/a", 1]], "server_wins")
    run(core, snapshot("state:main", 40, {"b": 1}, epoch="e2"), no(seq, "epoch_changed", temporary=True))
    again = sent(list(core.resend_writes()))[0]
    assert (again["base"], again["epoch"]) == (40, "e2")


def test_a_place_is_stored_before_its_entry_is_handed_over() -> None:
    core = ready_core(logs={"topic:a": {"mode": "up_to_date", "position": ["e1", 4, "t4"]}})
    effects = run(core, entries("topic:a", 5, "five", "six"))
    assert effects == [
        StorePosition("topic:a", ["e1", 5, "t5"]),
        Deliver("topic:a", "five", Place("e1", 5, "t5", live=True)),
        StorePosition("topic:a", ["e1", 6, "t6"]),
        Deliver("topic:a", "six", Place("e1", 6, "t6", live=True)),
    ]


def test_an_entry_seen_before_is_ignored_and_a_jump_ends_the_connection() -> None:
    core = ready_core(logs={"topic:a": {"mode": "up_to_date", "position": ["e1", 4, "t4"]}})
    assert run(core, entries("topic:a", 4, "four")) == []
    assert run(core, entries("topic:a", 6, "six")) == [Leave(4104, "out_of_order", True)]
    assert run(core, entries("topic:a", 5, "five", epoch="e2")) == [Leave(4104, "out_of_order", True)]


def test_a_gap_is_told_and_moves_the_position() -> None:
    core = ready_core()
    gap = {"mode": "gap", "from": 5, "to": 9, "reason": "trimmed", "position": ["e1", 9, "t9"]}
    effects = run(core, connected(logs={"topic:a": gap}))
    assert Emit("gap", {"log": "topic:a", "from": 5, "to": 9, "reason": "trimmed"}) in effects
    assert core.logs["topic:a"] == Position("e1", 9, "t9")


def conflated(prev: int, offsets: list[int], to: int) -> dict[str, Any]:
    rows = [[offset, f"t{offset}", offset] for offset in offsets]
    frame = {"type": "entries", "log": "topic:a", "epoch": "e1", "entries": rows, "conflated": True}
    return {**frame, "prev": prev, "position": ["e1", to, f"t{to}"]}


def test_the_newest_by_key_stand_for_a_range() -> None:
    core = ready_core()
    run(core, connected(logs={"topic:a": {"mode": "up_to_date", "position": ["e1", 2, "t2"]}}))
    effects = run(core, conflated(1, [2, 4, 7], 8))
    assert [effect.body for effect in effects if isinstance(effect, Deliver)] == [4, 7]
    assert Emit("conflated", {"log": "topic:a", "from": 2, "to": 8}) in effects
    # Stored as well: the entries that were left out are not asked for again.
    assert core.logs["topic:a"] == Position("e1", 8, "t8") and effects[-1] == StorePosition("topic:a", ["e1", 8, "t8"])
    assert run(core, conflated(1, [2, 4, 7], 8)) == []
    (leave,) = run(core, conflated(9, [10], 10))
    assert isinstance(leave, Leave) and leave.reconnect


def test_a_way_to_be_slow_is_asked_for_with_the_topic_and_with_each_connection() -> None:
    core = ready_core()
    (frame,) = sent(list(core.follow_log("topic:a", "latest")))
    assert (frame["type"], frame["slow"]) == ("subscribe", "latest")
    list(core.follow_log("topic:a", "drop_oldest"))
    list(core.follow_log("topic:b"))
    assert core.build_connect("sma")["slow"] == {"topic:a": "latest"}
    places = Places(lambda: core.logs, core.list_wishes, lambda: None)
    at = {"mode": "up_to_date", "position": ["e1", 2, "t2"]}
    places.take_connected(connected(logs={"topic:a": at, "topic:b": at}))
    assert {log: told.get("slow") for log, told in places.describe_for_poll()[1].items()} == {
        "topic:a": "latest",
        "topic:b": None,
    }
    list(core.unfollow_log("topic:a"))
    assert "slow" not in core.build_connect("sma")


def test_a_part_of_a_topic_is_asked_for_with_the_topic_and_with_each_connection_as_its_first_reader_wishes() -> None:
    core, only = ready_core(), {"region": {"in": ["eu", "us"]}}
    (frame,) = sent(list(core.follow_log("topic:a", only=only)))
    assert frame["filter"] == only
    list(core.follow_log("topic:a", only={"region": "eu"}))
    list(core.follow_log("topic:b"))
    # The first one wants all of it, and must not lose any by the second.
    list(core.follow_log("topic:b", only=only))
    assert core.build_connect("sma")["filter"] == {"topic:a": only}
    places = Places(lambda: core.logs, core.list_wishes, lambda: None)
    at = {"mode": "up_to_date", "position": ["e1", 2, "t2"]}
    places.take_connected(connected(logs={"topic:a": at, "topic:b": at}))
    asked = {log: told.get("filter") for log, told in places.describe_for_poll()[1].items()}
    assert asked == {"topic:a": only, "topic:b": None}
    list(core.unfollow_log("topic:a"))
    assert "filter" not in core.build_connect("sma")


def test_a_frame_of_a_part_may_be_empty_and_begins_no_later_than_the_client_is() -> None:
    core = ready_core()
    run(core, connected(logs={"topic:a": {"mode": "up_to_date", "position": ["e1", 2, "t2"]}}))
    (stored,) = run(core, build_part(2, [], 8))
    assert stored == StorePosition("topic:a", ["e1", 8, "t8"]) and core.logs["topic:a"] == Position("e1", 8, "t8")
    effects = run(core, build_part(5, [7, 9], 12))
    assert [effect.body for effect in effects if isinstance(effect, Deliver)] == [9]
    assert not any(isinstance(effect, Emit) for effect in effects) and core.logs["topic:a"].offset == 12  # type: ignore[union-attr]
    (leave,) = run(core, build_part(13, [], 20))
    assert isinstance(leave, Leave) and leave.reconnect
    # What is under way of a subscription that was left is none of the next one.
    list(core.unfollow_log("topic:a"))
    list(core.follow_log("topic:a", only={"region": "eu"}))
    assert run(core, build_part(12, [14], 20)) == [] and core.logs["topic:a"] is None


def build_part(prev: int, offsets: list[int], to: int) -> dict[str, Any]:
    frame = conflated(prev, offsets, to)
    del frame["conflated"]
    return frame


def test_a_denied_log_is_not_asked_for_again() -> None:
    core = ready_core()
    list(core.follow_log("topic:secret"))
    denied = {"type": "error", "id": 1, "code": 250, "name": "topic_denied", "temporary": False}
    effects = run(core, denied)
    assert any(isinstance(effect, Following) and effect.verdict["mode"] == "denied" for effect in effects)
    assert "topic:secret" not in core.logs


def test_a_log_that_is_denied_later_is_left_and_resumed_when_it_is_wanted_anew() -> None:
    core = ready_core()
    list(core.follow_log("topic:a"))
    verdict = {"mode": "up_to_date", "position": ["e1", 3, "t3"]}
    run(core, {"type": "reply", "id": 1, "verdict": verdict})
    error = {"type": "error", "log": "topic:a", "code": 250, "name": "topic_denied", "temporary": False}
    effects = run(core, error, error)
    assert Emit("denied", {"log": "topic:a", "error": error}) in effects
    assert not sent(effects)
    assert "topic:a" not in core.build_connect("sma_token")["logs"]
    [asked] = sent(list(core.follow_log("topic:a")))
    assert asked["position"] == ["e1", 3, "t3"]


def test_receipts_are_confirmed_in_batches_and_with_each_pong() -> None:
    core = ready_core()
    for _ in range(ACK_EVERY):
        core.add_write({"type": "send", "data": 1})
    effects = run(core, *[ok(seq) for seq in range(1, ACK_EVERY + 1)])
    assert sent(effects) == [{"type": "ack", "seq": ACK_EVERY}]
    assert sent(run(core, {"type": "ping", "ping": 7})) == [{"type": "pong", "ping": 7, "acked": ACK_EVERY}]


def test_a_large_document_is_fetched_and_entries_wait_for_it() -> None:
    core = ready_core()
    large = {"type": "snapshot", "log": "state:main", "position": ["e1", 7, "t7"], "url": "/big", "reason": "trimmed"}
    assert run(core, large) == [Fetch("state:main", "/big")]
    run(core, entries("state:main", 8, revision([["inc", "/n", 1]]), revision([["inc", "/n", 1]])))
    list(core.apply_fetched("state:main", Position("e1", 8, "t8"), {"n": 8}))
    assert core.open_replica("main").view == {"n": 9}
    assert core.logs["state:main"] == Position("e1", 9, "t9")


def test_a_document_whose_body_never_came_has_no_position() -> None:
    core = ready_core()
    run(core, {"type": "snapshot", "log": "state:main", "position": ["e1", 7, "t7"], "url": "/big", "reason": "first"})
    core.mark_disconnected()
    assert core.build_connect("t")["logs"]["state:main"] is None


def test_a_forgotten_client_gives_its_writes_to_the_application() -> None:
    core = ready_core()
    core.add_update("main", [["set", "/a", 1]], "server_wins")
    effects = run(core, {"type": "bye", "code": 4508, "name": "client_forgotten", "reconnect": False})
    assert [effect.frame["seq"] for effect in effects if isinstance(effect, Abandon)] == [1]
    assert effects[-1] == Leave(4508, "client_forgotten", True, None)
    assert core.build_connect("t")["client_id"] is None
    assert core.add_write({"type": "send", "data": 1})[0] == 1


def test_numbers_that_the_server_has_decided_are_never_given_again() -> None:
    core = ready_core(last_seq=12)
    assert core.add_write({"type": "send", "data": 1})[0] == 13


def test_a_stored_outbox_shows_in_the_document_before_the_server_answers() -> None:
    write = {"type": "update", "seq": 5, "doc": "main", "strategy": "server_wins", "ops": [["set", "/a", 1]]}
    core = Core(Saved(client_id="c_one", next_seq=6, writes=[write]))
    assert core.open_replica("main").view == {"a": 1}
    assert core.build_connect("t")["acked"] == 4


def test_an_update_names_a_strategy_only_if_it_was_given_one() -> None:
    core = ready_core()
    _, effects = core.add_update("main", [["set", "/a", 1]])
    assert "strategy" not in sent(effects)[0]
    _, effects = core.add_update("main", [["set", "/a", 1]], "manual")
    assert sent(effects)[0]["strategy"] == "manual"


def test_writes_older_than_the_log_are_sent_again_with_digests_of_what_they_replaced() -> None:
    core = ready_core()
    first, effects = core.add_update("main", [["set", "/a", 1], ["inc", "/n", 1]])
    assert "replaced" not in sent(effects)[0]
    second, _ = core.add_update("main", [["set", "/a", 2]])
    run(core, no(first, "too_old", True), snapshot("state:main", 9, {"a": 5}))
    run(core, no(first, "too_old", True))
    again = sent(list(core.resend_writes()))
    assert [frame["base"] for frame in again] == [9, 9]
    assert [frame["replaced"] for frame in again] == [{"/a": None}, {"/a": digest_value(1)}]
    assert all("unseen" not in frame for frame in again)
    assert core.open_replica("main").view == {"a": 2, "n": 1}
    run(core, ok(first), ok(second))
    assert core.open_replica("main").view == {"a": 5}


def test_a_receipt_that_tells_of_a_conflict_becomes_an_event() -> None:
    core = ready_core()
    seq, _ = core.add_update("main", [["set", "/a", 1]])
    conflict = {"path": "/a", "kept": "server", "server": 2, "client": 1}
    effects = run(core, ok(seq, conflicts=[conflict]))
    assert Emit("conflict", {"doc": "main", "seq": seq, "conflicts": [conflict]}) in effects


def test_an_answer_that_is_older_than_what_a_poll_has_brought_gives_no_entry_twice() -> None:
    core = ready_core()
    core._stored_places["topic:t"] = Position("e1", 0, "t0")
    (asked,) = sent([*core.follow_log("topic:t")])
    news = entries("topic:t", 1, "one")
    delivered = [effect for effect in run(core, news) if isinstance(effect, Deliver)]
    verdict = {"mode": "up_to_date", "position": ["e1", 0, "t0"]}
    (following,) = run(core, {"type": "reply", "id": asked["id"], "verdict": verdict})
    assert following == Following("topic:t", verdict)
    delivered += [effect for effect in run(core, news) if isinstance(effect, Deliver)]
    assert [effect.body for effect in delivered] == ["one"]
