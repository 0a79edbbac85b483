"""Changing keys under running writes: every row follows its document, and afterwards the old key may go."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from django.db import connection

from session_mgmt.actions import vaults
from session_mgmt.actions.keys import rotation, usage, verification
from session_mgmt.models import Outbox, Receipt, StateConflict, StateDocument, StateRevision, StateSnapshot
from session_mgmt.shortcuts import drain, state
from tests.actions.conftest import NEW, OLD, SECRET, Case, Desk, wish
from tests.actions.test_encryption import stored_bytes

Encrypted = Callable[..., None]


def assert_all_under(key_id: str) -> None:
    assert set(usage.count_rows("default")) == {key_id}
    assert set(StateDocument.objects.values_list("key_id", flat=True)) == {key_id}
    columns = [bytes(row.ops) for row in StateRevision.objects.all()]
    columns += [bytes(row.asked) for row in StateRevision.objects.exclude(asked=None)]
    columns += [bytes(getattr(row, name)) for row in StateConflict.objects.all() for name in COLUMNS]
    columns += [bytes(row.outcome) for row in Receipt.objects.all()]
    columns += [bytes(row.payload) for row in Outbox.objects.all()]
    assert {vaults.key_id_of(column) for column in columns} | {row.key_id for row in snapshots()} == {key_id}


COLUMNS = ("path", "base", "server", "client_value")


def snapshots() -> list[StateSnapshot]:
    return list(StateSnapshot.objects.all())


def verified() -> list[Any]:
    return [finding for row in verification.list_documents() for finding in verification.verify_document(row)] + list(
        verification.verify_loose_rows()
    )


@pytest.mark.requirement("ASVS 13.3.1")
def test_after_a_rotation_nothing_needs_the_old_key(encrypted: Encrypted, transactional_db: None) -> None:
    old = Case.made()
    encrypted(NEW, OLD)
    fresh = Case.made()
    for case in (old, fresh):
        case.disagree("two")
        assert state.resolve(case.desk.session, state.conflicts(case.desk.session)[0]["id"], "client")
        case.disagree("three")
    before = [case.everything() for case in (old, fresh)]
    assert StateRevision.objects.exclude(asked=None).count() == 6 and StateConflict.objects.count() == 6
    old.wish({"wished": SECRET})
    # Rows that were written after the change of keys are still under their document's.
    assert set(usage.count_rows("default")[OLD[0]]) == {
        "documents",
        "snapshots",
        "revisions",
        "merges",
        "conflicts",
        "receipts",
    }
    report = rotation.rotate_all()
    assert (report.documents, report.unreadable) == (1, 0)
    encrypted(NEW)
    assert_all_under(NEW[0])
    assert [case.everything() for case in (old, fresh)] == before
    assert drain() == 1 and state.get(old.desk.session)["wished"] == SECRET
    for case in (old, fresh):
        case.check_retries()
    assert verified() == []
    assert SECRET.encode() not in stored_bytes()
    (told, *_) = state.conflicts(old.desk.session)
    state.resolve(old.desk.session, told["id"], "client")
    assert state.get(old.desk.session)["three"]["qty"] == SECRET


def test_a_merge_and_its_conflicts_are_under_the_key_of_their_document(
    encrypted: Encrypted, transactional_db: None
) -> None:
    case = Case.made()
    encrypted(NEW, OLD)
    case.disagree("two")
    state.compress(case.desk.session)
    assert StateConflict.objects.count() == StateRevision.objects.exclude(asked=None).count() == 2
    assert set(usage.count_rows("default")[NEW[0]]) == {"receipts"}


def test_outbox_entries_and_receipts_of_the_old_key_are_rotated(encrypted: Encrypted, desk: Desk) -> None:
    desk.writer().write(("inc", "/n", 1))
    wish(desk, {"a": 1})
    encrypted(NEW, OLD)
    assert rotation.rotate_all(dry_run=True).as_dict() == {
        "documents": 1,
        "receipts": 1,
        "outbox_entries": 1,
        "webhooks": 0,
        "unreadable": 0,
    }
    assert list(rotation.rotate_all().as_dict().values()) == [1, 1, 1, 0, 0]
    assert list(rotation.rotate_all().as_dict().values()) == [0, 0, 0, 0, 0]
    encrypted(NEW)
    drain()
    assert state.get(desk.session) == {"n": 1, "a": 1}


def test_positions_and_paths_from_before_still_hold(encrypted: Encrypted, desk: Desk) -> None:
    writer = desk.writer()
    writer.write(("set", "/diagnosis", SECRET))
    chain_before = bytes(desk.row.chain)
    encrypted(NEW, OLD)
    rotation.rotate_all()
    encrypted(NEW)
    assert bytes(desk.row.chain) == chain_before
    told = desk.writer().write(("set", "/diagnosis", "other"), base=0)
    assert b'"dropped":["/diagnosis"]' in told.body


# -- interrupted, doubled, and beside older settings -------------------------------------------------------------------


def test_a_rotation_killed_anywhere_goes_on_where_it_was(
    encrypted: Encrypted, transactional_db: None, kill_at: Any
) -> None:
    cases = [Case.made(), Case.made()]
    cases[0].wish({"wished": 1})
    before = [case.everything() for case in cases]
    encrypted(NEW, OLD)
    killed = 0
    while set(usage.count_rows("default")) != {NEW[0]}:
        with kill_at(killed):
            rotation.rotate_all()
        assert [case.everything() for case in cases] == before
        killed += 3
    assert killed > 30
    encrypted(NEW)
    assert [case.everything() for case in cases] == before
    assert verified() == []


ROTATES_UNTIL_KILLED = """
import json, os, sys
import django
from django.conf import settings
settings.SESSION_MGMT = json.loads(os.environ["KEYS"])
django.setup()
from django.db import connection
from session_mgmt.actions.keys import rotation
heads = 0
def wrapper(execute, sql, params, many, context):
    global heads
    heads += sql.startswith('UPDATE "session_mgmt_statedocument"')
    if heads == 2:
        print("in the middle", flush=True)
        sys.stdin.read()
    return execute(sql, params, many, context)
with connection.execute_wrapper(wrapper):
    rotation.rotate_all()
"""


def test_a_process_killed_in_the_middle_leaves_documents_whole(
    encrypted: Encrypted, database_environment: dict[str, str]
) -> None:
    cases = [Case.made(), Case.made()]
    before = [case.everything() for case in cases]
    keys = {"STATE_KEYS": [NEW, OLD], "ENCRYPT_STATE": True}
    environment = database_environment | {
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "KEYS": json.dumps(keys),
    }
    command = [sys.executable, "-c", ROTATES_UNTIL_KILLED]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=inherited(environment)) as killed:
        assert killed.stdout is not None and killed.stdout.readline() == b"in the middle\n"
        killed.kill()
    assert {row.key_id for row in StateDocument.objects.all()} == {OLD[0], NEW[0]}
    encrypted(NEW, OLD)
    assert [case.everything() for case in cases] == before
    rotation.rotate_all()
    encrypted(NEW)
    assert_all_under(NEW[0])
    assert [case.everything() for case in cases] == before


def inherited(environment: dict[str, str]) -> dict[str, str]:
    return {"PYTHONPATH": ":".join(path for path in sys.path if path), **environment}


def in_another_thread(work: Callable[[], Any]) -> threading.Thread:
    """Started, with a connection of its own."""

    def run() -> None:
        with closing(connection):
            work()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_two_rotations_at_once_do_no_harm(encrypted: Encrypted, transactional_db: None) -> None:
    cases = [Case.made() for _ in range(3)]
    before = [case.everything() for case in cases]
    encrypted(NEW, OLD)
    reports: list[rotation.Rotation] = []
    together = threading.Barrier(2)

    def rotate() -> None:
        together.wait(timeout=60)
        reports.append(rotation.rotate_all())

    for thread in [in_another_thread(rotate) for _ in range(2)]:
        thread.join(timeout=60)
    assert [report.unreadable for report in reports] == [0, 0]
    encrypted(NEW)
    assert_all_under(NEW[0])
    assert [case.everything() for case in cases] == before


def test_a_process_with_older_settings_leaves_nothing_behind_in_rotated_documents(
    encrypted: Encrypted, transactional_db: None
) -> None:
    cases = [Case.made(), Case.made()]
    made: list[Case] = []

    def meanwhile(what: str, count: int) -> None:
        if (what, count) != ("documents", 1):
            return
        encrypted(OLD, NEW)
        for case in cases:
            case.disagree("meanwhile")
        made.append(Case.made())
        encrypted(NEW, OLD)

    encrypted(NEW, OLD)
    rotation.rotate_all(meanwhile)
    # What it made anew is under the old key, and an operator sees so before taking that away.
    assert (
        usage.count_rows("default").get(OLD[0], {}).get("documents", 0)
        == StateDocument.objects.filter(key_id=OLD[0]).count()
    )
    rotation.rotate_all()
    assert_all_under(NEW[0])
    encrypted(NEW)
    for case in [*cases, *made]:
        assert case.everything()["conflicts"]
        case.check_retries()
    assert verified() == []


def test_new_documents_of_older_settings_are_counted_until_they_are_rotated(encrypted: Encrypted, desk: Desk) -> None:
    encrypted(NEW, OLD)
    rotation.rotate_all()
    encrypted(OLD, NEW)
    desk.writer().write(("inc", "/n", 1))
    encrypted(NEW)
    assert usage.count_rows("default") == {OLD[0]: {"documents": 1, "revisions": 1, "receipts": 1}}
    assert usage.list_missing_keys({OLD[0], NEW[0], ""}) == [OLD[0]]
    encrypted(NEW, OLD)
    rotation.rotate_all()
    assert set(usage.count_rows("default")) == {NEW[0]}


def test_a_row_under_another_key_than_its_document_is_found_and_put_right(encrypted: Encrypted, desk: Desk) -> None:
    case = Case.made()
    row = StateRevision.objects.get(document=case.desk.row, version=2)
    conflict = StateConflict.objects.get()
    earlier = bytes(row.ops), bytes(conflict.server)
    encrypted(NEW, OLD)
    rotation.rotate_all()
    StateRevision.objects.filter(pk=row.pk).update(ops=earlier[0])
    StateConflict.objects.filter(pk=conflict.pk).update(server=earlier[1])
    found = [(finding.row, finding.problem) for finding in verified()]
    assert found == [("revision", "other_key"), ("conflict", "other_key")]
    assert rotation.rotate_all(dry_run=True).documents == 1
    assert rotation.rotate_all().documents == 1
    assert_all_under(NEW[0])
    assert verified() == []


def test_a_document_that_cannot_be_read_is_left_and_counted(encrypted: Encrypted, transactional_db: None) -> None:
    Case.made()
    other = Case.made().desk
    StateConflict.objects.filter(document=other.row).update(server=b'"forged"')
    encrypted(NEW, OLD)
    report = rotation.rotate_all()
    assert (report.documents, report.unreadable) == (1, 1)
    assert other.row.key_id == OLD[0]
