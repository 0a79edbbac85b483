"""From what clients send to total operations: RFC 7396, RFC 6902, whole documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_mgmt.documents import errors, normalise, operations, pointer
from session_mgmt.documents.json_patch import translate_json_patch
from session_mgmt.documents.limits import Limits
from session_mgmt.documents.pointer import find_value
from session_mgmt.documents.size import measure_size
from session_mgmt.documents.values import MISSING, are_equal
from tests.documents.values import DOCUMENTS, KEYS, PATHS

LIMITS = Limits()
MERGES = json.loads((Path(__file__).parent / "vectors" / "merge_patch.json").read_text())


def merged_as_the_rfc_says(target: Any, patch: Any) -> Any:
    """The pseudocode of RFC 7396 section 2."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged_as_the_rfc_says(result.get(name), value)
    return result


def patched(document: Any, patch: Any, limits: Limits = LIMITS) -> Any:
    return operations.apply_ops(document, normalise.make_ops("patch", patch, document, limits))


@pytest.mark.parametrize("case", MERGES, ids=[case["name"] for case in MERGES])
def test_the_shared_merge_vectors_hold(case: dict[str, Any]) -> None:
    ops = normalise.make_ops("merge", case["merge"], MISSING, LIMITS)
    assert [list(op) for op in ops] == case["ops"]
    assert are_equal(operations.apply_ops(case["document"], ops), case["result"])
    assert are_equal(merged_as_the_rfc_says(case["document"], case["merge"]), case["result"])


@given(DOCUMENTS, DOCUMENTS)
def test_a_merge_needs_no_document_to_be_right_for_every_document(document: Any, merge: Any) -> None:
    ops = normalise.make_ops("merge", merge, MISSING, LIMITS)
    assert are_equal(operations.apply_ops(document, ops), merged_as_the_rfc_says(document, merge))


@given(DOCUMENTS, DOCUMENTS)
def test_a_replacement_is_the_document_afterwards(document: Any, data: Any) -> None:
    assert are_equal(operations.apply_ops(document, normalise.make_ops("replace", data, MISSING, LIMITS)), data)


def test_total_operations_pass_through_checked() -> None:
    ops = [["set", "/a", 1.0], ["ins", "/b/-", {}]]
    assert normalise.make_ops("ops", ops, MISSING, LIMITS) == (("set", "/a", 1), ("ins", "/b/-", {}))
    with pytest.raises(errors.InvalidPatch):
        normalise.make_ops("ops", [["copy", "/a", "/b"]], MISSING, LIMITS)


def test_only_json_patch_needs_the_head() -> None:
    assert [kind for kind in ("ops", "patch", "merge", "replace", "other") if normalise.is_blind(kind)] == [
        "ops",
        "merge",
        "replace",
    ]
    for kind in ("patch", "other"):
        with pytest.raises(errors.InvalidPatch):
            normalise.make_ops(kind, [], MISSING, LIMITS)


def test_a_merge_of_many_members_is_one_operation_to_the_limit() -> None:
    merge = {f"key{at}": at for at in range(2000)}
    assert operations.apply_ops({}, normalise.make_ops("merge", merge, MISSING, LIMITS)) == merge


@pytest.mark.parametrize("kind", ["merge", "replace"])
@pytest.mark.parametrize(
    ("value", "error"),
    [
        ({"__proto__": {"x": 1}}, errors.ForbiddenKey),
        ({"a": float("nan")}, errors.NumberOutOfRange),
        ({"a": "\ud800"}, errors.InvalidJSON),
        ({"k" * 1025: 1}, errors.KeyTooLong),
        ({"a": (1,)}, errors.InvalidJSON),
    ],
)
def test_values_of_python_callers_are_checked(kind: str, value: Any, error: type[errors.DocumentError]) -> None:
    with pytest.raises(error):
        normalise.make_ops(kind, value, MISSING, LIMITS)


# RFC 6902 appendix A: section, document, patch, result or error.
APPENDIX_A: list[tuple[str, Any, Any, Any]] = [
    ("1", {"foo": "bar"}, [("add", "/baz", "qux")], {"baz": "qux", "foo": "bar"}),
    ("2", {"foo": ["bar", "baz"]}, [("add", "/foo/1", "qux")], {"foo": ["bar", "qux", "baz"]}),
    ("3", {"baz": "qux", "foo": "bar"}, [("remove", "/baz")], {"foo": "bar"}),
    ("4", {"foo": ["bar", "qux", "baz"]}, [("remove", "/foo/1")], {"foo": ["bar", "baz"]}),
    ("5", {"baz": "qux", "foo": "bar"}, [("replace", "/baz", "boo")], {"baz": "boo", "foo": "bar"}),
    (
        "6",
        {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
        [{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}],
        {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
    ),
    (
        "7",
        {"foo": ["all", "grass", "cows", "eat"]},
        [{"op": "move", "from": "/foo/1", "path": "/foo/3"}],
        {"foo": ["all", "cows", "eat", "grass"]},
    ),
    (
        "8",
        {"baz": "qux", "foo": ["a", 2, "c"]},
        [("test", "/baz", "qux"), ("test", "/foo/1", 2)],
        {"baz": "qux", "foo": ["a", 2, "c"]},
    ),
    ("9", {"baz": "qux"}, [("test", "/baz", "bar")], errors.PatchFailed),
    ("10", {"foo": "bar"}, [("add", "/child", {"grandchild": {}})], {"foo": "bar", "child": {"grandchild": {}}}),
    (
        "11",
        {"foo": "bar"},
        [{"op": "add", "path": "/baz", "value": "qux", "xyz": 123}],
        {"foo": "bar", "baz": "qux"},
    ),
    ("12", {"foo": "bar"}, [("add", "/baz/bat", "qux")], errors.PatchFailed),
    ("14", {"/": 9, "~1": 10}, [("test", "/~01", 10)], {"/": 9, "~1": 10}),
    ("15", {"/": 9, "~1": 10}, [("test", "/~01", "10")], errors.PatchFailed),
    ("16", {"foo": ["bar"]}, [("add", "/foo/-", ["abc", "def"])], {"foo": ["bar", ["abc", "def"]]}),
]


def step(short: Any) -> Any:
    return short if isinstance(short, dict) else dict(zip(("op", "path", "value"), short, strict=False))


@pytest.mark.parametrize(("section", "document", "patch", "result"), APPENDIX_A, ids=[row[0] for row in APPENDIX_A])
def test_the_examples_of_rfc_6902(section: str, document: Any, patch: Any, result: Any) -> None:
    patch = [step(short) for short in patch]
    if result is errors.PatchFailed:
        with pytest.raises(errors.PatchFailed):
            patched(document, patch)
    else:
        assert are_equal(patched(document, patch), result)


@pytest.mark.parametrize(
    ("document", "patch"),
    [
        ({}, [("remove", "/a")]),
        ({}, [("replace", "/a", 1)]),
        ({"a": 1}, [("remove", "")]),
        ([1], [("remove", "/-")]),
        ([1], [("replace", "/1", 2)]),
        ([1], [("add", "/2", 2)]),
        ([1, 2], [("add", "/01", 2)]),
        ([1, 2], [("remove", "/01")]),
        ([1], [("add", "/x", 2)]),
        ([1], [("test", "/-", 1)]),
        ("text", [("add", "/a", 1)]),
        ({"a": 1}, [("add", "/a/b", 1)]),
        ({"a": 1}, [("test", "/a", True)]),
        ({"a": [0]}, [("test", "/a", [False])]),
        ({"a": None}, [("test", "/b", None)]),
        ({"a": {"b": 1}}, [{"op": "move", "from": "/a", "path": "/a/b"}]),
        ({}, [{"op": "copy", "from": "/a", "path": "/b"}]),
        ({}, [{"op": "move", "from": "/a", "path": "/a"}]),
        ({"a": 1}, [{"op": "move", "from": "", "path": "/b"}]),
    ],
)
def test_what_does_not_apply_fails(document: Any, patch: Any) -> None:
    with pytest.raises(errors.PatchFailed):
        patched(document, [step(short) for short in patch])


@pytest.mark.parametrize(
    ("document", "patch", "result"),
    [
        ({"a": 1}, [("test", "/a", 1.0)], {"a": 1}),
        ({"a": {"x": 1, "y": 2}}, [("test", "/a", {"y": 2, "x": 1})], {"a": {"x": 1, "y": 2}}),
        ({"a": 1}, [("add", "", [1])], [1]),
        ({"a": 1}, [("replace", "", 5)], 5),
        ({"a": 1}, [("test", "", {"a": 1})], {"a": 1}),
        ({"a": 1}, [{"op": "move", "from": "/a", "path": "/a"}], {"a": 1}),
        ({"a": {"b": 1}}, [{"op": "move", "from": "/a/b", "path": "/a"}], {"a": 1}),
        ({"a": {"b": 1}}, [{"op": "copy", "from": "", "path": "/c"}], {"a": {"b": 1}, "c": {"a": {"b": 1}}}),
        ({"a": [1]}, [{"op": "copy", "from": "/a/0", "path": "/a/-"}, ("replace", "/a/0", 2)], {"a": [2, 1]}),
        ({"-": {}, "0": 1}, [("add", "/-/-", 1), ("remove", "/0")], {"-": {"-": 1}}),
        ({"a": 1}, [], {"a": 1}),
    ],
)
def test_what_applies(document: Any, patch: Any, result: Any) -> None:
    assert are_equal(patched(document, [step(short) for short in patch]), result)


@pytest.mark.parametrize(
    ("patch", "error"),
    [
        ({}, errors.InvalidPatch),
        ([1], errors.InvalidPatch),
        ([{}], errors.InvalidPatch),
        ([{"op": "inc", "path": "/a", "value": 1}], errors.InvalidPatch),
        ([{"op": ["add"], "path": "/a", "value": 1}], errors.InvalidPatch),
        ([{"op": "add", "path": "/a"}], errors.InvalidPatch),
        ([{"op": "add", "value": 1}], errors.InvalidPatch),
        ([{"op": "add", "path": 1, "value": 1}], errors.InvalidPatch),
        ([{"op": "copy", "path": "/a"}], errors.InvalidPatch),
        ([{"op": "move", "path": "/b", "from": None}], errors.InvalidPatch),
        ([{"op": "test", "path": "/a"}], errors.InvalidPatch),
        ([{"op": "add", "path": "a", "value": 1}], errors.InvalidPath),
        ([{"op": "copy", "path": "/b", "from": "/a~"}], errors.InvalidPath),
        ([{"op": "add", "path": "/__proto__", "value": 1}], errors.ForbiddenKey),
        ([{"op": "add", "path": "/b", "value": {"__proto__": 1}}], errors.ForbiddenKey),
        ([{"op": "add", "path": "/b", "value": 2**53}], errors.NumberOutOfRange),
        ([{"op": "test", "path": "/a", "value": 1}] * 501, errors.TooManyOps),
    ],
)
def test_malformed_patches_are_refused(patch: Any, error: type[errors.DocumentError]) -> None:
    with pytest.raises(error):
        patched({"a": 1}, patch)


STEPS = st.one_of(
    st.fixed_dictionaries({"op": st.sampled_from(["add", "replace", "test"]), "path": PATHS, "value": DOCUMENTS}),
    st.fixed_dictionaries({"op": st.just("remove"), "path": PATHS.filter(bool)}),
    st.fixed_dictionaries({"op": st.sampled_from(["move", "copy"]), "path": PATHS, "from": PATHS}),
)


@st.composite
def likely_patches(draw: st.DrawFn) -> tuple[Any, Any]:
    """A document and a patch most of whose paths exist."""
    document = draw(st.dictionaries(KEYS, DOCUMENTS, max_size=4) | st.lists(DOCUMENTS, max_size=4))
    existing = st.sampled_from(list(_paths(document, "")))
    below = st.builds(pointer.join_token, existing, KEYS)
    steps = st.one_of(
        st.fixed_dictionaries(
            {"op": st.sampled_from(["add", "replace"]), "path": existing | below, "value": DOCUMENTS}
        ),
        st.builds(lambda path: {"op": "test", "path": path, "value": find_value(document, path)}, existing),
        st.fixed_dictionaries({"op": st.just("remove"), "path": existing.filter(bool) | below}),
        st.fixed_dictionaries({"op": st.sampled_from(["move", "copy"]), "path": existing | below, "from": existing}),
    )
    return document, draw(st.lists(steps | STEPS, max_size=4))


def _paths(node: Any, path: str) -> Any:
    yield path
    members = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for token, child in members:
        yield from _paths(child, pointer.join_token(path, str(token)))


@given(likely_patches())
def test_a_patch_has_the_effect_that_jsonpatch_says(case: tuple[Any, Any]) -> None:
    document, patch = case
    try:
        expected = jsonpatch.apply_patch(document, patch)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException):
        with pytest.raises(errors.DocumentError):
            patched(document, patch)
    else:
        assert are_equal(patched(document, patch), expected)


def test_a_patch_that_fails_half_way_leaves_nothing() -> None:
    document = {"a": 1}
    with pytest.raises(errors.PatchFailed):
        patched(document, [step(("add", "/b", 1)), step(("remove", "/c"))])
    assert document == {"a": 1}


def test_copies_of_the_root_into_itself_are_refused_before_they_grow() -> None:
    bomb = [{"op": "copy", "from": "", "path": f"/c{at}"} for at in range(30)]
    with pytest.raises(errors.DocumentTooLarge):
        translate_json_patch(bomb, {"a": "x" * 100}, Limits(document_bytes=10_000))


def test_a_bomb_of_depth_is_refused() -> None:
    bomb = [{"op": "copy", "from": "/a", "path": "/a/a"}] * 400
    with pytest.raises(errors.TooDeep):
        translate_json_patch(bomb, {"a": {}}, LIMITS)


def test_copies_that_are_removed_again_are_charged_all_the_same() -> None:
    pair = [{"op": "copy", "from": "/a", "path": "/b"}, {"op": "remove", "path": "/b"}]
    with pytest.raises(errors.DocumentTooLarge):
        translate_json_patch(pair * 20, {"a": "x" * 1000}, Limits(document_bytes=10_000))


@given(likely_patches())
def test_the_expansion_of_a_patch_is_bounded_by_the_limit_and_the_patch(case: tuple[Any, Any]) -> None:
    document, patch = case
    limits = Limits(document_bytes=60)
    try:
        ops = translate_json_patch(patch, document, limits)
    except errors.DocumentError:
        return
    assert len(operations.encode_ops(ops)) <= limits.document_bytes + 2 * measure_size(patch)
