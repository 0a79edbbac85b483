"""Tests of the checker on lists: an honest reader passes, and each lie about what it shows is caught."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.check import Demands, check
from tests.faults.lists import LOG, TOPIC
from tests.faults.stories import EPOCH, Record, Story, honest

pytestmark = pytest.mark.sqlite


def tell(pk: int, name: str | None) -> Record:
    """Build the publication of a row, or of its end."""
    if name is None:
        return {"op": "del", "pk": str(pk)}
    return {"op": "put", "pk": str(pk), "row": {"id": pk, "name": name}}


def build_rows(rows: list[list[Any]]) -> list[Record]:
    return [{"id": pk, "name": name} for pk, name in rows]


class Listed(Story):
    """Honest history with a reader that shows a page up to the name c, and then all."""

    def __init__(self, story: Story) -> None:
        super().__init__()
        self.__dict__.update(story.__dict__)
        self.bodies = [tell(1, "b"), tell(2, "a"), tell(3, "d"), tell(1, "c"), tell(2, None), tell(4, "e")]
        self.rows = [[1, "c"], [3, "d"], [4, "e"]]
        self.start("r")
        self.page = self.read_page("first", 3, [[2, "a"], [1, "b"]], until=["c", 9])
        self.first = self.show(3, [[2, "a"], [1, "b"]], until=["c", 9])
        self.moved = self.show(5, [[1, "c"]], until=["c", 9])
        self.next = self.read_page("next", 5, [[3, "d"]], after=["c", 9])
        self.last = self.show(6, [[4, "e"], [3, "d"], [1, "c"]], descending=True, last=True)

    def read_page(self, of: str, place: int, rows: list[list[Any]], **more: Any) -> Record:
        given = {"after": None, "until": None, "descending": False, "exact": True} | more
        return self.add("r", "page", of=of, position=[EPOCH, place, "t"], rows=build_rows(rows), **given)

    def show(self, place: int, rows: list[list[Any]], **more: Any) -> Record:
        fields = {"after": None, "until": None, "descending": False, "last": False, "whole": True} | more
        return self.add("r", "shows", log=LOG, place=place, rows=build_rows(rows), **fields)

    def dump(self) -> Record:
        found = super().dump()
        rows = [{"offset": number, "tag": "t", "data": data} for number, data in enumerate(self.bodies, 1)]
        stream = {"topic": TOPIC, "epoch": EPOCH, "oldest": 1, "publications": rows, "head": len(rows), "tag": "t"}
        return {**found, "streams": [*found["streams"], stream], "rows": self.rows}


@pytest.fixture
def story() -> Listed:
    return Listed(honest())


def test_an_honest_list_is_valid(story: Listed) -> None:
    assert check(story.records, story.dump()).violations == []


def test_a_reader_that_turned_too_little_proves_nothing(story: Listed) -> None:
    assert check(story.records, story.dump(), demands=Demands(turns=2)).doubts == ["1 turns of 2"]


def miss_a_row(story: Listed) -> None:
    story.first["rows"].pop()


def show_a_row_twice(story: Listed) -> None:
    story.first["rows"].append(story.first["rows"][0])


def show_an_old_name(story: Listed) -> None:
    story.last["rows"][2]["name"] = "b"


def keep_a_deleted_row(story: Listed) -> None:
    story.moved["rows"].insert(0, {"id": 2, "name": "a"})


def show_a_row_beyond_its_range(story: Listed) -> None:
    story.moved["rows"].append({"id": 3, "name": "d"})


def show_another_order(story: Listed) -> None:
    story.last["rows"].reverse()


def apply_what_comes_later(story: Listed) -> None:
    story.first["rows"] = [{"id": 2, "name": "a"}, {"id": 1, "name": "c"}]


def wait_for_a_page_in_the_end(story: Listed) -> None:
    story.last["whole"] = False


def be_given_an_inexact_page(story: Listed) -> None:
    story.page["exact"] = False


def be_given_a_row_of_the_page_before(story: Listed) -> None:
    story.next["rows"].insert(0, {"id": 1, "name": "c"})


def be_given_a_page_without_a_row(story: Listed) -> None:
    story.next["rows"].pop()


def change_without_telling(story: Listed) -> None:
    story.rows[1][1] = "z"


def add_without_telling(story: Listed) -> None:
    story.rows.append([5, "f"])


def tell_what_was_rolled_back(story: Listed) -> None:
    story.rows.pop()


@pytest.mark.parametrize(
    ("lie", "found"),
    [
        (miss_a_row, "T8"),
        (show_a_row_twice, "T8"),
        (show_an_old_name, "T8"),
        (keep_a_deleted_row, "T8"),
        (show_a_row_beyond_its_range, "T8"),
        (show_another_order, "T8"),
        (apply_what_comes_later, "T8"),
        (wait_for_a_page_in_the_end, "T8"),
        (be_given_an_inexact_page, "T8"),
        (be_given_a_row_of_the_page_before, "T8"),
        (be_given_a_page_without_a_row, "T8"),
        (change_without_telling, "T4"),
        (add_without_telling, "T4"),
        (tell_what_was_rolled_back, "T5"),
    ],
)
def test_each_lie_is_found(story: Listed, lie: Callable[[Listed], Any], found: str) -> None:
    lie(story)
    assert found in {violation.promise for violation in check(story.records, story.dump()).violations}
