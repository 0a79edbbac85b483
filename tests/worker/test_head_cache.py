"""Documents that stay decoded between two changes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from session_mgmt.documents import operations
from session_mgmt.documents.limits import Extent, Limits
from session_mgmt.documents.rebuild import Parts
from session_mgmt.documents.settling import Change, Proposal
from session_mgmt.worker import head_cache
from session_mgmt.worker.head_cache import Bounds, Recent, Since, VersionKey

LIMITS = Limits()
BOUNDS = Bounds(size=Extent(100, 10), cache=10**6)
FIRST, SECOND = VersionKey(1, "e", 1, "t1"), VersionKey(1, "e", 2, "t2")


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    """Nothing is kept from a test before, nor for one after."""
    head_cache._open_cache.cache_clear()
    yield
    head_cache._open_cache.cache_clear()


def encoded(*ops: operations.Op) -> bytes:
    return operations.encode_ops(ops)


def patch(path: str, value: object) -> Change:
    """What fails unless the document holds this value."""
    return Change(
        "patch", [{"op": "test", "path": path, "value": value}, {"op": "add", "path": "/x", "value": 1}], LIMITS
    )


def kept() -> Proposal | None:
    """Make the first version known."""
    parts = Parts((encoded(("set", "/a", 1)),), 10**6)
    return head_cache.apply_at_head(FIRST, parts, patch("/a", 1), BOUNDS)


def test_a_kept_document_is_brought_up_to_date_by_what_came_after_it() -> None:
    assert kept() is not None
    later = Since(FIRST, (encoded(("set", "/a", 2)),))
    made = head_cache.apply_at_head(SECOND, later, patch("/a", 2), BOUNDS)
    assert made is not None and operations.decode_ops(made.ops) == (("set", "/x", 1),)
    assert head_cache.apply_at_head(SECOND, Since(SECOND, ()), patch("/a", 2), BOUNDS) is not None


def test_a_document_that_is_kept_at_another_place_is_not_used() -> None:
    kept()
    elsewhere = FIRST._replace(tag="of another history")
    assert head_cache.apply_at_head(SECOND, Since(elsewhere, ()), patch("/a", 1), BOUNDS) is None
    assert head_cache.apply_at_head(SECOND, Since(FIRST._replace(document=2), ()), patch("/a", 1), BOUNDS) is None


def test_a_change_does_not_change_what_is_kept() -> None:
    kept()
    for _ in range(2):
        made = head_cache.apply_at_head(
            FIRST, Since(FIRST, ()), Change("patch", [{"op": "remove", "path": "/a"}], LIMITS), BOUNDS
        )
        assert made is not None


def test_the_size_is_measured_only_where_the_bound_does_not_fit() -> None:
    roomy = kept()
    assert roomy is not None and roomy.size is None
    tight = Bounds(size=LIMITS.extent, cache=10**6)
    made = head_cache.apply_at_head(FIRST, Since(FIRST, ()), patch("/a", 1), tight)
    assert made is not None and made.size == (len('{"a":1,"x":1}'), 2, 1)


def test_what_was_not_used_gives_way() -> None:
    recent = Recent[int, str](1000)
    for document in (1, 2):
        recent.keep(document, f"body {document}", 400)
    assert recent.find(1) == "body 1"
    recent.keep(3, "body 3", 400)
    assert (recent.find(1), recent.find(2), recent.find(3)) == ("body 1", None, "body 3")
    recent.keep(1, "too large", 1500)
    assert recent.find(1) is None
    assert recent.used == 400
