"""Checker where a log was trimmed: entries that nobody can look up any more are counted instead."""

from __future__ import annotations

import pytest

from tests.faults.check import VALID, Verdict, check
from tests.faults.operations import digest_value
from tests.faults.stories import Record, Story


def counting(*, counted: int | None) -> tuple[Story, Record]:
    """Two acknowledged additions; the first is not in the log any more, and both clients were given `counted`."""
    story = Story()
    for process in "ab":
        story.start(process)
        story.connect(process)
    for number in (1, 2):
        story.update("a", f"a-{number}", number, [["inc", "/n", 1]], base=0)
        story.ok("a", f"a-{number}", number, story.revise("a", number, [["inc", "/n", 1]]))
    for process in "ab" if counted is not None else "":
        story.snapshot(process, 2, {"n": counted})
    dump = story.dump()
    dump["documents"][0] |= {"oldest": 2, "revisions": story.revisions[1:]}
    return story, dump


def judged(story: Story, dump: Record) -> tuple[Verdict, set[str]]:
    verdict = check(story.records, dump)
    return verdict, {violation.promise for violation in verdict.violations}


def test_a_trimmed_version_that_nobody_saw_is_no_loss_when_it_was_counted() -> None:
    verdict, _ = judged(*counting(counted=2))
    assert verdict.code == VALID, verdict


@pytest.mark.parametrize(("counted", "promise"), [(1, "S1"), (3, "S6")])
def test_an_addition_that_is_missing_or_there_twice_is_found_without_its_revision(counted: int, promise: str) -> None:
    _, promises = judged(*counting(counted=counted))
    assert promises == {promise}


def test_an_addition_without_an_answer_counts_once_or_not_at_all() -> None:
    for counted in (2, 3):
        story, dump = counting(counted=counted)
        story.update("b", "b-1", 1, [["inc", "/n", 1]], base=2)
        assert judged(story, dump)[0].code == VALID


def test_a_document_whose_end_nobody_was_given_proves_nothing() -> None:
    story, dump = counting(counted=None)
    verdict = check(story.records, dump)
    assert not [violation for violation in verdict.violations if violation.promise in ("S1", "S6")]
    assert any("the end of" in doubt for doubt in verdict.doubts)


def test_a_trimmed_version_that_somebody_saw_must_be_the_acknowledged_write() -> None:
    story, dump = counting(counted=2)
    story.revisions[0] = {**story.revisions[0], "ops": [["set", "/n", 7]]}
    seen = story.see("b", "state:main", 1, 1)
    seen["frame"]["entries"][0][2] |= {"client_id": "c_b", "seq": 9}
    _, promises = judged(story, dump)
    assert {"S1", "S2"} <= promises


def test_what_a_client_changed_by_digests_is_measured_from_what_it_had_seen() -> None:
    story, dump = counting(counted=2)
    story.update("b", "b-1", 1, [["set", "/n", 9]], base=0)
    story.add("b", "again", op="b-1", gen=1, base=2, digests={"/n": None})
    story.ok("b", "b-1", 1, story.revise("b", 1, [["set", "/n", 9]]))
    dump = story.dump()
    dump["documents"][0] |= {"oldest": 2, "revisions": story.revisions[1:]}
    story.see("a", "state:main", 3, 3)
    _, promises = judged(story, dump)
    assert "S4" in promises


@pytest.mark.parametrize(("replaced", "promises"), [("b-1", set()), ("a-9", {"S4"})])
def test_a_client_that_replaced_its_own_last_value_has_passed_over_nothing(replaced: str, promises: set[str]) -> None:
    story = Story()
    for process in "ab":
        story.start(process)
        story.connect(process)
    story.update("b", "b-1", 1, [["set", "/x", "b-1"]])
    story.update("b", "b-2", 2, [["set", "/x", "b-2"]], base=0)
    story.update("a", "a-1", 1, [["set", "/x", "a-1"]], base=0)
    story.ok("a", "a-1", 1, story.revise("a", 1, [["set", "/x", "a-1"]]))
    story.ok("b", "b-1", 1, story.revise("b", 1, [["set", "/x", "b-1"]]))
    story.add("b", "again", op="b-2", gen=1, base=1, digests={"/x": digest_value(replaced)})
    story.ok("b", "b-2", 2, story.revise("b", 2, [["set", "/x", "b-2"]]))
    assert judged(story, story.dump())[1] & {"S4"} == promises


@pytest.mark.parametrize(("version", "promises"), [(2, set()), (1, {"T6"})])
def test_a_snapshot_stands_for_a_replay_if_it_reaches_as_far(version: int, promises: set[str]) -> None:
    story, dump = counting(counted=2)
    verdict = {"mode": "entries", "from": 0, "to": 2, "position": ["e1", 2, "tag2"]}
    story.places["b"]["state:main"] = ["e1", 0, ""]
    story.connect("b", state=verdict)
    story.snapshot("b", version, {"n": version})
    story.add("b", "recovery", gen=2, frame={"receipt": {"verdict": "full"}})
    assert judged(story, dump)[1] & {"T6"} == promises
