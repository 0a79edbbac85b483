"""Whoever can write to the database changes an encrypted document: it is refused, never read, and found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from django.db.models import QuerySet

from session_mgmt.actions import bodies, outbox, verifying
from session_mgmt.actions.outcomes import Outcome
from session_mgmt.exceptions import SeqReused, StateUnreadable
from session_mgmt.models import (
    AuditEntry,
    Outbox,
    Receipt,
    StateConflict,
    StateDocument,
    StateRevision,
    StateSnapshot,
)
from session_mgmt.models.identifiers import uuid7
from session_mgmt.shortcuts import drain, state
from tests.actions.conftest import LIMIT, NEW, OLD, SECRET, Case, Desk

Damage = Callable[["Case"], Any]
ATTACKERS = b'{"forged":1}'


@pytest.fixture
def case(encrypted: Any, transactional_db: None) -> Case:
    return Case.made()


def flip(body: Any) -> bytes:
    return bytes(body)[:-1] + bytes([bytes(body)[-1] ^ 1])


def change(rows: QuerySet[Any], column: str, value: Callable[[Any], Any]) -> None:
    for row in rows:
        rows.model.objects.filter(pk=row.pk).update(**{column: value(row)})


def revisions(case: Case, *versions: int) -> QuerySet[StateRevision]:
    found = StateRevision.objects.filter(document=case.desk.row)
    return found.filter(version__in=versions) if versions else found


def records(case: Case) -> QuerySet[StateConflict]:
    return StateConflict.objects.filter(document=case.desk.row)


def problems(case: Case) -> set[str]:
    found = [*verifying.verify(case.desk.row.pk), *verifying.loose()]
    return {finding.row for finding in found if finding.problem == "unreadable"}


def assert_refused(case: Case, read: Callable[[], Any]) -> None:
    with pytest.raises(StateUnreadable):
        read()
    entry = AuditEntry.objects.get(action="state_unreadable", session=case.desk.session.pk)
    assert entry.data["document"] == "main" and SECRET not in str(entry.data)


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
        bodies.load_raw("default", case.desk.row.pk, limit=LIMIT)
    assert verifying.verify(case.desk.row.pk) != []


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
    assert isinstance(told.error, StateUnreadable) and not told.decided
    assert AuditEntry.objects.filter(action="state_unreadable", session=case.desk.session.pk).count() == 1
    assert state.get(case.desk.session) == before
    assert problems(case) == {"revision"}
    assert Case.made().everything()["now"]


def test_a_conflict_is_not_hidden_by_taking_a_revision_away(case: Case) -> None:
    revisions(case, 3).delete()
    told = case.desk.writer().write(("set", "/one/qty", "mine"), base=2)
    assert isinstance(told.error, StateUnreadable)
    assert case.desk.row.version == 4


# -- receipts ----------------------------------------------------------------------------------------------------------


def _seen_again(case: Case, at: int) -> Outcome:
    writer, op, strategy, seq, _ = case.answers[at]
    return writer.write(op, seq=seq, strategy=strategy)


def _swap(case: Case) -> None:
    one, two, *_ = Receipt.objects.filter(client=case.writers[0].client).order_by("seq")
    Receipt.objects.filter(pk=one.pk).update(outcome=two.outcome)


def _of_another_client(case: Case) -> None:
    theirs = Receipt.objects.get(client=case.writers[1].client, seq=1)
    Receipt.objects.filter(client=case.writers[0].client, seq=1).update(outcome=theirs.outcome)


def _plain_receipt(case: Case) -> None:
    answer = b'{"ok":true,"position":["x",99,"y"]}'
    Receipt.objects.update(outcome=answer)


RECEIPTS = [lambda case: change(Receipt.objects.all(), "outcome", lambda row: flip(row.outcome)), _swap]


@pytest.mark.parametrize("damage", [*RECEIPTS, _of_another_client], ids=["flipped", "swapped", "another client's"])
def test_a_receipt_that_somebody_was_at_answers_nothing(case: Case, damage: Damage) -> None:
    damage(case)
    version = case.desk.row.version
    told = _seen_again(case, 0)
    # Temporary: the client keeps its update and asks again.
    assert isinstance(told.error, StateUnreadable) and not told.decided and not told.replayed
    assert case.desk.row.version == version
    assert problems(case) == {"receipt"}


def test_a_plain_receipt_answers_nothing_once_encryption_is_required(case: Case, encrypted: Any) -> None:
    _plain_receipt(case)
    # From before encryption, or forged: nobody can tell, and its digest is that of no write here.
    assert isinstance(_seen_again(case, 0).error, SeqReused)
    encrypted(OLD, REQUIRE_ENCRYPTION=True)
    assert isinstance(_seen_again(case, 0).error, StateUnreadable)
    assert problems(case) == {"receipt"}


def test_receipts_and_wishes_stay_sealed_while_documents_are(case: Case, settings: Any) -> None:
    settings.SESSION_MGMT = {"STATE_KEYS": [OLD], "ENCRYPT_STATE": False}
    case.disagree("two")
    case.wish({"a": 1})
    assert {bytes(row.outcome)[:1] for row in Receipt.objects.all()} == {b"\x01"}
    assert bytes(Outbox.objects.get().payload)[:1] == b"\x01"
    case.check_retries()
    assert state.get(case.desk.session)["a"] == 1


# -- wishes in the outbox ----------------------------------------------------------------------------------------------


def _swapped_wishes(case: Case) -> None:
    case.wish({"b": 2})
    one, two = Outbox.objects.order_by("pk")
    Outbox.objects.filter(pk=one.pk).update(payload=two.payload)
    Outbox.objects.filter(pk=two.pk).update(payload=one.payload)


def _other_target(case: Case) -> None:
    Outbox.objects.update(target=f"{Desk().session.pk.hex}/main")


WISHES: dict[str, Damage] = {
    "flipped": lambda case: change(Outbox.objects.all(), "payload", lambda row: flip(row.payload)),
    "no json": lambda case: Outbox.objects.update(payload=b"{"),
    "no wish": lambda case: Outbox.objects.update(payload=b"[]"),
    "swapped": _swapped_wishes,
    "another document": _other_target,
    "another key": lambda case: Outbox.objects.update(key="k"),
    "another kind": lambda case: Outbox.objects.update(kind="record"),
    "no target": lambda case: Outbox.objects.update(target="x/main"),
}


@pytest.mark.parametrize("damage", WISHES)
def test_a_wish_that_somebody_was_at_is_set_aside_and_holds_up_nobody(case: Case, damage: str) -> None:
    case.wish({"a": 1})
    WISHES[damage](case)
    other = Desk()
    other.put(("set", "/fine", 1))
    drain()
    assert set(Outbox.objects.values_list("refused", flat=True)) == {"state_unreadable"}
    assert "a" not in state.get(case.desk.session) and "forged" not in state.get(case.desk.session)


def test_a_plain_wish_is_carried_out_until_encryption_is_required(case: Case, encrypted: Any) -> None:
    forged = orjson.dumps({"kind": "merge", "change": {"forged": 1}})
    case.wish({"a": 1})
    Outbox.objects.update(payload=forged)
    encrypted(OLD, REQUIRE_ENCRYPTION=True)
    assert [finding.row for finding in verifying.loose()] == ["wish"]
    drain()
    assert list(Outbox.objects.values_list("refused", flat=True)) == ["state_unreadable"]
    assert "forged" not in state.get(case.desk.session)
    encrypted(OLD)
    Outbox.objects.update(refused="")
    drain()
    assert state.get(case.desk.session)["forged"] == 1


# -- a whole document put in place of another --------------------------------------------------------------------------


def _forge(case: Case) -> None:
    """All of it replaced by a plain one, as it may have been before encryption was switched on."""
    StateRevision.objects.all().delete()
    StateSnapshot.objects.all().delete()
    _no_key(case)
    StateDocument.objects.update(version=0, snapshot_version=0, oldest_revision=1, chain=bytes(32), secret=b"")


def test_a_plain_document_is_refused_once_encryption_is_required(case: Case, encrypted: Any) -> None:
    _forge(case)
    assert state.get(case.desk.session) == {}
    encrypted(OLD, REQUIRE_ENCRYPTION=True)
    assert_refused(case, lambda: state.get(case.desk.session))
    told = case.desk.writer().write(("set", "/a", 1))
    assert isinstance(told.error, StateUnreadable) and not told.decided
    assert verifying.verify(case.desk.row.pk) != []


def test_encryption_is_required_of_the_named_documents_only(settings: Any, desk: Desk) -> None:
    settings.SESSION_MGMT = {"STATE_KEYS": [OLD], "ENCRYPT_STATE": ["medical"], "REQUIRE_ENCRYPTION": True}
    desk.put(("set", "/a", 1))
    state.update(desk.session, {"a": 1}, name="medical")
    assert state.get(desk.session) == state.get(desk.session, "medical") == {"a": 1}


def test_without_its_key_nothing_of_a_document_is_read(case: Case, encrypted: Any) -> None:
    case.wish({"a": 1})
    encrypted(NEW)
    row = case.desk.row.pk
    reads: list[Callable[[], Any]] = [
        lambda: state.get(case.desk.session),
        lambda: state.history(case.desk.session),
        lambda: state.diff(case.desk.session, 1, 2),
        lambda: state.read_at(case.desk.session, "kept"),
        lambda: state.conflicts(case.desk.session),
        lambda: state.resolve(case.desk.session, records(case).get().pk, "client"),
        lambda: case.writers[1].settle(("set", "/one/qty", 9), base=1),
    ]
    for read in reads:
        with pytest.raises(StateUnreadable):
            read()
    assert {finding.row for finding in verifying.loose()} == {"receipt", "wish"}
    assert [finding.problem for finding in verifying.verify(row)] == ["unreadable"]
    assert isinstance(_seen_again(case, 0).error, StateUnreadable)
    encrypted(NEW, OLD)
    case.check_retries()
    Outbox.objects.update(refused="")
    drain()
    assert state.get(case.desk.session)["a"] == 1


def test_a_wish_is_bound_to_its_row(case: Case) -> None:
    case.wish({"a": 1})
    row = Outbox.objects.get()
    assert b'"a":1' in outbox.opened(row.pk, row.target, row.key, bytes(row.payload))
    with pytest.raises(StateUnreadable):
        outbox.opened(row.pk + 1, row.target, row.key, bytes(row.payload))
