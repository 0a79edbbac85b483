"""Pictures of documents for people: small whatever the document is, and honest about what they leave out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from session_mgmt.documents import legible, outline, pointer
from session_mgmt.documents.outline import FOUND, LONG_TEXT, MEMBERS, NODES, TEXT, Node
from session_mgmt.documents.rebuild import Parts
from tests.documents.values import DOCUMENTS


def nodes(node: Node) -> list[Node]:
    return [node, *(below for child in node.children for below in nodes(child))]


def root(document: Any, *place: int, skip: int = 0) -> Node:
    found = outline.outline_document(document, place, skip).node
    assert found is not None
    return found


@given(DOCUMENTS)
def test_every_node_stands_where_its_pointer_and_its_place_say(document: Any) -> None:
    for node in nodes(root(document)):
        value = pointer.find_value(document, node.path)
        again = root(document, *node.place)
        assert (again.path, again.kind, again.length) == (node.path, node.kind, node.length)
        if node.is_container:
            assert node.length == len(value) == len(node.children) + node.hidden_count
        else:
            assert not node.children and not isinstance(value, dict | list)


def test_of_large_documents_the_upper_levels_come_first() -> None:
    node = root({"a": [[number] * 50 for number in range(99)], "b": {"c": 1}})
    assert [child.name for child in node.children] == ["a", "b"]
    assert len(node.children[0].children) == 99
    assert [below.name for below in node.children[1].children] == ["c"]
    assert len(nodes(node)) <= NODES + 1
    assert any(child.hidden_count == 50 and not child.children for child in node.children[0].children)


def test_a_wide_container_is_shown_from_any_member_on() -> None:
    document = {f"k{number}": number for number in range(1000)}
    node = root(document, skip=950)
    assert [child.name for child in node.children] == [f"k{number}" for number in range(950, 1000)]
    assert (node.skipped, node.hidden_count) == (950, 0)
    first = root(document)
    assert (len(first.children), first.hidden_count) == (MEMBERS, 900)


@pytest.mark.parametrize("place", [(3,), (0, 0), (1, 5), (1, 0, 0)])
def test_a_place_that_is_not_there_has_no_node(place: tuple[int, ...]) -> None:
    assert outline.outline_document({"a": 1, "b": [1, 2]}, place).node is None


def test_the_trail_leads_from_the_root() -> None:
    found = outline.outline_document({"x": 0, "a/b": [{"~": 1}]}, (1, 0, 0))
    assert [node.path for node in found.trail] == ["", "/a~1b", "/a~1b/0"]
    assert found.node is not None and found.node.path == "/a~1b/0/~0"


def test_a_long_text_is_cut_beside_others_and_long_alone() -> None:
    document = {"t": "é" * 100_000}
    beside, alone = root(document).children[0], root(document, 0)
    assert (beside.text, beside.is_cut, beside.length) == ('"' + "é" * TEXT + '"', True, 100_000)
    assert len(alone.text) == LONG_TEXT + 2


def test_true_null_and_numbers_are_told_apart() -> None:
    kinds = {str(node.name): (node.kind, node.text) for node in root({"a": True, "b": 1, "c": None, "d": 1.5}).children}
    assert kinds == {"a": ("boolean", "true"), "b": ("number", "1"), "c": ("null", "null"), "d": ("number", "1.5")}


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("WELC", ["/cart/coupon"]),
        ("cart", ["/cart"]),
        ("12", ["/cart/items/1"]),
        ("null", ["/n"]),
        ("", []),
        ("zz", []),
    ],
)
def test_finding_looks_at_keys_and_at_scalars(text: str, paths: list[str]) -> None:
    document = {"cart": {"coupon": "Welcome", "items": [5, 125]}, "n": None}
    assert [node.path for node in outline.find_text(document, text).nodes] == paths


def test_finding_shows_what_is_around_and_stops() -> None:
    (hit,) = outline.find_text({"t": "x" * 5000 + "needle" + "y" * 5000}, "NEEDLE").nodes
    assert "needle" in hit.text and hit.is_cut
    many = outline.find_text([["a"]] * 1000, "a")
    assert len(many.nodes) == FOUND and many.more
    assert many.nodes[1].path == "/1/0"


@pytest.mark.parametrize("mark", ["\u202e", "\u2066", "\u200b", "\ufeff", "\x7f", "\u2028"])
def test_what_would_deceive_the_eye_is_written_out(mark: str) -> None:
    written = f"\\u{ord(mark):04x}"
    assert legible.quote_text(f"a{mark}b", 9).text == f'"a{written}b"'
    assert (
        written in legible.show_indented({mark: [mark]}, 99).text
        and mark not in legible.show_indented({mark: [mark]}, 99).text
    )


@pytest.mark.parametrize("text", ["مرحبا", "👩\u200d👩\u200d👧", "naïve", "日本語"])
def test_what_people_write_stays_as_it_is(text: str) -> None:
    assert legible.quote_text(text, 99).text == f'"{text}"'


def test_pretty_makes_no_more_text_than_is_shown() -> None:
    text, is_cut = legible.show_indented([["x" * 10] * 10] * 100_000, 500)
    assert is_cut and len(text) <= 500
    whole, is_cut = legible.show_indented({"a": [1]}, 500)
    assert not is_cut and whole == '{\n  "a": [\n    1\n  ]\n}'


def test_what_stands_at_a_pointer_has_a_digest_that_tells_values_apart() -> None:
    parts = Parts((b'[["set","",{"a":1,"b":true,"c":null}]]',), 1000)
    found = [outline.describe_value(parts, path, 99) for path in ("/a", "/b", "/c", "/d")]
    assert [one.text for one in found] == ["1", "true", "null", None]
    assert len({one.digest for one in found}) == 4 and found[3].digest == ""
