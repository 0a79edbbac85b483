"""Documents from before encryption: converted with all their rows, without a reader noticing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection

from session_mgmt.actions.keys import rotation, verification
from session_mgmt.actions.state import entries as logs
from session_mgmt.actions.state import lookup, reconcile
from session_mgmt.actions.state.updates import Terms
from session_mgmt.exceptions import StateUnreadable
from session_mgmt.models import Outbox
from session_mgmt.models.sql import Statements
from session_mgmt.shortcuts import drain, state
from tests.actions.conftest import OLD, SECRET, Case, Desk
from tests.actions.test_encryption import stored_bytes
from tests.actions.test_rotation import assert_all_under, in_another_thread, verified


@pytest.fixture
def plain(settings: Any, transactional_db: None) -> Case:
    """A document from before encryption, and the settings that ask for it."""
    settings.SESSION_MGMT = {}
    case = Case.made()
    settings.SESSION_MGMT = {"STATE_KEYS": [OLD], "ENCRYPT_STATE": True}
    return case


def _without_tags(told: dict[str, Any]) -> dict[str, Any]:
    rows = [{name: value for name, value in row.items() if name != "tag"} for row in told["history"]]
    return {**told, "history": rows}


def test_a_plain_document_becomes_encrypted_with_all_its_rows(plain: Case) -> None:
    before = plain.everything()
    position = lookup.position_of(plain.desk.row).as_json()
    plain.wish({"wished": SECRET})
    report = rotation.rotate_all()
    assert (report.documents, report.receipts, report.unreadable) == (1, len(plain.answers), 0)
    assert_all_under(OLD[0])
    assert SECRET.encode() not in stored_bytes()
    assert _without_tags(plain.everything()) == _without_tags(before)
    assert drain() == 1 and state.get(plain.desk.session)["wished"] == SECRET
    plain.check_retries()
    assert verified() == []
    told = lookup.sync_document(plain.desk.session.pk, "main", position)
    assert (told["mode"], told["reason"]) == ("snapshot", "history_lost")
    plain.disagree("later")
    assert verified() == []


@contextmanager
def once_before(table: str, work: Callable[[], Any]) -> Iterator[list[str]]:
    """Does the work in another thread right before this one's first read of a table."""
    did: list[str] = []

    def wrapper(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if not did and re.search(f"(FROM|JOIN) {table}", sql.replace('"', "").split("(SELECT MAX")[0]):
            did.append(sql)
            in_another_thread(work).join(timeout=60)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(wrapper):
        yield did


_REVISION, _SNAPSHOT = "session_mgmt_staterevision", "session_mgmt_statesnapshot"
_CONFLICT, _DOCUMENT = "session_mgmt_stateconflict", "session_mgmt_statedocument"


def _settled(document: int) -> Any:
    return reconcile.prepare_merge("default", document, "ops", [["set", "/one/qty", 3]], Terms(base=1))


READS: dict[str, tuple[str, Callable[[Desk], Any]]] = {
    "get, snapshot": (_SNAPSHOT, lambda desk: state.get(desk.session)),
    "get, log": (_REVISION, lambda desk: state.get(desk.session)),
    "history": (_REVISION, lambda desk: state.history(desk.session)),
    "read_at": (_REVISION, lambda desk: state.read_at(desk.session, 2)),
    "conflicts": (_CONFLICT, lambda desk: state.conflicts(desk.session)),
    "patch": (
        _REVISION,
        lambda desk: state.update(desk.session, patch=[{"op": "test", "path": "/one/qty", "value": 2}]),
    ),
    "merge": (_REVISION, lambda desk: _settled(desk.row.pk)),
    "verify": (_REVISION, lambda desk: verification.verify_document(desk.row.pk)),
}


@pytest.mark.parametrize("read", READS)
def test_a_reader_does_not_notice_that_its_document_becomes_encrypted(plain: Case, read: str) -> None:
    table, reading = READS[read]
    with once_before(table, rotation.rotate_all) as did:
        found = reading(plain.desk)
    assert did and plain.desk.row.encrypted
    assert found or (read == "verify" and found == [])


def test_a_follower_does_not_notice_that_its_document_becomes_encrypted(plain: Case) -> None:
    # It reads its entries first and then the head.
    with once_before("session_mgmt_statedocument WHERE id", rotation.rotate_all) as did:
        entries = logs.read_entries(Statements(connection), plain.desk.row.pk, 0, 100)
    assert did and len(entries) == plain.desk.row.version


def test_once_encryption_is_required_plain_rows_are_not_laundered_by_a_rotation(plain: Case, settings: Any) -> None:
    settings.SESSION_MGMT = {"STATE_KEYS": [OLD], "ENCRYPT_STATE": True, "REQUIRE_ENCRYPTION": True}
    plain.wish({"a": 1})
    Outbox.objects.update(payload=b'{"kind":"merge","change":{"forged":1}}')
    report = rotation.rotate_all()
    expected = {"documents": 0, "receipts": 0, "outbox_entries": 0, "webhooks": 0, "unreadable": 1}
    assert report.as_dict() == expected
    with pytest.raises(StateUnreadable):
        state.get(plain.desk.session)
    assert len(verified()) == 1 + len(plain.answers) + 1
