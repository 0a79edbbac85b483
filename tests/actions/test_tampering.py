"""Whoever can write to the database changes an encrypted document: it is refused, never read, and found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from django.db.models import QuerySet

from session_mgmt.actions.keys import verification
from session_mgmt.actions.state import bodies
from session_mgmt.exceptions import StateUnreadable
from session_mgmt.models import (
    AuditEntry,
    StateConflict,
    StateDocument,
    StateRevision,
    StateSnapshot,
)
from session_mgmt.models.identifiers import uuid7
from session_mgmt.shortcuts import state
from tests.actions.conftest import Case, Desk
from tests.actions.damage import assert_refused, change, flip, problems, records, revisions

Damage = Callable[["Case"], Any]
ATTACKERS = b'{"forged":1}'


# -- the document, its snapshots and its log ---------------------------------------------------------------------------


def _flip_snapshot(case: Case) -> None:
    change(StateSnapshot.objects.all(), "body", lambda row: flip(row.body))


def _flip_nonce(case: Case) -> None:
    change(StateSnapshot.objects.all(), "nonce", lambda row: flip(row.nonce))


def _plain_snapshot(case: Case) -> None:
    StateSnapshot.objects.update(body=ATTACKERS, key_id="")


def _older_snapshot(case: Case) -> None:
    StateSnapshot.objects.update(version=4)
    StateRevision.objects.all().delete()


def _other_codec(case: Case) -> None:
    StateSnapshot.objects.update(codec=1)


def _raw_instead_of_compressed(case: Case) -> None:
    case.desk.put(("set", "/long", "x" * 50_000))
    state.compress(case.desk.session)
    assert StateSnapshot.objects.exclude(codec=0).update(codec=0) == 1


def _swapped_snapshots(case: Case) -> None:
    state.compress(case.desk.session)
    first, *_, last = StateSnapshot.objects.order_by("version")
    StateSnapshot.objects.filter(pk=last.pk).update(body=first.body, nonce=first.nonce, digest=first.digest)


def _flip_revision(case: Case) -> None:
    change(revisions(case, 4), "ops", lambda row: flip(row.ops))


def _plain_revision(case: Case) -> None:
    revisions(case, 4).update(ops=b'[["set","/late","forged"]]')


def _older_revision(case: Case) -> None:
    revisions(case, 4).update(ops=revisions(case).get(version=2).ops)


def _other_documents_revision(case: Case) -> None:
    revisions(case, 4).update(ops=revisions(Case.made()).get(version=4).ops)


def _no_revision(case: Case) -> None:
    revisions(case, 3).delete()


def _no_key(case: Case) -> None:
    StateDocument.objects.update(key_id="", encrypted=False)


def _no_key_anywhere(case: Case) -> None:
    _no_key(case)
    StateSnapshot.objects.update(key_id="")


def _foreign_key(case: Case) -> None:
    StateDocument.objects.update(key_id="lost")


def _other_secret(case: Case) -> None:
    StateDocument.objects.filter(pk=case.desk.row.pk).update(secret=Case.made().desk.row.secret)


def _flip_secret(case: Case) -> None:
    change(StateDocument.objects.all(), "secret", lambda row: flip(row.secret))


def _other_name(case: Case) -> None:
    Desk()
    state.update(case.desk.session, {"a": 1}, name="other")
    StateDocument.objects.filter(name="main").update(name="gone")
    StateDocument.objects.filter(name="other").update(name="main")


def _older_head(case: Case) -> None:
    StateDocument.objects.update(version=2, snapshot_version=0, chain=revisions(case).get(version=2).chain)


def _empty_head(case: Case) -> None:
    StateDocument.objects.update(version=0, snapshot_version=0, chain=bytes(32))


def _empty_head_without_a_log(case: Case) -> None:
    StateRevision.objects.all().delete()
    _empty_head(case)


@pytest.mark.parametrize(
    "damage",
    [
        _flip_snapshot,
        _flip_nonce,
        _plain_snapshot,
        _older_snapshot,
        _other_codec,
        _raw_instead_of_compressed,
        _swapped_snapshots,
        _flip_revision,
        _plain_revision,
        _older_revision,
        _other_documents_revision,
        _no_revision,
        _no_key,
        _no_key_anywhere,
        _foreign_key,
        _other_secret,
        _flip_secret,
        _other_name,
        _older_head,
        _empty_head,
        _empty_head_without_a_log,
    ],
)
def test_a_document_that_somebody_was_at_is_refused_and_remembered(case: Case, damage: Damage) -> None:
    assert problems(case) == set()
    damage(case)
    assert_refused(case, lambda: state.get(case.desk.session))
    with pytest.raises(StateUnreadable):
        bodies.load_raw("default", case.desk.row.pk)
    assert verification.verify_document(case.desk.row.pk) != []


# -- merges: what was asked for, and what lost -------------------------------------------------------------------------


def asked(case: Case) -> QuerySet[StateRevision]:
    return revisions(case).exclude(asked=None)


def _another_merge(case: Case) -> bytes:
    case.disagree("two")
    earlier, _ = asked(case).order_by("version")
    return bytes(earlier.asked)


@pytest.mark.parametrize(
    "value",
    [
        lambda case: flip(asked(case).get().asked),
        lambda case: b'[["set","/one","forged"]]',
        lambda case: None,
        lambda case: asked(case).get().ops,
        lambda case: asked(Case.made()).get().asked,
        _another_merge,
    ],
    ids=["flipped", "plain", "removed", "its operations", "other document", "older"],
)
def test_what_a_client_had_asked_for_is_not_to_be_changed(case: Case, value: Callable[[Case], Any]) -> None:
    writer = case.writers[1]
    stored = value(case)
    newest = asked(case).order_by("version").last()
    assert newest is not None
    StateRevision.objects.filter(pk=newest.pk).update(asked=stored)
    assert_refused(case, lambda: writer.settle(("set", "/one/qty", 9), base=1))
    assert problems(case) == {"revision"}


def test_nothing_is_put_beside_a_revision_that_was_no_merge(case: Case) -> None:
    revisions(case, 3).update(asked=asked(case).get().asked)
    assert_refused(case, lambda: case.writers[1].settle(("set", "/one/qty", 9), base=1))
    assert problems(case) == {"revision"}


COLUMNS = ("path", "base", "server", "client_value")


def _of_another_record(row: StateConflict, column: str) -> Any:
    other = StateConflict.objects.exclude(pk=row.pk).get()
    return getattr(other, column)


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize(
    "value",
    [
        lambda row, column: flip(getattr(row, column)),
        lambda row, column: b"/plain" if column == "path" else b'"plain"',
        lambda row, column: b"" if column == "path" else None,
        lambda row, column: getattr(row, "server" if column == "client_value" else "client_value"),
        _of_another_record,
    ],
    ids=["flipped", "plain", "removed", "another column", "another record"],
)
def test_a_value_that_lost_is_not_to_be_changed(case: Case, column: str, value: Callable[..., Any]) -> None:
    row = records(case).get()
    case.disagree("two")
    (kept,) = [told for told in state.conflicts(case.desk.session) if told["id"] == str(row.pk)]
    StateConflict.objects.filter(pk=row.pk).update(**{column: value(row, column)})
    before = state.get(case.desk.session)
    assert_refused(case, lambda: state.conflicts(case.desk.session))
    with pytest.raises(StateUnreadable):
        state.resolve(case.desk.session, kept["id"], "client")
    assert state.get(case.desk.session) == before
    assert problems(case) == {"conflict"}


def _as_another_record(row: StateConflict) -> None:
    StateConflict.objects.filter(pk=row.pk).update(id=uuid7())


def _at_another_version(row: StateConflict) -> None:
    StateConflict.objects.filter(pk=row.pk).update(version=1)


def _to_another_document(row: StateConflict) -> None:
    mine = row.document
    other = records(Case.made()).get()
    StateConflict.objects.filter(pk=row.pk).delete()
    StateConflict.objects.filter(pk=other.pk).update(document=mine)


@pytest.mark.parametrize("move", [_as_another_record, _at_another_version, _to_another_document])
def test_a_record_is_read_where_it_was_written_only(case: Case, move: Callable[[StateConflict], None]) -> None:
    move(records(case).get())
    assert_refused(case, lambda: state.conflicts(case.desk.session))
    assert problems(case) == {"conflict"}


# -- touched paths: what is missing among them would be overwritten without a merge ------------------------------------


def _without_its_paths(case: Case) -> bytes:
    stored = orjson.loads(bytes(revisions(case).get(version=3).paths))
    return orjson.dumps(stored[:1])


@pytest.mark.parametrize(
    "value",
    [
        lambda case: flip(bytes(revisions(case).get(version=3).paths)[:-2]) + b'"]',
        _without_its_paths,
        lambda case: b"[]",
        lambda case: b'["/plain"]',
        lambda case: b"no json",
        lambda case: b'{"a":1}',
        lambda case: revisions(case).get(version=1).paths,
        lambda case: revisions(Case.made()).get(version=3).paths,
    ],
    ids=["flipped", "emptied", "empty", "plain", "no json", "no list", "older", "other document"],
)
def test_a_conflict_is_not_hidden_by_changing_paths(case: Case, value: Callable[[Case], Any]) -> None:
    revisions(case, 3).update(paths=value(case))
    before = state.get(case.desk.session)
    told = case.desk.writer().write(("set", "/one/qty", "mine"), base=2)
    assert isinstance(told.error, StateUnreadable) and not told.is_final
    assert AuditEntry.objects.filter(action="state_unreadable", session=case.desk.session.pk).count() == 1
    assert state.get(case.desk.session) == before
    assert problems(case) == {"revision"}
    assert Case.made().everything()["now"]


def test_a_conflict_is_not_hidden_by_taking_a_revision_away(case: Case) -> None:
    revisions(case, 3).delete()
    told = case.desk.writer().write(("set", "/one/qty", "mine"), base=2)
    assert isinstance(told.error, StateUnreadable)
    assert case.desk.row.version == 4
