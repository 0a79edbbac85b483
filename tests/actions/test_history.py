"""The past of a document: read, compared, kept, brought back, and never rewritten."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction

from session_mgmt.actions import checking
from session_mgmt.actions.state import history
from session_mgmt.documents import json_patch, operations
from session_mgmt.exceptions import Conflict, DocumentLimit, DocumentNotFound, InvalidField, NotFound
from session_mgmt.models import StateRevision, StateSnapshot
from session_mgmt.shortcuts import create_session, drain, state
from session_mgmt.testing import inline_bridge
from tests.actions.conftest import Desk, compact_due


def written(desk: Desk) -> list[Any]:
    """Five versions; the list holds each, the first one being version 0."""
    seen: list[Any] = [{}]
    for ops in (
        [("set", "/a", 1)],
        [("set", "/b/c", [1])],
        [("ins", "/b/c/-", 2)],
        [("del", "/a")],
        [("inc", "/n", 3)],
    ):
        desk.put(*ops)
        seen.append(state.get(desk.session))
    return seen


def test_every_version_reads_as_it_was(desk: Desk) -> None:
    seen = written(desk)
    assert [state.read_at(desk.session, version) for version in range(6)] == seen


def test_the_listing_is_newest_first_and_goes_on_by_page(desk: Desk) -> None:
    written(desk)
    first = state.history(desk.session, limit=3)
    assert [row["version"] for row in first["results"]] == [5, 4, 3]
    assert first["results"][2]["paths"] == ["/b/c"]
    assert (first["oldest"], first["next"]) == (0, 3)
    rest = state.history(desk.session, before=first["next"], limit=3)
    assert [row["version"] for row in rest["results"]] == [2, 1]
    assert rest["next"] is None


def test_a_difference_applied_to_the_one_gives_the_other(desk: Desk) -> None:
    seen = written(desk)
    for first in range(6):
        for second in range(6):
            patch = state.diff(desk.session, first, second)
            ops = json_patch.translate_json_patch(patch, seen[first], checking.document_limits())
            assert operations.apply_ops(seen[first], ops) == seen[second]


def test_restoring_is_a_new_version_of_the_same_epoch(desk: Desk) -> None:
    seen = written(desk)
    epoch = desk.row.epoch
    assert state.restore(desk.session, 2).offset == 6  # type: ignore[union-attr]
    assert state.get(desk.session) == seen[2]
    assert desk.row.epoch == epoch
    assert [state.read_at(desk.session, version) for version in range(6)] == seen
    assert StateRevision.objects.get(version=6).kind == "restore"


def test_clearing_is_a_new_version_and_can_be_undone(desk: Desk) -> None:
    seen = written(desk)
    state.clear(desk.session)
    assert state.get(desk.session) == {}
    assert StateRevision.objects.get(version=6).kind == "clear"
    state.restore(desk.session, 5)
    assert state.get(desk.session) == seen[5]


def test_inside_a_transaction_restoring_waits_for_the_commit(desk: Desk) -> None:
    seen = written(desk)
    with transaction.atomic():
        state.restore(desk.session, 1)
        assert state.get(desk.session) == seen[5]
    drain()
    assert state.get(desk.session) == seen[1]
    assert StateRevision.objects.get(version=6).kind == "restore"


def test_a_restore_in_a_rolled_back_transaction_never_happened(desk: Desk) -> None:
    seen = written(desk)
    with pytest.raises(ValueError, match="no"), transaction.atomic():
        state.restore(desk.session, 1)
        raise ValueError("no")
    drain()
    assert state.get(desk.session) == seen[5]


def test_a_checkpoint_outlives_the_log_it_was_made_from(desk: Desk, settings: Any) -> None:
    seen = written(desk)
    assert state.persist(desk.session, "before the sale") == 5
    settings.SESSION_MGMT = {"MAX_REVISIONS": 4}
    for _ in range(20):
        desk.put(("inc", "/n", 1))
    assert state.compress(desk.session) > 0
    with pytest.raises(NotFound):
        state.read_at(desk.session, 4)
    assert state.read_at(desk.session, 5) == seen[5]
    assert state.read_at(desk.session, "before the sale") == seen[5]
    state.restore(desk.session, "before the sale")
    assert state.get(desk.session) == seen[5]


def test_a_label_stands_where_it_was_put(desk: Desk) -> None:
    written(desk)
    assert state.persist(desk.session, "a") == state.persist(desk.session, "a") == 5
    desk.put(("set", "/x", 1))
    with pytest.raises(Conflict):
        state.persist(desk.session, "a")
    assert history.forget_checkpoint(desk.row.pk, "a")
    assert not history.forget_checkpoint(desk.row.pk, "a")
    assert state.persist(desk.session, "a") == 6
    assert state.history(desk.session)["results"][0]["labels"] == ["a"]
    assert [row["label"] for row in history.list_checkpoints(desk.row.pk)] == ["a"]


def test_checkpoints_are_bounded_and_without_a_name_called_by_version(desk: Desk, settings: Any) -> None:
    written(desk)
    settings.SESSION_MGMT = {"MAX_CHECKPOINTS": 2}
    state.persist(desk.session, "a")
    state.persist(desk.session)
    assert StateSnapshot.objects.filter(label="v5").exists()
    with pytest.raises(DocumentLimit):
        state.persist(desk.session, "c")


def test_giving_a_checkpoint_up_leaves_the_log_whole(desk: Desk, settings: Any) -> None:
    seen = written(desk)
    state.persist(desk.session, "a")
    settings.SESSION_MGMT = {"MAX_REVISIONS": 4}
    state.compress(desk.session)
    history.forget_checkpoint(desk.row.pk, "a")
    oldest = desk.row.oldest_revision - 1
    assert [state.read_at(desk.session, version) for version in range(oldest, 6)] == seen[oldest:]


@pytest.mark.parametrize("label", ["", "x" * 101, "a\nb", "..", 7])
def test_a_label_that_nobody_can_read_is_refused(desk: Desk, label: Any) -> None:
    written(desk)
    with pytest.raises(InvalidField):
        state.persist(desk.session, label)


@pytest.mark.parametrize("version", [-1, 6, 2**40, "nothing"])
def test_a_version_that_never_was_is_not_found(desk: Desk, version: Any) -> None:
    written(desk)
    with pytest.raises(NotFound):
        state.read_at(desk.session, version)
    with pytest.raises(NotFound):
        state.restore(desk.session, version)


def test_a_document_that_never_was_has_no_past(transactional_db: None) -> None:
    session = create_session().session
    for ask in (state.history, state.persist, state.compress):
        with pytest.raises(DocumentNotFound):
            ask(session)


@pytest.mark.django_db
def test_the_whole_past_works_inside_a_test_case() -> None:
    with inline_bridge():
        session = create_session().session
        state.update(session, {"a": 1})
        state.persist(session, "one")
        state.update(session, {"a": 2})
        assert state.diff(session, 1, 2) == [{"op": "replace", "path": "/a", "value": 2}]
        state.restore(session, "one")
        assert state.get(session) == {"a": 1}
        assert compact_due(100) == 0
