"""Tests of the checker on guests: an honest history passes, and each lie about a part, a page or a member is caught."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.check import Demands, check
from tests.faults.check_guests import VISITS, count
from tests.faults.stories import EPOCH, TOPIC, Record, Story, honest

LOG = f"topic:{TOPIC}"

pytestmark = pytest.mark.sqlite


class Visited(Story):
    """Honest history with a guest that wants one of its two publications, reads a page of the past, and comes and
    goes.
    """

    def __init__(self, story: Story) -> None:
        super().__init__()
        self.__dict__.update(story.__dict__)
        self.start("g", filter={LOG: {"v": "b-2"}})
        self.places["g"][LOG] = [EPOCH, 0, ""]
        self.connect("g")
        self.turned = self.add("g", "turned", wish=True, member="m")
        self.part = self.see_part(0, 2, [2])
        asks = self.add("g", "asks", log=LOG, before=None)
        rows = [[row["offset"], row["tag"], dict(row["data"]), "at"] for row in self.publications]
        reply = {"entries": rows, "more": False}
        self.page = self.add("g", "past", log=LOG, before=None, asked=asks["i"], frame=reply)
        self.add("g", "turn", wish=False)
        self.left = self.add("g", "turned", wish=False, member=None)
        nobody = {"position": [EPOCH, 2, "t"], "count": 0, "members": {}}
        self.look = self.add("g", "members", frame=nobody, known=2)
        self.presence = [
            {"joined": {"m": {}}, "changed": {}, "left": [], "count": 1},
            {"joined": {}, "changed": {}, "left": ["m"], "count": 0},
        ]

    def see_part(self, prev: int, last: int, offsets: list[int]) -> Record:
        rows = [[row["offset"], row["tag"], row["data"]] for row in self.publications if row["offset"] in offsets]
        frame = {"log": LOG, "epoch": EPOCH, "prev": prev, "entries": rows, "position": [EPOCH, last, f"tag{last}"]}
        return self.add("g", "entries", gen=1, frame={"type": "entries", **frame})

    def dump(self) -> Record:
        found = super().dump()
        rows = [{"offset": number, "tag": "t", "data": data} for number, data in enumerate(self.presence, 1)]
        stream = {"topic": VISITS, "epoch": EPOCH, "oldest": 1, "publications": rows, "head": len(rows), "tag": "t"}
        return {**found, "streams": [*found["streams"], stream]}


@pytest.fixture
def story() -> Visited:
    return Visited(honest())


def promises(story: Visited) -> set[str]:
    return {violation.promise for violation in check(story.records, story.dump()).violations}


def test_an_honest_guest_is_valid(story: Visited) -> None:
    assert check(story.records, story.dump()).violations == []
    assert count(story.records) == {"turned": 2, "pages": 1, "parts": 1, "looks": 1}


def test_guests_that_did_too_little_prove_nothing(story: Visited) -> None:
    verdict = check(story.records, story.dump(), demands=Demands(turned=3, pages=2, parts=2, looks=2))
    assert verdict.doubts == ["2 turned of 3", "1 pages of 2", "1 parts of 2", "1 looks of 2"]


def lose_wanted(story: Visited) -> None:
    story.part["frame"]["entries"].clear()


def give_unwanted(story: Visited) -> None:
    row = story.publications[0]
    story.part["frame"]["entries"].insert(0, [row["offset"], row["tag"], row["data"]])


def give_all(story: Visited) -> None:
    del story.part["frame"]["prev"], story.part["frame"]["position"]


def jump(story: Visited) -> None:
    story.part["frame"]["prev"] = 1


def stop_early(story: Visited) -> None:
    story.part["frame"] |= {"entries": [], "position": [EPOCH, 1, "tag1"]}


def give_again(story: Visited) -> None:
    story.see_part(0, 2, [2])


def go_back(story: Visited) -> None:
    story.see_part(0, 1, [])


def have_a_hole(story: Visited) -> None:
    story.append("a-9")
    story.page["frame"]["entries"] = [[1, "tag1", {"v": "a-2"}, "at"], [3, "tag3", {"v": "a-9"}, "at"]]


def end_early(story: Visited) -> None:
    story.page["frame"]["entries"].pop()


def have_no_page(story: Visited) -> None:
    story.page["frame"]["entries"].clear()


def have_another_entry(story: Visited) -> None:
    story.page["frame"]["entries"][0][2]["v"] = "b-2"


def go_past_its_end(story: Visited) -> None:
    story.page["before"] = [EPOCH, 2, "tag2"]


def promise_more(story: Visited) -> None:
    story.page["frame"]["more"] = True


def never_leave(story: Visited) -> None:
    story.presence.pop()


def never_come(story: Visited) -> None:
    story.presence.clear()
    story.left["wish"] = True


def flicker(story: Visited) -> None:
    story.presence += story.presence


def come_twice(story: Visited) -> None:
    story.presence.insert(1, story.presence[0])


def leave_twice(story: Visited) -> None:
    story.presence.append(story.presence[1])


def miscount(story: Visited) -> None:
    story.presence[1]["count"] = 1


def show_a_ghost(story: Visited) -> None:
    story.look["frame"] |= {"members": {"m": {}}, "count": 1}


def count_a_ghost(story: Visited) -> None:
    story.look["frame"]["count"] = 1


def show_from_another_place(story: Visited) -> None:
    story.look["frame"]["position"] = [EPOCH, 1, "t"]


def show_what_was(story: Visited) -> None:
    story.look["frame"] |= {"position": [EPOCH, 1, "t"], "members": {"m": {}}, "count": 1}


def bring_a_stranger(story: Visited) -> None:
    story.presence.append({"joined": {"x": {}}, "changed": {}, "left": [], "count": 1})


@pytest.mark.parametrize(
    ("lie", "found"),
    [
        (lose_wanted, {"T2"}),
        (give_unwanted, {"T1"}),
        (give_all, {"T2"}),
        (jump, {"T2"}),
        (stop_early, {"T4"}),
        (give_again, {"T3"}),
        (go_back, {"T2"}),
        (have_a_hole, {"T2"}),
        (end_early, {"T4"}),
        (have_no_page, {"T4"}),
        (have_another_entry, {"T1"}),
        (go_past_its_end, {"T4"}),
        (promise_more, {"T2"}),
        (never_leave, {"P2"}),
        (never_come, {"P2"}),
        (flicker, {"P1"}),
        (come_twice, {"P1"}),
        (leave_twice, {"P1"}),
        (miscount, {"P1"}),
        (show_a_ghost, {"P1"}),
        (count_a_ghost, {"P1"}),
        (show_from_another_place, {"P1"}),
        (show_what_was, {"P1"}),
        (bring_a_stranger, {"P2"}),
    ],
)
def test_each_lie_is_found(story: Visited, lie: Callable[[Visited], Any], found: set[str]) -> None:
    lie(story)
    assert found <= promises(story)
