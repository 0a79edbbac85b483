"""Tests of the checker: an honest history passes, and each lie is caught by the promise that it breaks."""

from __future__ import annotations

import pytest

from tests.faults.check import INVALID, UNKNOWN, VALID, Demands, check
from tests.faults.check_life import documented_names
from tests.faults.stories import EPOCH, TOPIC, Story, honest

TOPIC_LOG = f"topic:{TOPIC}"


def promises(story: Story, *log_lines: str) -> set[str]:
    """Which promises the checker finds broken."""
    return {violation.promise for violation in check(story.records, story.dump(), log_lines).violations}


def at(story: Story, **wanted: object) -> dict[str, object]:
    """Find the first record with these fields."""
    return next(r for r in story.records if all(r.get(key) == value for key, value in wanted.items()))


def test_an_honest_history_is_valid() -> None:
    story = honest()
    verdict = check(story.records, story.dump())
    assert verdict.violations == []
    assert verdict.code == VALID


def test_a_run_in_which_too_little_happened_is_unknown() -> None:
    story = honest()
    verdict = check(story.records, story.dump(), demands=Demands(kills=2, unanswered_at_kill=100, acknowledged=50))
    assert verdict.code == UNKNOWN
    assert len(verdict.doubts) == 3


def test_a_violation_names_the_records_that_show_it() -> None:
    story = honest()
    story.revisions.pop()
    verdict = check(story.records, story.dump())
    assert verdict.code == INVALID
    ok = at(story, type="ok", op="b-1")
    assert any(ok["i"] in violation.records for violation in verdict.violations if violation.promise == "S1")


def test_an_acknowledged_update_that_is_not_in_the_database_is_lost() -> None:
    story = honest()
    story.revisions.pop()
    assert "S1" in promises(story)


def test_an_acknowledged_update_whose_version_belongs_to_another_is_lost() -> None:
    story = honest()
    story.revisions[0] |= {"client": "c_b", "seq": 1, "ops": []}
    assert "S1" in promises(story)


def test_an_update_that_nobody_sent_is_found() -> None:
    story = honest()
    story.revise("a", 77, [["set", "/x", "from nowhere"]])
    assert "S2" in promises(story)


def test_an_operation_that_was_not_in_the_update_is_found() -> None:
    story = honest()
    story.revisions[0]["ops"] = [["set", "/x", "something else"]]
    assert "S2" in promises(story)


def test_a_refused_update_that_appears_is_found() -> None:
    story = honest()
    story.revise("a", 3, [["set", "/x", "a-3"]])
    assert "S2" in promises(story)


def test_a_hole_in_the_versions_is_found() -> None:
    story = honest()
    story.revisions[1]["version"] = 3
    assert "S3" in promises(story)


def test_a_version_lower_than_one_acknowledged_before_it_was_made_is_found() -> None:
    story = honest()
    story.update("a", "a-4", 4, [["set", "/x", "a-4"]], base=2)
    story.ok("a", "a-4", 4, [EPOCH, 1, "tag1"])
    assert "S3" in promises(story)


def test_two_updates_accepted_from_one_base_without_a_merge_are_found() -> None:
    story = honest()
    story.revisions[1]["ops"] = [["set", "/x", "b-1"], ["inc", "/n", 1]]
    assert "S4" in promises(story)


def test_additions_to_one_number_from_one_base_are_a_merge() -> None:
    story = honest()
    for process, seq in (("a", 4), ("b", 4)):
        story.update(process, f"{process}-4", seq, [["inc", "/n", 1]], base=2)
        story.revise(process, seq, [["inc", "/n", 1]])
    for process in "ab":
        story.see(process, "state:main", 3, 4)
    assert promises(story) == set()


def test_a_version_that_goes_back_is_found() -> None:
    story = honest()
    story.snapshot("a", 1, {"x": "a-1"})
    assert "S5" in promises(story)


def test_two_answers_to_one_write_are_found() -> None:
    story = honest()
    story.ok("a", "a-1", 1, [EPOCH, 2, "tag2"], replayed=True)
    assert "S6" in promises(story)


def test_a_refusal_after_an_acknowledgement_is_found() -> None:
    story = honest()
    story.fail("a", "a-1", 1)
    assert "S6" in promises(story)


def test_a_receipt_may_be_gone_only_after_its_client_has_confirmed_it() -> None:
    story = honest()
    record = story.fail("a", "a-1", 1, "receipt_gone")
    assert "S6" in promises(story)
    record["confirmed"] = True
    assert "S6" not in promises(story)


def test_an_update_that_took_effect_twice_is_found() -> None:
    story = honest()
    story.revise("a", 1, [["set", "/x", "a-1"]])
    assert "S6" in promises(story)


def test_a_publication_that_took_effect_twice_is_found() -> None:
    story = honest()
    story.append("a-2")
    for process in "ab":
        story.see(process, TOPIC_LOG, 3, 3)
    assert {"S6", "T3"} <= promises(story)


def test_an_operation_dropped_without_a_word_is_found() -> None:
    story = honest()
    del at(story, type="ok", op="b-1")["receipt"]["dropped"]  # type: ignore[attr-defined]
    assert "S6" in promises(story)


def test_two_values_at_one_offset_are_found() -> None:
    story = honest()
    record = at(story, type="entries", p="b", gen=1)
    next(r for r in story.records if r["p"] == "b" and (r.get("frame") or {}).get("log") == TOPIC_LOG)["frame"][
        "entries"
    ][0][2] = {"v": "b-2"}
    assert record
    assert "T1" in promises(story)


def test_a_hole_in_a_stream_is_found() -> None:
    story = honest()
    story.publications.pop(0)
    assert {"T1", "T4"} <= promises(story)


def test_a_jump_without_a_gap_is_found() -> None:
    story = honest()
    story.append("a-9")
    story.append("b-9")
    story.see("a", TOPIC_LOG, 4, 4)
    assert "T2" in promises(story)


def test_being_told_to_be_up_to_date_when_behind_is_found() -> None:
    story = honest()
    story.places["a"][TOPIC_LOG] = [EPOCH, 1, "tag1"]
    story.connect("a", topic={"mode": "up_to_date", "position": [EPOCH, 2, "tag2"]})
    assert "T2" in promises(story)


def test_an_entry_that_comes_twice_on_the_wire_is_found() -> None:
    story = honest()
    story.see("a", TOPIC_LOG, 2, 2)
    assert "T3" in promises(story)


def test_an_acknowledged_publication_that_is_missing_is_found() -> None:
    story = honest()
    story.publications.pop()
    assert "T4" in promises(story)


def test_a_reader_who_never_gets_the_last_entry_is_found() -> None:
    story = honest()
    story.publish("a", "a-5", 5)
    story.append("a-5")
    story.see("a", TOPIC_LOG, 3, 3)
    assert promises(story) == {"T4"}


def test_a_publication_of_a_refused_publish_is_found() -> None:
    story = honest()
    story.publish("a", "a-5", 5)
    story.fail("a", "a-5", 5)
    story.append("a-5")
    for process in "ab":
        story.see(process, TOPIC_LOG, 3, 3)
    assert promises(story) == {"T5"}


def test_a_publication_of_nobody_is_found() -> None:
    story = honest()
    story.append("from nowhere")
    for process in "ab":
        story.see(process, TOPIC_LOG, 3, 3)
    assert promises(story) == {"T5"}


@pytest.mark.parametrize("kind", ["publish", "send"])
def test_publications_of_one_client_in_another_order_are_found(kind: str) -> None:
    story = honest()
    for seq in (4, 5):
        data = {"v": f"a-{seq}"} | ({"topic": TOPIC} if kind == "send" else {})
        story.invoke("a", f"a-{seq}", seq, {"type": kind, "topic": TOPIC, "data": data})
    for seq in (5, 4):
        story.ok("a", f"a-{seq}", seq, story.append(f"a-{seq}"))
    for process in "ab":
        story.see(process, TOPIC_LOG, 3, 4)
    assert promises(story) == {"T2"}


def test_updates_of_one_client_in_another_order_are_found() -> None:
    story = honest()
    for seq in (4, 5):
        story.update("a", f"a-{seq}", seq, [["set", "/y", f"a-{seq}"]], base=2)
    for seq in (5, 4):
        story.ok("a", f"a-{seq}", seq, story.revise("a", seq, [["set", "/y", f"a-{seq}"]]))
    for process in "ab":
        story.see(process, "state:main", 3, 4)
    assert "T2" in promises(story)


def test_recovered_before_the_whole_range_has_come_is_a_lie() -> None:
    story = honest()
    story.append("a-8")
    story.append("a-9")
    story.connect("b")
    story.see("b", TOPIC_LOG, 3, 3, recovered=True)
    assert "T6" in promises(story)


def test_recovered_where_nothing_was_to_be_replayed_is_a_lie() -> None:
    story = honest()
    story.append("a-8")
    story.see("b", TOPIC_LOG, 3, 3, recovered=True)
    assert "T6" in promises(story)


def test_a_receipt_that_says_full_although_entries_were_lost_is_a_lie() -> None:
    story = honest()
    story.connect("b", topic={"mode": "gap", "from": 1, "to": 2, "reason": "trimmed", "position": [EPOCH, 2, "tag2"]})
    receipt = {"verdict": "full", "lost": {TOPIC_LOG: [1, 2]}, "replayed": {}}
    story.add("b", "recovery", gen=3, frame={"type": "recovery", "receipt": receipt})
    assert "T6" in promises(story)


def test_a_new_epoch_without_a_loss_is_found() -> None:
    story = honest()
    story.connect(
        "b", topic={"mode": "gap", "from": None, "to": 0, "reason": "epoch_changed", "position": ["e2", 0, ""]}
    )
    assert "T7" in promises(story)


def test_a_snapshot_that_is_not_the_sum_of_its_log_is_found() -> None:
    story = honest()
    story.connect("b", state={"mode": "snapshot", "reason": "too_many"})
    story.snapshot("b", 2, {"x": "a-1", "n": 2})
    assert promises(story) == {"T8"}


def test_a_write_accepted_under_an_old_generation_is_found() -> None:
    story = honest()
    story.connect("a")
    story.update("a!", "a-4!", 4, [["set", "/y", "a-4!"]], base=2, gen=2)
    story.revise("a", 4, [["set", "/y", "a-4!"]])
    for process in "ab":
        story.see(process, "state:main", 3, 3)
    assert promises(story) == {"L4"}


def test_an_acknowledgement_under_an_old_generation_is_found_even_without_an_effect() -> None:
    story = honest()
    story.connect("a")
    story.update("a!", "a-4!", 4, [["set", "/y", "a-4!"]], base=2, gen=2)
    story.ok("a!", "a-4!", 4, [EPOCH, 3, "tag3"])
    assert "L4" in promises(story)


def test_a_write_sent_before_the_newer_connection_was_answered_may_count() -> None:
    story = honest()
    story.update("a", "a-4", 4, [["set", "/y", "a-4"]], base=2)
    story.connect("a")
    story.revise("a", 4, [["set", "/y", "a-4"]])
    for process in "ab":
        story.see(process, "state:main", 3, 3)
    assert promises(story) == set()


def test_a_generation_that_comes_again_is_found() -> None:
    story = honest()
    story.generations["a"] = 1
    story.connect("a")
    assert "L4" in promises(story)


def test_a_refusal_without_a_documented_name_is_found() -> None:
    story = honest()
    story.fail("a", "a-3", 3, "because")
    assert "R6" in promises(story)
    assert "conflict" in documented_names()


@pytest.mark.parametrize("line", ["Traceback (most recent call last):", "Task exception was never retrieved"])
def test_a_traceback_in_a_server_log_is_found(line: str) -> None:
    assert promises(honest(), "started", line, "  File …", "ValueError: no") == {"R7"}


def test_a_client_that_must_be_refused_and_is_let_in_is_found() -> None:
    story = honest()
    story.start("r", refused="client_forgotten")
    story.connect("r")
    assert "R5" in promises(story)


def test_a_client_that_is_refused_in_the_place_of_its_neighbour_is_found() -> None:
    story = honest()
    story.start("r", refused="client_forgotten")
    for process in "rb":
        bye = {"type": "bye", "name": "client_forgotten", "reconnect": False}
        story.add(process, "bye", gen=0, frame=bye)
    found = check(story.records, story.dump()).violations
    assert [(violation.promise, violation.text[:6]) for violation in found] == [("R5", "b was ")]


def test_a_client_that_is_never_refused_is_found() -> None:
    story = honest()
    story.start("r", refused="client_forgotten")
    assert promises(story) == {"R5"}


def test_an_answered_attachment_without_its_row_is_found() -> None:
    story = honest()
    story.connections.pop()
    story.told -= 1
    assert "L4" in promises(story)


def test_an_attachment_without_its_event_is_found() -> None:
    story = honest()
    story.told -= 1
    assert "L4" in promises(story)


def test_two_open_attachments_of_one_client_are_found() -> None:
    story = honest()
    story.connections[0]["open"] = True
    assert "L4" in promises(story)


def test_a_client_that_comes_back_too_late_or_never_is_found() -> None:
    for seconds, found in ((1, set()), (3, {"R1"}), (None, {"R1"})):
        story = honest()
        head = story.head(TOPIC_LOG)[1]
        story.add("nemesis", "storm", clients=["a"], log=TOPIC_LOG, head=head, bound=2.0)
        if seconds is not None:
            story.connect("a")["t"] = story.records[-2]["t"] + seconds * 10**9
        assert promises(story) == found, seconds
