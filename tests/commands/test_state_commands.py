"""Rotating keys and verifying documents from the command line."""

from __future__ import annotations

import json
from base64 import b64encode
from io import StringIO
from typing import Any

import pytest
from django.core.checks import CheckMessage, Tags, run_checks
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from session_mgmt.actions.state import bodies
from session_mgmt.management.commands import rotate_state_keys
from session_mgmt.models import AuditEntry, StateDocument, StateRevision, StateSnapshot
from session_mgmt.shortcuts import create_session, state

pytestmark = pytest.mark.usefixtures("on_this_thread")
OLD = ("old", b64encode(b"o" * 32).decode())
NEW = ("new", b64encode(b"n" * 32).decode())


def run(*words: str) -> tuple[Any, int]:
    """The JSON that a command prints, and its exit code."""
    out, code = StringIO(), 0
    try:
        call_command(*words, "--json", stdout=out, stderr=StringIO())
    except CommandError as error:
        code = error.returncode
    return json.loads(out.getvalue()), code


def made(name: str = "main") -> StateDocument:
    """Four versions, a snapshot at 3."""
    session = create_session().session
    for number in range(3):
        state.update(session, {f"k{number}": "x" * 50}, name=name)
    state.compress(session, name=name)
    state.update(session, {"last": 1}, name=name)
    return StateDocument.objects.get(session=session, name=name)


def problems(told: Any) -> list[tuple[str, int, str]]:
    return [(found["row"], found["version"], found["problem"]) for found in told["findings"]]


def test_whole_documents_are_no_finding() -> None:
    made()
    made("other")
    assert run("verify_state") == ({"documents": 2, "findings": []}, 0)


def _gap(row: StateDocument) -> None:
    StateRevision.objects.filter(document=row, version__in=[2, 3]).delete()


def _no_end(row: StateDocument) -> None:
    StateRevision.objects.filter(document=row, version=4).delete()


def _other_ops(row: StateDocument) -> None:
    StateRevision.objects.filter(document=row, version=2).update(ops=b'[["set","/k1","other"]]')


def _no_json(row: StateDocument) -> None:
    StateRevision.objects.filter(document=row, version=2).update(ops=b"[[")


def _other_head(row: StateDocument) -> None:
    StateDocument.objects.filter(pk=row.pk).update(chain=bytes(32))


def _damaged(row: StateDocument) -> None:
    StateSnapshot.objects.filter(document=row).update(body=b"{}")


def _other_snapshot(row: StateDocument) -> None:
    StateSnapshot.objects.filter(document=row).update(version=2)


def _other_sum(row: StateDocument) -> None:
    StateDocument.objects.filter(pk=row.pk).update(checksum="0" * 64)


def _too_small(row: StateDocument) -> None:
    StateDocument.objects.filter(pk=row.pk).update(size=5)


def _leftover(row: StateDocument) -> None:
    StateDocument.objects.filter(pk=row.pk).update(oldest_revision=3)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (_gap, [("revision", 2, "gap")]),
        (_no_end, [("revision", 4, "gap")]),
        (_other_ops, [("revision", 2, "bad_chain"), ("document", 3, "bad_checksum"), ("snapshot", 3, "bad_snapshot")]),
        (_no_json, [("revision", 2, "unreadable")]),
        (_other_head, [("document", 4, "bad_chain")]),
        (_damaged, [("snapshot", 3, "unreadable")]),
        (_other_snapshot, [("snapshot", 2, "bad_snapshot")]),
        (_other_sum, [("document", 3, "bad_checksum")]),
        (_too_small, [("document", 4, "bad_size")]),
        (
            _leftover,
            [
                ("revision", 1, "outside"),
                ("revision", 2, "outside"),
                ("snapshot", 2, "no_anchor"),
                ("revision", 3, "bad_chain"),
            ],
        ),
    ],
)
def test_every_kind_of_damage_is_named_row_by_row(damage: Any, expected: Any) -> None:
    made("fine")
    row = made()
    damage(row)
    told, code = run("verify_state")
    assert problems(told) == expected
    assert {found["document"] for found in told["findings"]} == {row.pk}
    assert (told["documents"], code) == (2, 1)


def test_verifying_only_reads_and_may_be_narrowed() -> None:
    row = made()
    made("other")
    before = list(StateDocument.objects.order_by("pk").values())
    _damaged(row)
    assert run("verify_state", "--name", "other") == ({"documents": 1, "findings": []}, 0)
    assert run("verify_state", "--document", str(row.pk))[1] == 1
    assert list(StateDocument.objects.order_by("pk").values()) == before


def test_a_document_that_is_not_there_is_not_told_to_be_sound() -> None:
    row = made()
    out = StringIO()
    with pytest.raises(CommandError, match="There is no document 99999, 99998") as told:
        call_command("verify_state", "--document", str(row.pk), "--document=99999", "--document=99998", stdout=out)
    assert (told.value.returncode, out.getvalue()) == (2, "")


def test_people_are_told_in_lines() -> None:
    row = made()
    _damaged(row)
    out = StringIO()
    with pytest.raises(CommandError, match="1 findings"):
        call_command("verify_state", stdout=out, stderr=StringIO())
    assert out.getvalue().startswith(f"document {row.pk} snapshot 3: unreadable")


def test_a_rotation_is_counted_done_and_audited(settings: Any) -> None:
    settings.SESSION_MGMT = {"STATE_KEYS": [OLD], "ENCRYPT_STATE": True}
    row = made()
    data = bodies.load_body("default", row.pk).data
    settings.SESSION_MGMT = {"STATE_KEYS": [NEW, OLD], "ENCRYPT_STATE": True}
    assert run("rotate_state_keys", "--dry-run")[0]["documents"] == 1
    assert not AuditEntry.objects.exists()
    told, code = run("rotate_state_keys")
    assert (told["documents"], told["unreadable"], code) == (1, 0, 0)
    assert AuditEntry.objects.get().action == "rotate_state_keys"
    settings.SESSION_MGMT = {"STATE_KEYS": [NEW], "ENCRYPT_STATE": True}
    assert bodies.load_body("default", row.pk).data == data
    assert run("verify_state")[1] == 0


def test_a_rotation_that_leaves_something_behind_says_so(settings: Any) -> None:
    settings.SESSION_MGMT = {"STATE_KEYS": [OLD], "ENCRYPT_STATE": True}
    made()
    settings.SESSION_MGMT = {"STATE_KEYS": [NEW], "ENCRYPT_STATE": True}
    told, code = run("rotate_state_keys")
    assert (told["unreadable"], code) == (1, 2)
    assert run("verify_state")[0]["findings"][0]["problem"] == "unreadable"


def test_rows_are_counted_by_key_and_those_of_a_missing_key_are_told(settings: Any) -> None:
    settings.SESSION_MGMT = {"STATE_KEYS": [OLD], "ENCRYPT_STATE": ["main"]}
    made()
    made("plain")
    settings.SESSION_MGMT = {"STATE_KEYS": [NEW, OLD], "ENCRYPT_STATE": ["main"]}
    made()
    told, code = run("rotate_state_keys", "--dry-run")
    assert told["keys"] == {
        "": {"documents": 1, "snapshots": 1, "revisions": 4},
        "new": {"documents": 1, "snapshots": 1, "revisions": 4},
        "old": {"documents": 1, "snapshots": 1, "revisions": 4},
    }
    assert (told["missing"], code) == ([], 0)
    assert in_use() == []
    settings.SESSION_MGMT = {"STATE_KEYS": [NEW], "ENCRYPT_STATE": ["main"]}
    told, code = run("rotate_state_keys", "--dry-run")
    assert (told["missing"], code) == (["old"], 2)
    (warning,) = in_use()
    assert "old" in warning.msg and warning.hint
    settings.SESSION_MGMT = {"STATE_KEYS": [NEW, OLD], "ENCRYPT_STATE": ["main"]}
    told, _ = run("rotate_state_keys")
    assert set(told["keys"]) == {"", "new"}
    settings.SESSION_MGMT = {"STATE_KEYS": [NEW], "ENCRYPT_STATE": ["main"]}
    assert in_use() == []


def in_use() -> list[CheckMessage]:
    """What ``check --database default`` says of keys."""
    found = run_checks(tags=[Tags.database], databases=["default"])
    return [message for message in found if message.id == "session_mgmt.W003"]


def test_a_check_without_a_database_asks_none(settings: Any) -> None:
    settings.SESSION_MGMT = {"STATE_KEYS": [NEW]}
    # Some versions of Django ask the database themselves.
    with CaptureQueriesContext(connection) as asked:
        run_checks()
    assert [query["sql"] for query in asked if "session_mgmt" in query["sql"]] == []


def test_people_see_the_progress_and_the_keys(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.SESSION_MGMT = {"STATE_KEYS": [OLD], "ENCRYPT_STATE": True}
    made()
    made("other")
    monkeypatch.setattr(rotate_state_keys, "_EVERY", 1)
    settings.SESSION_MGMT = {"STATE_KEYS": [NEW, OLD], "ENCRYPT_STATE": True}
    out, progress = StringIO(), StringIO()
    call_command("rotate_state_keys", stdout=out, stderr=progress)
    assert progress.getvalue().split() == ["documents:", "1", "documents:", "2"]
    assert "documents      2\n" in out.getvalue()
    assert out.getvalue().endswith("key new: 2 documents, 2 snapshots, 8 revisions\n")
    call_command("rotate_state_keys", verbosity=0, stdout=StringIO(), stderr=(silent := StringIO()))
    assert silent.getvalue() == ""


def test_without_keys_there_is_nothing_to_rotate_to() -> None:
    with pytest.raises(CommandError, match="no key"):
        call_command("rotate_state_keys", stdout=StringIO(), stderr=StringIO())
