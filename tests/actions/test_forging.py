"""Receipts, updates in the outbox and whole documents that somebody has put there: refused, and found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from session_mgmt.actions import outbox
from session_mgmt.actions.keys import verification
from session_mgmt.actions.outcome import Outcome
from session_mgmt.exceptions import SeqReused, StateUnreadable
from session_mgmt.models import (
    Outbox,
    Receipt,
    StateDocument,
    StateRevision,
    StateSnapshot,
)
from session_mgmt.shortcuts import drain, state
from tests.actions.conftest import NEW, OLD, Case, Desk
from tests.actions.damage import assert_refused, change, flip, problems, records

Damage = Callable[["Case"], Any]


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
    assert isinstance(told.error, StateUnreadable) and not told.is_final and not told.replayed
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
    assert [finding.row for finding in verification.verify_loose_rows()] == ["outbox_entry"]
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
    StateDocument.objects.update(key_id="", encrypted=False)
    StateDocument.objects.update(version=0, snapshot_version=0, oldest_revision=1, chain=bytes(32), secret=b"")


def test_a_plain_document_is_refused_once_encryption_is_required(case: Case, encrypted: Any) -> None:
    _forge(case)
    assert state.get(case.desk.session) == {}
    encrypted(OLD, REQUIRE_ENCRYPTION=True)
    assert_refused(case, lambda: state.get(case.desk.session))
    told = case.desk.writer().write(("set", "/a", 1))
    assert isinstance(told.error, StateUnreadable) and not told.is_final
    assert verification.verify_document(case.desk.row.pk) != []


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
    assert {finding.row for finding in verification.verify_loose_rows()} == {"receipt", "outbox_entry"}
    assert [finding.problem for finding in verification.verify_document(row)] == ["unreadable"]
    assert isinstance(_seen_again(case, 0).error, StateUnreadable)
    encrypted(NEW, OLD)
    case.check_retries()
    Outbox.objects.update(refused="")
    drain()
    assert state.get(case.desk.session)["a"] == 1


def test_a_wish_is_bound_to_its_row(case: Case) -> None:
    case.wish({"a": 1})
    row = Outbox.objects.get()
    assert b'"a":1' in outbox.open_payload(row.pk, row.target, row.key, bytes(row.payload))
    with pytest.raises(StateUnreadable):
        outbox.open_payload(row.pk + 1, row.target, row.key, bytes(row.payload))
