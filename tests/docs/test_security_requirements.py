"""Every requirement of security has a test that shows it, or a reason why it has none, and the page says which."""

from __future__ import annotations

from tests.requirements import PAGE, ROWS, fill_page, find_tests


def test_every_row_has_a_test_or_a_reason() -> None:
    tests = find_tests()
    assert [row.id for row in ROWS if bool(tests.get(row.id)) is bool(row.without)] == []
    assert [row.id for row in ROWS if bool(row.does) is bool(row.without)] == []
    assert len({row.id for row in ROWS}) == len(ROWS)


def test_every_mark_names_a_row() -> None:
    assert set(find_tests()) - {row.id for row in ROWS} == set()


def test_the_page_has_the_list_of_now() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert fill_page(page) == page, "run python -m tests.requirements"
