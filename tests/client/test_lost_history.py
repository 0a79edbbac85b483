"""Writes whose base belongs to a history that the server has lost: judged by digests, never by their old version."""

from __future__ import annotations

from typing import Any

import pytest

from session_mgmt.client.core import Core
from session_mgmt.client.effects import Fetch
from session_mgmt.client.storage import Saved
from session_mgmt.documents.replaced import digest_value
from session_mgmt.protocol.position import Position
from tests.client.fake_server import connected, entries, snapshot
from tests.client.test_core import no, ok, ready_core, revision, run, sent

LOST = {"mode": "snapshot", "reason": "history_lost"}


def write_offline() -> Core:
    """Return a core that knew version 6 and has changed a field since, without a connection."""
    core = ready_core()
    run(core, entries("state:main", 1, *(revision([["set", "/title", f"v{n}"]]) for n in range(1, 7))))
    core.mark_disconnected()
    core.add_update("main", [["set", "/title", "mine"]])
    core.add_write({"type": "send", "data": "after it"})
    return core


def lost_snapshot(data: Any, version: int = 10, epoch: str = "e1", reason: str = "history_lost") -> dict[str, Any]:
    return {**snapshot("state:main", version, data, epoch=epoch), "reason": reason}


@pytest.mark.parametrize(("reason", "epoch"), [("history_lost", "e1"), ("epoch_changed", "e2")])
def test_a_pending_write_waits_for_the_snapshot_and_goes_with_digests(reason: str, epoch: str) -> None:
    """After a restored backup version 6 is another one, and the head is beyond it again."""
    core = write_offline()
    verdict = {"mode": "snapshot", "reason": reason}
    assert sent(run(core, connected(generation=2, logs={"state:main": verdict}))) == []
    update, send = sent(run(core, lost_snapshot({"title": "theirs"}, 10, epoch, reason)))
    assert (update["base"], update["epoch"], update["tag"]) == (10, epoch, "t10")
    assert update["replaced"] == {"/title": digest_value("v6")}
    assert send["type"] == "send"


def test_a_write_made_while_the_snapshot_is_awaited_does_not_overtake() -> None:
    core = write_offline()
    run(core, connected(generation=2, logs={"state:main": LOST}))
    _, effects = core.add_write({"type": "send", "data": "third"})
    assert sent(effects) == []
    resent = sent(run(core, lost_snapshot({"title": "theirs"})))
    assert [frame["seq"] for frame in resent] == [1, 2, 3]


def test_the_snapshot_may_come_over_http() -> None:
    core = write_offline()
    run(core, connected(generation=2, logs={"state:main": LOST}))
    place = ["e1", 10, "t10"]
    frame = {"type": "snapshot", "log": "state:main", "position": place, "url": "/state", "reason": "history_lost"}
    assert run(core, frame) == [Fetch("state:main", "/state")]
    update, _ = sent(list(core.apply_fetched("state:main", Position("e1", 10, "t10"), {"title": "theirs"})))
    assert (update["base"], "replaced" in update) == (10, True)


def test_a_live_snapshot_after_a_restore_changes_the_base_of_what_was_sent() -> None:
    core = ready_core()
    run(core, entries("state:main", 1, revision([["set", "/title", "v1"]])))
    core.add_update("main", [["set", "/title", "mine"]])
    assert sent(run(core, lost_snapshot({"title": "theirs"}))) == []
    run(core, no(1, "epoch_changed", temporary=True))
    (update,) = sent(list(core.resend_writes()))
    assert (update["base"], update["replaced"]) == (10, {"/title": digest_value("v1")})


def test_a_write_made_on_the_new_history_goes_with_its_base_alone() -> None:
    core = write_offline()
    run(core, connected(generation=2, logs={"state:main": LOST}), lost_snapshot({"title": "theirs"}), ok(1), ok(2))
    _, effects = core.add_update("main", [["set", "/other", 1]])
    (update,) = sent(effects)
    assert (update["base"], "replaced" in update) == (10, False)


def test_a_trimmed_log_leaves_the_base_to_the_server() -> None:
    core = write_offline()
    trimmed = {"mode": "snapshot", "reason": "trimmed"}
    update, _ = sent(run(core, connected(generation=2, logs={"state:main": trimmed})))
    assert (update["base"], "replaced" in update) == (6, False)


def test_a_connection_lost_before_the_snapshot_forgets_nothing() -> None:
    core = write_offline()
    frame = {"type": "snapshot", "log": "state:main", "position": ["e1", 10, "t10"], "url": "/state"}
    run(core, connected(generation=2, logs={"state:main": LOST}), frame)
    core.mark_disconnected()
    first = {"mode": "snapshot", "reason": "first"}
    assert sent(run(core, connected(generation=3, logs={"state:main": first}))) == []
    update, _ = sent(run(core, lost_snapshot({"title": "theirs"}, reason="first")))
    assert update["replaced"] == {"/title": digest_value("v6")}


def test_stored_positions_of_topics_wait_for_their_subscriber() -> None:
    """Without one their entries would be delivered to nobody, and never come again."""
    core = Core(Saved(client_id="c_one", positions={"topic:a": ["e1", 3, "t3"]}))
    assert "topic:a" not in core.build_connect("t")["logs"]
    run(core, connected())
    (asked,) = sent(list(core.follow_log("topic:a")))
    assert asked["position"] == ["e1", 3, "t3"]


def test_a_synchronisation_over_http_leaves_the_lost_history_too() -> None:
    """The restored head is older than what is known here, and right all the same."""
    core = write_offline()
    answer = {"mode": "snapshot", "reason": "history_lost", "position": ["e1", 1, "x1"], "data": {"title": "old"}}
    list(core.apply_sync("main", answer))
    assert core.open_replica("main").position == Position("e1", 1, "x1")
    assert next(iter(core.outbox))["base"] == 1
    update, _ = sent(run(core, connected(generation=2, logs={"state:main": {"mode": "up_to_date"}})))
    assert update["replaced"] == {"/title": digest_value("v6")}


def test_every_base_carries_the_tag_of_its_version() -> None:
    core = ready_core()
    run(core, entries("state:main", 1, revision([["set", "/title", "v1"]])))
    (update,) = sent(core.add_update("main", [["set", "/title", "mine"]])[1])
    assert [update[name] for name in ("base", "epoch", "tag")] == [1, "e1", "t1"]


def test_a_stored_write_of_a_lost_history_is_refused_by_its_tag_and_goes_with_digests() -> None:
    """A new process has no position, so its verdict names no loss; the number alone would fit."""
    core = write_offline()
    core = Core(Saved(client_id="c_one", next_seq=3, writes=list(core.outbox)))
    core.open_replica("main")
    first, _ = sent(run(core, connected(logs={"state:main": {"mode": "snapshot", "reason": "first"}})))
    assert (first["base"], first["tag"], "replaced" in first) == (6, "t6", False)
    run(core, snapshot("state:main", 6, {"title": "theirs"}, epoch="e1") | {"position": ["e1", 6, "x6"]})
    run(core, no(1, "unknown_version", temporary=True))
    update, _ = sent(list(core.resend_writes()))
    assert (update["base"], update["tag"], update["replaced"]) == (6, "x6", {"/title": digest_value("v6")})
