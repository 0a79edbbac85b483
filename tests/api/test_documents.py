"""Documents over HTTP: whole ones, changes, conditions, and what a client missed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from session_mgmt.documents.values import SAFE_INTEGER
from session_mgmt.models import StateDocument, StateRevision
from tests.api.calls import Caller, refused

pytestmark = pytest.mark.django_db
MAIN = "sessions/{id}/state/main/"


@pytest.fixture
def cart(mine: Caller) -> Caller:
    """A client whose document is ``{"cart": {"n": 1}}`` at version 1."""
    assert mine.patch(MAIN, {"merge": {"cart": {"n": 1}}}).status_code == 200
    return mine


def test_a_document_is_read_with_its_position_as_etag(cart: Caller) -> None:
    answer = cart.get(MAIN)
    told = answer.json()
    assert told["data"] == {"cart": {"n": 1}}
    assert answer["ETag"] == '"{}.{}.{}"'.format(*told["position"])
    assert {"version", "last_modified", "checksum", "compressed", "encrypted", "size"} <= told.keys()


def test_a_document_that_nobody_made_is_not_there(mine: Caller) -> None:
    for answer in (mine.get(MAIN), mine.delete(MAIN), mine.get(MAIN + "size/"), mine.post(MAIN + "compress/")):
        assert refused(answer, "document_not_found", 404)
    assert not StateDocument.objects.exists()


def test_the_etag_that_is_known_saves_the_body(cart: Caller) -> None:
    etag = cart.get(MAIN)["ETag"]
    for given in (etag, f"W/{etag}", f'"other", {etag}'):
        answer = cart.get(MAIN, If_None_Match=given)
        assert (answer.status_code, answer.content, answer["ETag"]) == (304, b"", etag)
    cart.patch(MAIN, {"merge": {"b": 1}})
    assert cart.get(MAIN, If_None_Match=etag).status_code == 200


@pytest.mark.parametrize(
    ("change", "result"),
    [
        ({"ops": [["set", "/a", 1], ["inc", "/cart/n", 2]]}, {"cart": {"n": 3}, "a": 1}),
        ({"merge": {"cart": None}}, {}),
        ({"patch": [{"op": "test", "path": "/cart/n", "value": 1}, {"op": "remove", "path": "/cart"}]}, {}),
        ({"data": [1, 2]}, [1, 2]),
        ({"data": None}, None),
    ],
)
def test_each_kind_of_change_is_applied(cart: Caller, change: dict[str, Any], result: Any) -> None:
    answer = cart.patch(MAIN, change)
    assert answer.status_code == 200
    assert answer.json()["position"][1] == 2
    assert cart.get(MAIN).json()["data"] == result
    assert cart.get(MAIN)["ETag"] == answer["ETag"]


def test_a_patch_whose_test_fails_changes_nothing(cart: Caller) -> None:
    patch = [{"op": "add", "path": "/x", "value": 1}, {"op": "test", "path": "/cart/n", "value": 9}]
    assert refused(cart.patch(MAIN, {"patch": patch}), "patch_failed", 409)
    assert cart.get(MAIN).json()["data"] == {"cart": {"n": 1}}


def test_a_stale_base_conflicts_only_where_it_overlaps(cart: Caller) -> None:
    base = cart.get(MAIN).json()["position"]
    cart.patch(MAIN, {"ops": [["set", "/cart/n", 5]]})
    terms = {"base": base[1], "epoch": base[0]}
    told = cart.patch(MAIN, {"ops": [["set", "/cart/n", 6], ["set", "/b", 1]], **terms}).json()
    assert [found["path"] for found in told["conflicts"]] == ["/cart/n"]
    answer = cart.patch(MAIN, {"ops": [["set", "/cart/n", 7]], "strategy": "reject", **terms})
    assert refused(answer, "conflict", 409)
    assert cart.get(MAIN).json()["data"] == {"cart": {"n": 5}, "b": 1}


def test_a_key_makes_a_repetition_harmless(cart: Caller) -> None:
    first = cart.patch(MAIN, {"ops": [["inc", "/cart/n", 1]], "key": "once"}).json()
    assert cart.patch(MAIN, {"ops": [["inc", "/cart/n", 1]], "key": "once"}).json() == first
    assert cart.get(MAIN).json()["data"] == {"cart": {"n": 2}}


@pytest.mark.parametrize("name", ["epoch_changed", "unknown_version"])
def test_a_base_that_the_server_does_not_have_is_temporary(cart: Caller, name: str) -> None:
    terms = {"epoch": "00"} if name == "epoch_changed" else {"base": 99}
    answer = cart.patch(MAIN, {"merge": {}, **terms})
    assert refused(answer, name, 409)
    assert answer.json()["temporary"] is True


def test_if_match_writes_at_that_version_and_no_other(cart: Caller) -> None:
    etag = cart.get(MAIN)["ETag"]
    assert cart.patch(MAIN, {"merge": {"a": 1}}, If_Match=etag).status_code == 200
    for answer in (
        cart.patch(MAIN, {"merge": {"b": 1}}, If_Match=etag),
        cart.patch(MAIN, {"patch": [{"op": "remove", "path": "/a"}]}, If_Match=etag),
        cart.put(MAIN, {"c": 1}, If_Match=etag),
        cart.delete(MAIN, If_Match=etag),
    ):
        assert refused(answer, "precondition_failed", 412)
    assert cart.get(MAIN).json()["data"] == {"cart": {"n": 1}, "a": 1}


@pytest.mark.parametrize("given", ["*", '"x"', '"a.1.b", "c.2.d"', '"00.1.00"', ""])
def test_an_if_match_that_matches_nothing_changes_nothing(cart: Caller, given: str) -> None:
    assert refused(cart.put(MAIN, {}, If_Match=given), "precondition_failed", 412)
    assert StateRevision.objects.count() == 1


def test_if_match_makes_no_document(mine: Caller) -> None:
    assert refused(mine.put(MAIN, {}, If_Match='"a.0."'), "precondition_failed", 412)
    assert not StateDocument.objects.exists()


def test_put_replaces_and_delete_empties_in_new_versions_of_one_epoch(cart: Caller) -> None:
    put = cart.put(MAIN, {"new": True}).json()["position"]
    cleared = cart.delete(MAIN).json()["position"]
    assert (put[0], put[1], cleared[1]) == (cleared[0], 2, 3)
    assert cart.get(MAIN).json()["data"] == {}
    assert list(StateRevision.objects.order_by("version").values_list("kind", flat=True)) == [
        "patch",
        "replace",
        "clear",
    ]


def test_a_legal_document_of_five_megabytes_goes_in_and_out(mine: Caller) -> None:
    whole = {f"k{n}": "x" * 1000 for n in range(5100)}
    raw = json.dumps(whole, separators=(",", ":")).encode()
    assert 5_000_000 < len(raw) <= 5 * 2**20
    answer = mine.put(MAIN, raw=raw)
    assert answer.status_code == 200, answer.content
    assert mine.get(MAIN).json()["data"] == whole
    assert StateDocument.objects.get().size == len(raw)


def test_a_document_over_the_limit_is_refused_in_json(mine: Caller) -> None:
    for size in (5 * 2**20, 6 * 2**20):
        raw = json.dumps({f"k{n}": "x" * 1000 for n in range(size // 1000)}).encode()
        assert refused(mine.put(MAIN, raw=raw), "document_too_large", 413)
    assert not StateRevision.objects.exists()


def test_small_updates_cannot_pass_the_limit_of_a_document(mine: Caller, settings: Any) -> None:
    settings.SESSION_MGMT = {"max_document_bytes": 2000}
    mine.put(MAIN, {"a": "x" * 1500})
    assert refused(mine.patch(MAIN, {"merge": {"b": "x" * 600}}), "document_too_large", 413)
    assert mine.patch(MAIN, {"merge": {"a": "y" * 1500}}).status_code == 200


def test_sync_gives_one_verdict(cart: Caller) -> None:
    first = cart.post(MAIN + "sync/", {"position": None}).json()
    assert (first["mode"], first["data"]) == ("snapshot", {"cart": {"n": 1}})
    again = cart.post(MAIN + "sync/", {"position": first["position"]}).json()
    assert again["mode"] == "up_to_date"
    cart.patch(MAIN, {"ops": [["set", "/a", 1]]})
    missed = cart.post(MAIN + "sync/", {"position": first["position"]}).json()
    assert (missed["mode"], missed["from"], missed["to"]) == ("entries", 1, 2)
    assert missed["entries"][0][2] == {"ops": [["set", "/a", 1]]}
    assert missed["position"] == [first["position"][0], 2, missed["entries"][0][1]]


@pytest.mark.parametrize(
    ("position", "reason"),
    [
        (["E", 1, "T"], "epoch_changed"),
        ([None, 99, "0" * 16], "history_lost"),
        ([None, 1, "0" * 16], "history_lost"),
        ([None, -1, "T"], "unreadable_position"),
        ([None, 2**53, "T"], None),
        ("here", "unreadable_position"),
        ([None, True, "T"], "unreadable_position"),
        ({"a": 1}, "unreadable_position"),
    ],
)
def test_a_position_that_lies_gets_a_snapshot(cart: Caller, position: Any, reason: str | None) -> None:
    if isinstance(position, list) and position[0] is None:
        position = [StateDocument.objects.get().epoch, *position[1:]]
    answer = cart.post(MAIN + "sync/", {"position": position})
    if reason is None:
        assert refused(answer, "number_out_of_range", 400)
        return
    assert (answer.json()["mode"], answer.json()["reason"]) == ("snapshot", reason)
    assert StateDocument.objects.get().version == 1


def test_compress_keeps_a_snapshot_that_is_smaller_than_the_document(mine: Caller) -> None:
    mine.put(MAIN, {"text": "the same words again and again. " * 1000})
    before = mine.get(MAIN + "size/").json()
    after = mine.post(MAIN + "compress/").json()
    assert (before["stored"], after["exact"], after["compressed"]) == (0, True, True)
    assert 0 < after["stored"] < 0.7 * after["size"]
    assert len(mine.get(MAIN).json()["data"]["text"]) == 32_000


def test_the_list_tells_heads_without_data(cart: Caller) -> None:
    cart.put("sessions/{id}/state/second/", {"a": 1})
    listed = cart.get("sessions/{id}/state/").json()["results"]
    assert [(row["name"], row["version"]) for row in listed] == [("main", 1), ("second", 1)]
    assert all("data" not in row for row in listed)


def test_too_many_documents_are_refused(mine: Caller, settings: Any) -> None:
    settings.SESSION_MGMT = {"max_documents": 1}
    mine.put("sessions/{id}/state/one/", {})
    assert refused(mine.put("sessions/{id}/state/two/", {}), "document_limit", 409)


@pytest.mark.parametrize("name", ["%00", "a%0Ab", "x" * 101, "%7f"])
def test_a_name_that_cannot_be_is_no_document(mine: Caller, name: str) -> None:
    assert refused(mine.put(f"sessions/{{id}}/state/{name}/", {}), "document_not_found", 404)
    assert not StateDocument.objects.exists()


def test_a_damaged_snapshot_is_never_served_as_an_empty_document(cart: Caller) -> None:
    cart.post(MAIN + "compress/")
    StateDocument.objects.get().snapshots.update(body=b'{"cart":{"n":2}}')
    assert refused(cart.get(MAIN), "state_unreadable", 503)


def test_writing_to_an_ended_session_is_refused(cart: Caller) -> None:
    cart.delete("sessions/{id}/")
    assert refused(cart.put(MAIN, {}), "session_terminated", 410)
    assert StateRevision.objects.count() == 1


def test_a_sum_that_no_document_carries_is_told(cart: Caller) -> None:
    cart.patch(MAIN, {"merge": {"cart": {"n": SAFE_INTEGER}}})
    answer = cart.patch(MAIN, {"ops": [["inc", "/cart/n", 1]]}).json()
    assert (answer["dropped"], answer["unchanged"], answer["position"][1]) == (["/cart/n"], True, 2)
    answer = cart.patch(MAIN, {"ops": [["inc", "/cart/n", 1], ["set", "/b", 1]]}).json()
    assert (answer["dropped"], answer["unchanged"], answer["position"][1]) == (["/cart/n"], False, 3)
    answer = cart.patch(MAIN, {"ops": [["inc", "/cart/n", 1], ["set", "/b", 2]], "atomic": True})
    assert refused(answer, "number_out_of_range", 400)
    pending = [{"key": "1", "ops": [["inc", "/cart/n", 1]]}, {"key": "2", "ops": [["inc", "/cart/n", -1]]}]
    told = cart.post(MAIN + "sync/", {"position": None, "pending": pending}).json()
    assert [result.get("dropped") for result in told["results"]] == [["/cart/n"], None]
    answer = cart.patch(MAIN, {"ops": [["inc", "/cart/n", 1]]}, If_Match=cart.get(MAIN)["ETag"])
    assert (answer.status_code, answer.json()["dropped"]) == (200, [])
    answer = cart.patch(MAIN, {"ops": [["inc", "/cart/n", 1]]}, If_Match=cart.get(MAIN)["ETag"])
    assert (answer.status_code, answer.json()["dropped"]) == (200, ["/cart/n"])
