"""Checker where a backup was put back: what it undid may be gone, and nothing else; who had seen it must be told."""

from __future__ import annotations

from typing import Any

from tests.faults.check import check
from tests.faults.stories import EPOCH, SESSION, TOPIC, Record, Story

MAIN = "state:main"
LOST = {"mode": "snapshot", "reason": "history_lost"}


def open_story() -> Story:
    """Version 1 is in the backup; version 2 is acknowledged and seen by both, and undone."""
    story = Story()
    for process in "ab":
        story.start(process)
        story.connect(process)
    write(story, "a", 1, "/x")
    story.add("nemesis", "backup")
    write(story, "b", 1, "/y")
    for process in "ab":
        story.see(process, MAIN, 1, 2)
        story.add(process, "info", ops=[], gen=1, code=1006, name="")
    return story


def put_back(story: Story) -> None:
    del story.revisions[1:]
    heads = {f"{SESSION}/{MAIN}": 1, f"topic:{TOPIC}": 0}
    story.add("nemesis", "restore", heads=heads)
    story.generations.clear()


def write(story: Story, process: str, seq: int, path: str, base: int | None = None, tag: str = "") -> None:
    op = f"{process}-{seq}"
    story.update(process, op, seq, [["set", path, op]])
    if base is not None:
        story.records[-1]["frame"] |= {"base": base, "epoch": EPOCH, "tag": tag}
    story.ok(process, op, seq, story.revise(process, seq, [["set", path, op]]))


def restored(a: Record = LOST) -> Story:
    """`a` comes back (`a`: what it is told), and the new version 2 has another tag."""
    story = open_story()
    put_back(story)
    story.connect("b", state=LOST)
    story.snapshot("b", 1, {"x": "a-1"})
    write(story, "b", 2, "/x")
    story.revisions[1]["tag"] = story.records[-1]["receipt"]["position"][2] = "new2"
    story.see("b", MAIN, 2, 2)
    story.connect("a", state=a)
    story.snapshot("a", 2, {"x": "b-2"})["frame"]["position"][2] = "new2"
    return story


def judge(story: Story) -> set[str]:
    dump = story.dump()
    dump["documents"][0]["tag"] = story.revisions[-1]["tag"]
    return {violation.promise for violation in check(story.records, dump).violations}


def test_what_was_acknowledged_after_the_backup_may_be_gone() -> None:
    assert judge(restored()) == set()


def test_what_was_acknowledged_before_the_backup_must_be_there() -> None:
    story = restored()
    story.revisions[0] |= {"client": "c_z", "seq": 1}
    assert "S1" in judge(story)


def test_what_was_acknowledged_after_the_return_must_be_there() -> None:
    story = restored()
    story.revisions[1] |= {"client": "c_z", "seq": 1}
    assert "S1" in judge(story)


def test_without_a_restored_backup_the_same_history_is_a_loss() -> None:
    story = restored()
    story.records = [record for record in story.records if record["type"] != "restore"]
    assert {"S1", "T7"} <= judge(story)


def test_a_client_of_the_lost_history_that_is_not_told_is_found() -> None:
    up_to_date: dict[str, Any] = {"mode": "up_to_date", "position": [EPOCH, 2, "tag2"]}
    assert "T7" in judge(restored(a=up_to_date))


def test_a_base_of_the_lost_history_that_is_accepted_is_found() -> None:
    story = restored()
    write(story, "a", 2, "/z", base=2, tag="tag2")
    for process in "ab":
        story.see(process, MAIN, 3, 3)
    assert judge(story) == {"S4"}


def test_a_base_of_the_new_history_is_in_order() -> None:
    story = restored()
    write(story, "a", 2, "/z", base=2, tag="new2")
    for process in "ab":
        story.see(process, MAIN, 3, 3)
    assert judge(story) == set()


def test_a_write_by_digests_over_something_unseen_is_found() -> None:
    story = restored()
    op = "a-2"
    story.update("a", op, 2, [["set", "/x", op]])
    story.records[-1]["frame"] |= {"base": 2, "epoch": EPOCH, "tag": "tag2"}
    story.add("a", "temporary", op=op, gen=1, receipt={"seq": 2, "ok": False, "error": {"name": "unknown_version"}})
    story.add("a", "again", op=op, gen=1, base=2, tag="new2", digests={"/x": "0" * 16})
    story.ok("a", op, 2, story.revise("a", 2, [["set", "/x", op]]))
    assert "S4" in judge(story)


def stay_attached() -> Story:
    """`a` stays attached over HTTP: no verdict tells it anything when it polls again from version 2."""
    story = open_story()
    put_back(story)
    story.generations |= {"a": 1, "b": 1}
    write(story, "b", 2, "/x")
    story.revisions[1]["tag"] = story.records[-1]["receipt"]["position"][2] = "new2"
    return story


def test_a_client_that_a_poll_tells_of_the_lost_history_is_in_order() -> None:
    story = stay_attached()
    for process in "ab":
        story.snapshot(process, 2, {"x": "b-2"})["frame"] |= {"reason": "history_lost", "position": [EPOCH, 2, "new2"]}
    assert judge(story) == set()


def test_a_client_that_a_poll_gives_what_follows_its_lost_place_is_found() -> None:
    story = stay_attached()
    story.snapshot("b", 2, {"x": "b-2"})["frame"] |= {"reason": "history_lost", "position": [EPOCH, 2, "new2"]}
    write(story, "b", 3, "/z")
    for process in "ab":
        story.see(process, MAIN, 3, 3)
    assert judge(story) == {"T7"}


def test_a_base_of_a_call_without_an_answer_is_not_the_one_that_was_taken() -> None:
    story = stay_attached()
    for record in story.records:
        if record["type"] == "connected":
            record["transport"] = "longpoll"
    for process in "ab":
        story.snapshot(process, 2, {"x": "b-2"})["frame"] |= {"reason": "history_lost", "position": [EPOCH, 2, "new2"]}
    story.update("a", "a-2", 2, [["set", "/z", "a-2"]])
    story.records[-1]["frame"] |= {"base": 2, "epoch": EPOCH, "tag": "tag2"}
    story.add("a", "again", op="a-2", gen=1, base=2, tag="new2", digests={"/z": None})
    story.ok("a", "a-2", 2, story.revise("a", 2, [["set", "/z", "a-2"]]))
    for process in "ab":
        story.see(process, MAIN, 3, 3)
    assert judge(story) == set()
