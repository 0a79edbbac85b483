"""What must hold of every answer: counted once, told if dropped, and never over somebody else's change unseen.

Written from PROTOCOL.md, section 6, for the cases that can be decided by looking at one path; what is not clear by
itself (a path in an array, two operations of one write on one place) is left to the tables of `tests/documents`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from session_mgmt.documents import pointer
from session_mgmt.documents.arrays import ArrayPolicies
from session_mgmt.documents.values import MISSING
from tests.faults.operations import replay
from tests.walks.model.ledger import Book, Ops, same
from tests.walks.model.tab import Asked, Frame, Tab

ARRAYS = {"/log": "append", "/tags": "set", "/items": "keyed:id"}
MERGED = ArrayPolicies(ARRAYS)
REFUSALS = {"conflict", "patch_failed", "invalid_patch", "invalid_path", "invalid_json"}


def judge(tab: Tab, seq: int, book: Book) -> None:
    """One answer against the document; `book` is the whole past of the document that the write was for."""
    asked, answer = tab.asked[seq], tab.answers[seq]
    made = book.made_by(str(tab.core.client_id)).get(seq, [])
    if not answer["ok"]:
        assert answer["error"]["name"] in REFUSALS, answer
        assert made == [], f"{seq} was refused and made {made}"
        assert answer["error"]["name"] != "conflict" or asked.kind != "ops" or _may_conflict(asked, answer), answer
        return
    version = answer["position"][1]
    assert made == ([] if answer.get("unchanged") else [version]), f"{answer} made {made}"
    if asked.kind == "ops":
        assert _counted(asked, answer, book, made) or is_told(answer, _counter(asked))
        if made:
            _judge_ops(tab, asked, answer, book, version)
        else:
            assert _tells(answer), f"nothing of {asked.change} took effect, and nobody was told"


def _counter(asked: Asked) -> str:
    """The path that only this client adds to; it stands first in each of its writes."""
    return str(asked.change[0][1])


def _counted(asked: Asked, answer: Frame, book: Book, made: list[int]) -> bool:
    if not made:
        return False
    (version,) = made
    before, after = (pointer.find_value(book.value(at), _counter(asked)) for at in (version - 1, version))
    return isinstance(after, int) and after == (before if isinstance(before, int) else 0) + 1


def _judge_ops(tab: Tab, asked: Asked, answer: Frame, book: Book, version: int) -> None:
    """By what the server decided on: a first sending may have been on its way when the next one had digests."""
    if asked.digested is None:
        assert asked.frame is not None
        _judge_on_base(tab, asked, answer, book, version, asked.frame)
        return
    try:
        _judge_by_digests(asked, answer, book, version)
    except AssertionError:
        if asked.frame is None:
            raise
        _judge_on_base(tab, asked, answer, book, version, asked.frame)


def _judge_on_base(tab: Tab, asked: Asked, answer: Frame, book: Book, version: int, frame: Frame) -> None:
    ops, made = asked.change, book.versions[version].ops
    base = frame.get("base", version - 1)
    client = tab.core.client_id
    theirs = [op for past in book.versions[base + 1 : version] if past.client != client for op in past.ops]
    if _apart(ops, theirs):
        assert same(made, ops), f"{ops} became {made}"
        assert not _tells(answer), f"{ops} met nobody, and was told {answer}"
    elif asked.strategy == "reject":
        assert not _collide(ops, theirs), f"{ops} was to be rejected after {theirs}"
    elif asked.strategy == "server_wins":
        _judge_dropped(ops, theirs, answer, made)
    elif asked.strategy == "client_wins":
        assert answer.get("overwrote") or not _collide(ops, theirs)
        seen = _seen(tab, book, base, version)
        if not same(made, ops) and seen is not MISSING:
            _judge_overwriting(ops, seen, book, version)
    elif asked.strategy in ("merge", "manual") or (asked.strategy is None and asked.doc == "main"):
        seen = _seen(tab, book, base, version)
        if seen is not MISSING:
            _judge_merged(ops, answer, seen, book, version)


def _judge_overwriting(ops: Ops, seen: Any, book: Book, version: int) -> None:
    """Others have changed the kind of a place: every value of the client stands all the same.

    An array whose items the project merges has the items of others beside those of the client.
    """
    after = book.value(version)
    for path, wanted in _plain(ops, seen, book.value(version - 1)):
        result = pointer.find_value(after, path)
        stands = equal(result, wanted) or (MERGED.merges_items(path) and _has_items(result, wanted))
        assert stands, f"{path} was to be {wanted} and became {result}"


def _has_items(result: Any, wanted: Any) -> bool:
    if not isinstance(result, list) or not isinstance(wanted, list):
        return False
    return all(any(_is_same_item(one, item) for one in result) for item in wanted)


def _is_same_item(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return "id" in one and one["id"] == other.get("id")
    return equal(one, other)


def _judge_dropped(ops: Ops, theirs: Ops, answer: Frame, made: Ops) -> None:
    for op in ops:
        kept = any(same(op, one) for one in made)
        assert kept or op[1] in answer.get("dropped", ()), f"{op} was dropped without a word"
        assert not (kept and _collide([op], theirs)), f"{op} stands over {theirs}"


def _seen(tab: Tab, book: Book, base: int, version: int) -> Any:
    """The base with this client's own writes since, as it had asked for them; MISSING where they are no operations."""
    seen = book.value(base)
    for past in book.versions[base + 1 : version]:
        if past.client == tab.core.client_id and past.seq is not None:
            own = tab.asked[past.seq]
            if own.kind != "ops":
                return MISSING
            # What `server_wins` drops from the log alone is kept nowhere.
            whole = own.strategy != "server_wins" or own.digested is not None
            seen = replay(seen, own.change if whole else past.ops)
    return seen


def _judge_merged(ops: Ops, answer: Frame, seen: Any, book: Book, version: int) -> None:
    """Three ways, for every path that one operation sets or removes."""
    now, after = book.value(version - 1), book.value(version)
    for path, wanted in _plain(ops, seen, now):
        base, theirs, result = (pointer.find_value(value, path) for value in (seen, now, after))
        if equal(wanted, theirs) or equal(wanted, base):
            assert equal(result, theirs), f"{path} was {theirs} and became {result}"
        elif equal(base, theirs):
            assert equal(result, wanted), f"{path} was to be {wanted} and became {result}"
        elif not isinstance(wanted, dict | list) or type(wanted) is not type(theirs):
            assert equal(result, theirs), f"{path} was {theirs}, which the client had not seen, and became {result}"
            assert is_told(answer, path), f"{path}: a conflict without a word"
        elif path == "/log" and _begins(base, theirs) and _begins(base, wanted):
            assert same(result, theirs + wanted[len(base) :]), f"{theirs} and {wanted} became {result}"


def _judge_by_digests(asked: Asked, answer: Frame, book: Book, version: int) -> None:
    """The version that the client had changed is gone: what it replaced is known, and nothing else."""
    now, after = book.value(version - 1), book.value(version)
    for path, wanted in _plain(asked.change, asked.view, now):
        replaced, theirs, result = (pointer.find_value(value, path) for value in (asked.view, now, after))
        if equal(wanted, theirs):
            assert equal(result, theirs), f"{path} was {theirs} and became {result}"
        elif equal(replaced, theirs) or asked.strategy == "client_wins":
            assert equal(result, wanted), f"{path} was to be {wanted} and became {result}"
        elif asked.strategy is not None or asked.doc == "main":
            assert asked.strategy != "reject", f"{path} was {theirs}, not {replaced}, and was not rejected"
            assert equal(result, theirs), f"{path} was {theirs}, not {replaced}, and became {result}"
            assert is_told(answer, path), f"{path}: a conflict without a word"


def _begins(base: Any, longer: Any) -> bool:
    return isinstance(base, list) and same(base, longer[: len(base)])


def _plain(ops: Ops, *documents: Any) -> Iterator[tuple[str, Any]]:
    """(path, wanted) of each operation that no other of them is near, and whose parent is an object everywhere."""
    for at, op in enumerate(ops):
        others = [_place(other[1]) for other in (*ops[:at], *ops[at + 1 :])]
        in_objects = all(isinstance(_parent(document, op[1]), dict) for document in documents)
        alone = not any(_near(op[1], other) for other in others)
        if op[0] in ("set", "del") and in_objects and _is_name(op[1]) and alone:
            yield op[1], op[2] if op[0] == "set" else MISSING


def _parent(document: Any, path: str) -> Any:
    above = list(pointer.iter_ancestors(path))
    if any(isinstance(pointer.find_value(document, one), list) for one in above):
        return None
    return pointer.find_value(document, pointer.parent_of(path))


def _near(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def _apart(mine: Ops, theirs: Ops) -> bool:
    """Whether they certainly do not overlap: nothing below one member of the document is touched by both."""
    return all(_both_add(one, other) or "" != _root(one) != _root(other) != "" for one in mine for other in theirs)


def _root(op: list[Any]) -> str:
    return str(op[1]).split("/", 2)[1] if op[1] else ""


def _both_add(one: list[Any], other: list[Any]) -> bool:
    return one[0] == other[0] == "inc" and one[1] == other[1]


def _collide(mine: Ops, theirs: Ops) -> bool:
    """Whether they certainly overlap: both set or remove one place outside arrays."""
    places = {op[1] for op in mine if op[0] in ("set", "del")} & {op[1] for op in theirs if op[0] in ("set", "del")}
    return any(map(_is_name, places))


def _place(path: str) -> str:
    """What an operation may touch at most: a place in an array means the whole of it."""
    return path if _is_name(path) else pointer.parent_of(path)


def _is_name(path: str) -> bool:
    """Whether it cannot be a place in an array; of such a place the whole array is touched, and counts."""
    last = path.rsplit("/", 1)[-1]
    return not last.isdigit() and last != "-"


def _tells(answer: Frame) -> bool:
    return any(answer.get(name) for name in ("conflicts", "dropped", "overwrote"))


def is_told(answer: Frame, path: str) -> bool:
    """Whether the answer names this path, one above or one below it, or says that there was no room to."""
    named = [found["path"] for found in answer.get("conflicts", ())] + list(answer.get("dropped", ()))
    return bool(answer.get("more")) or any(_near(path, one) for one in named)


def _may_conflict(asked: Asked, answer: Frame) -> bool:
    """Only `reject` refuses, and `manual` where as many records wait as may be kept."""
    return asked.strategy in ("reject", "manual") and (asked.strategy == "reject" or "paths" not in answer["error"])


def equal(one: Any, other: Any) -> bool:
    if one is MISSING or other is MISSING:
        return one is other
    return same(one, other)
