"""One table of changes of a document, good and bad, that every transport is given."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from tests.bad_input.values import nested

DOCUMENT = {"kept": True, "list": [1, 2], "n": 1, "text": "x"}


@dataclass(frozen=True)
class Change:
    """``fields`` of an update; it is refused with ``error``, or makes ``result`` of ``DOCUMENT``."""

    name: str
    fields: dict[str, Any]
    error: str | None = None
    result: Any = None

    @property
    def is_plain(self) -> bool:
        """Whether it has no fields that only remote callers have."""
        return len(self.fields) == 1


def _ops(error: str, **given: Any) -> list[Change]:
    return [Change(f"ops: {name}", {"ops": ops}, error) for name, ops in given.items()]


def _patches(error: str, **given: Any) -> list[Change]:
    return [Change(f"patch: {name}", {"patch": patch}, error) for name, patch in given.items()]


def _fields(name: str, *values: Any, error: str = "invalid_field") -> list[Change]:
    return [Change(f"{name} is {value!r:.30}", {"ops": [["del", "/kept"]], name: value}, error) for value in values]


def _add(path: Any, value: Any = 1) -> dict[str, Any]:
    return {"op": "add", "path": path, "value": value}


def _copy(source: str, path: str) -> dict[str, Any]:
    return {"op": "copy", "from": source, "path": path}


LONG = "s" * 1900
DEEP = "/a" * 65

REFUSED = [
    *_ops(
        "invalid_patch",
        object={},
        text="x",
        null=None,
        number=1,
        true=True,
        unknown=[["boom", "/a"]],
        empty=[[]],
        scalar=[1],
        an_object=[{"op": "set", "path": "/a", "value": 1}],
        no_value=[["set", "/a"]],
        too_long=[["set", "/a", 1, 2]],
        path_is_a_number=[["set", 1, 1]],
        path_is_null=[["del", None]],
        name_is_a_list=[[["set"], "/a", 1]],
        inc_text=[["inc", "/n", "1"]],
        inc_true=[["inc", "/n", True]],
        inc_null=[["inc", "/n", None]],
        second_is_bad=[["set", "/a", 1], ["boom"]],
    ),
    *_ops(
        "invalid_path",
        no_slash=[["set", "a", 1]],
        escape_two=[["set", "/a~2", 1]],
        escape_at_end=[["set", "/a~", 1]],
        double_escape=[["set", "/~~0", 1]],
        fragment=[["set", "#/a", 1]],
        second=[["set", "/a", 1], ["del", "b"]],
    ),
    *_ops("forbidden_key", proto=[["set", "/__proto__/x", 1]], proto_last=[["del", "/a/__proto__"]]),
    *_ops("too_deep", path=[["set", DEEP, 1]], path_and_value=[["set", DEEP[:126], [[]]]], delete=[["del", DEEP]]),
    *_ops("key_too_long", token=[["set", "/" + "k" * 201, 1]], bytes=[["del", "/" + "é" * 101]]),
    *_ops("invalid_json", nul=[["set", "/\0", 1]]),
    *_ops("number_out_of_range", inc=[["inc", "/n", 2**53]], inc_float=[["inc", "/n", 1e17]]),
    *_ops("too_many_ops", one_more=[["inc", "/n", 1]] * 21, many=[["del", "/kept"]] * 10_000),
    *_patches(
        "invalid_patch",
        object={"op": "remove", "path": "/n"},
        null=None,
        scalar=[1],
        no_op=[{"path": "/n"}],
        unknown=[{"op": "boom", "path": "/n"}],
        op_is_a_list=[{"op": ["add"], "path": "/n", "value": 1}],
        no_path=[{"op": "remove"}],
        no_value=[{"op": "add", "path": "/a"}],
        test_without_value=[{"op": "test", "path": "/n"}],
        no_from=[{"op": "move", "path": "/a"}],
        path_is_a_number=[{"op": "remove", "path": 1}],
        from_is_null=[{"op": "copy", "from": None, "path": "/a"}],
    ),
    *_patches("invalid_path", no_slash=[_add("a")], escape=[_add("/~2")], source=[_copy("n", "/a")]),
    *_patches(
        "patch_failed",
        nothing=[{"op": "remove", "path": "/nothing"}],
        root=[{"op": "remove", "path": ""}],
        replace_nothing=[{"op": "replace", "path": "/nothing", "value": 1}],
        second_fails=[_add("/a"), {"op": "remove", "path": "/nothing"}],
        last_fails=[*[_add(f"/a{n}") for n in range(19)], {"op": "test", "path": "/n", "value": 2}],
        true_is_not_one=[{"op": "test", "path": "/n", "value": True}],
        one_is_not_true=[{"op": "test", "path": "/kept", "value": 1}],
        nested_true=[{"op": "test", "path": "/list", "value": [True, 2]}],
        one_is_not_text=[{"op": "test", "path": "/n", "value": "1"}],
        null_is_not_nothing=[{"op": "test", "path": "/nothing", "value": None}],
        negative_index=[_add("/list/-1")],
        leading_zero=[_add("/list/01")],
        arabic_digit=[_add("/list/\u0661")],
        exponent=[_add("/list/1e0")],
        fraction=[_add("/list/1.0")],
        plus=[_add("/list/+1")],
        blank=[_add("/list/ 1")],
        behind_the_end=[_add("/list/3")],
        far_behind=[_add("/list/99999999999999999999999")],
        end_is_nothing=[{"op": "remove", "path": "/list/-"}],
        key_of_an_array=[_add("/list/length")],
        below_a_scalar=[_add("/n/x")],
        below_nothing=[_add("/nothing/x")],
        into_its_child=[_add("/a", {}), {"op": "move", "from": "/a", "path": "/a/b"}],
        root_into_a_child=[{"op": "move", "from": "", "path": "/a"}],
        from_nothing=[_copy("/nothing", "/a")],
    ),
    *_patches("too_many_ops", one_more=[_add("/a")] * 21),
    *_patches("forbidden_key", key=[_add("/__proto__")], value=[_add("/a", {"__proto__": 1})]),
    *_patches(
        "document_too_large",
        root_into_itself=[_add("/a", LONG), *[_copy("", f"/c{n}") for n in range(19)]],
        value_into_itself=[_add("/a", {"s": LONG}), *[_copy("/a", f"/a/c{n}") for n in range(19)]],
    ),
    *_patches(
        "too_deep",
        value=[_add("/a", nested(64))],
        copied=[_add("/a", nested(63)), _add("/b", {}), _copy("/a", "/b/c")],
        into_itself=[_add("/a", nested(40)), _copy("/a", "/a/" + "0/" * 38 + "-")],
    ),
    Change("nothing to do", {}, "invalid_field"),
    Change("two changes", {"ops": [], "merge": {}}, "invalid_field"),
    *_fields("base", True, "1", 1.5, -1, [], {}, ""),
    *_fields("base", 2**53, 10**30, error="number_out_of_range"),
    *_fields("base", 99, error="unknown_version"),
    *_fields("epoch", 7, "", "e" * 65, [], True),
    *_fields("epoch", "another", error="epoch_changed"),
    *_fields("strategy", "mine_wins", "", [], ["merge"], True, 1),
    *_fields("replaced", [], "x", True, {"/kept": "short"}, {"/kept": 1}, {"/kept": "A" * 16}),
    *_fields("replaced", {"/kept": "\u0660" * 16}),
]  # fmt: skip


def _makes(name: str, change: dict[str, Any], **members: Any) -> Change:
    """``members`` are what is other than in ``DOCUMENT``."""
    return Change(name, change, result={**DOCUMENT, **members})


def _does(name: str, *ops: list[Any], **members: Any) -> Change:
    return _makes(name, {"ops": [*ops]}, **members)


NO_INDEX = ("-1", "01", "\u0660", "1.0", "+1", "", "length")
ORDERED, REVERSED = {"x": 1, "y": 2}, {"y": 2, "x": 1}

GOOD = [
    _does("inc", ["inc", "/n", 1], n=2),
    _does("inc makes a fraction", ["inc", "/n", 1.5], n=2.5),
    _does("inc makes an integer", ["inc", "/n", 0.5], ["inc", "/n", 0.5], n=2),
    _does("inc beyond 2^53-1", ["inc", "/n", 2**53 - 1]),
    _does("inc to what nobody may send", ["inc", "/n", 2**53 - 3], ["inc", "/n", 2.5], n=2**53 - 2),
    _does("inc to infinity", ["inc", "/n", 1.7e308], ["inc", "/n", 1.7e308], n=1.7e308),
    _does("inc of text", ["inc", "/text", 5], text=5),
    _does("inc of true", ["inc", "/kept", 5], kept=5),
    _does("inc of an array", ["inc", "/list", 5], list=5),
    _does("inc of nothing", ["inc", "/new", -0.0], new=0),
    Change("inc of the root", {"ops": [["inc", "", 3]]}, result=3),
    _does("set through a scalar", ["set", "/n/a/b", 1], n={"a": {"b": 1}}),
    _does("set through text", ["set", "/text/0", "y"], text={"0": "y"}),
    _does("index far behind the end", ["set", "/list/9", 3], ["ins", "/list/4", 3], ["del", "/list/7"]),
    _does("index of many digits", ["set", "/list/" + "9" * 100, 3]),
    _does("index that is none", *[["set", f"/list/{at}", 3] for at in NO_INDEX]),
    _does("index on the way that is none", ["set", "/list/9/x", 3], ["set", "/list/-/x", 3]),
    _does("append", ["set", "/list/-", 3], ["set", "/list/3", 4], list=[1, 2, 3, 4]),
    _does("insert in front", ["ins", "/list/0", 0], list=[0, 1, 2]),
    _does("object of an array", ["obj", "/list"], list={}),
    _does("nothing to delete", ["del", "/nothing/x"], ["del", "/n/x"]),
    _does("empty key", ["set", "/", 1], ["set", "//", 2], **{"": {"": 2}}),
    _does("escapes", ["set", "/a~1b~0c~01", 1], **{"a/b~c~1": 1}),
    _does("names of prototypes", ["set", "/constructor/prototype/x", 1], constructor={"prototype": {"x": 1}}),
    _does("nothing"),
    Change("the root goes", {"ops": [["del", ""]]}, result={}),
    Change("the root is null", {"ops": [["set", "", None]]}, result=None),
    Change("a scalar", {"data": 5}, result=5),
    Change("a deleted root gets a member", {"ops": [["set", "", 5], ["set", "/a", 1]]}, result={"a": 1}),
    _makes("merge of nothing", {"merge": {}}),
    _makes("merge with nulls inside", {"merge": {"n": {"a": None, "b": {"c": None}}}}, n={"b": {}}),
    _makes("merge keeps nulls in arrays", {"merge": {"list": [None, {"a": None}]}}, list=[None, {"a": None}]),
    Change("merge of an array", {"merge": [1]}, result=[1]),
    _makes("merge of keys that look like paths", {"merge": {"/n": 2, "~": 3}}, **{"/n": 2, "~": 3}),
    _makes("1 is 1.0", {"patch": [{"op": "test", "path": "/n", "value": 1.0}, _add("/a")]}, a=1),
    _makes("order of members", {"patch": [_add("/a", ORDERED), {**_add("/a", REVERSED), "op": "test"}]}, a=ORDERED),
    _makes("copy into itself", {"patch": [_add("/a", {"s": 1}), _copy("/a", "/a/b")]}, a={"s": 1, "b": {"s": 1}}),
    _makes("move onto itself", {"patch": [{"op": "move", "from": "/n", "path": "/n"}]}),
    Change("patch of the root", {"patch": [_add("", [1]), _add("/-", 2)]}, result=[1, 2]),
]  # fmt: skip

# What no JSON can say.
FROM_PYTHON = [
    *_ops("number_out_of_range", nan=[["inc", "/n", math.nan]], infinity=[["inc", "/n", -math.inf]]),
    *_ops("invalid_json", surrogate=[["set", "/\ud800", 1]]),
    *_ops("too_many_ops", a_million=[["del", "/kept"]] * 10**6),
]
