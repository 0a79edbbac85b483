"""Documents under encryption: unreadable without a key, of no use for guessing, refused when somebody changed them."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from django.db import connection, transaction

from session_mgmt import checks
from session_mgmt.actions import bodies, documents, history, rotation, vaults, verifying
from session_mgmt.conf import settings as ours
from session_mgmt.documents import chain, operations
from session_mgmt.exceptions import SeqReused, StateUnreadable
from session_mgmt.models import AuditEntry, Outbox, Receipt, StateDocument, StateRevision, StateSnapshot
from session_mgmt.shortcuts import create_session, drain, state
from tests.actions.conftest import LIMIT, Desk

OLD = ("2026-01", b64encode(b"o" * 32).decode())
NEW = ("2026-11", b64encode(b"n" * 32).decode())
SECRET = "a very telling word"
BEFORE = [("set", "/diagnosis", SECRET), ("set", "/list", [SECRET]), ("inc", "/n", 1)]


@pytest.fixture
def encrypted(settings: Any) -> Callable[..., None]:
    def use(*keys: tuple[str, str], **more: Any) -> None:
        settings.SESSION_MGMT = {"STATE_KEYS": list(keys), "ENCRYPT_STATE": True, **more}

    use(OLD)
    return use


def stored_bytes() -> bytes:
    """Everything that the database holds, as one would find it in a dump."""
    found = b""
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            if table.startswith("session_mgmt_"):
                cursor.execute(f'SELECT * FROM "{table}"')
                found += b"".join(_as_bytes(value) for row in cursor.fetchall() for value in row)
    return found


def _as_bytes(value: Any) -> bytes:
    return bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()


def write(desk: Desk) -> Any:
    for op in BEFORE:
        desk.put(op)
    state.compress(desk.session)
    state.persist(desk.session, "kept")
    desk.put(("set", "/late", SECRET))
    return state.get(desk.session)


def test_what_is_written_is_read_and_the_database_does_not_know_it(encrypted: Any, desk: Desk) -> None:
    writer = desk.writer()
    writer.write(("set", "/from the client", SECRET))
    data = write(desk)
    assert data["late"] == data["diagnosis"] == SECRET
    with transaction.atomic():
        state.update(desk.session, {"waiting": SECRET})
        dump = stored_bytes()
    for word in (SECRET.encode(), b"diagnosis", b"from the client", b"waiting"):
        assert word not in dump
    drain()
    assert state.get(desk.session)["waiting"] == SECRET
    assert documents.head(desk.row)["encrypted"] is True


def test_hashes_are_no_oracle_for_those_who_guess(encrypted: Any, desk: Desk) -> None:
    writer = desk.writer()
    writer.write(("set", "/a", "no"))
    state.compress(desk.session)
    row, revision, receipt = desk.row, StateRevision.objects.get(), Receipt.objects.get()
    ops = operations.encode([("set", "/a", "no")])
    whole = b'{"a":"no"}'
    assert bytes(row.chain) == bytes(revision.chain) != chain.advance(chain.GENESIS, 1, ops)
    assert row.checksum != hashlib.sha256(whole).hexdigest()
    assert bytes(StateSnapshot.objects.get().digest) != hashlib.sha256(whole).digest()
    assert orjson.loads(bytes(revision.paths)) != ["/a"]
    assert bytes(receipt.digest) == bytes(32)
    # Two documents that say the same look nothing alike.
    other = Desk()
    other.put(("set", "/a", "no"))
    twin = StateRevision.objects.get(document=other.row)
    assert bytes(twin.paths) != bytes(revision.paths) and bytes(twin.chain) != bytes(revision.chain)


def test_conflicts_are_found_from_hidden_paths_and_told_in_plain_ones(encrypted: Any, desk: Desk) -> None:
    one, two = desk.writer(), desk.writer()
    one.write(("set", "/a/b", 1), base=0)
    one.write(("set", "/x", 1))
    told = two.write(("set", "/a", 2), ("set", "/a2", 2), ("set", "/x/y", 2), base=0)
    assert b'"dropped":["/a","/x/y"]' in told.body
    assert state.get(desk.session) == {"a": {"b": 1}, "x": 1, "a2": 2}
    both = two.write(("inc", "/n", 1), base=0), one.write(("inc", "/n", 1), base=0)
    assert not any(b"dropped" in answer.body for answer in both)


def test_a_retry_gets_the_same_answer_from_a_sealed_receipt(encrypted: Any, desk: Desk) -> None:
    writer = desk.writer()
    first = writer.write(("inc", "/n", 1))
    again = writer.write(("inc", "/n", 1), seq=1)
    assert again.replayed and again.position == first.position
    assert isinstance(writer.write(("inc", "/n", 2), seq=1).error, SeqReused)
    assert state.get(desk.session) == {"n": 1}


def test_clients_get_entries_and_snapshots_in_plain(encrypted: Any, desk: Desk) -> None:
    desk.put(("set", "/a", 1))
    position = documents.position(desk.row).as_json()
    desk.put(("set", "/b", 2))
    told = documents.sync(desk.session.pk, "main", position)
    assert b'"ops":[["set","/b",2]]' in orjson.dumps(told["entries"])
    assert orjson.dumps(documents.sync(desk.session.pk, "main", None)["data"]) == b'{"a":1,"b":2}'
    assert [row["paths"] for row in state.history(desk.session)["results"]] == [["/b"], ["/a"]]
    state.restore(desk.session, 1)
    assert state.get(desk.session) == {"a": 1}


def flip(body: bytes) -> bytes:
    return body[:-1] + bytes([body[-1] ^ 1])


def _flip_snapshot(desk: Desk) -> None:
    for row in StateSnapshot.objects.all():
        StateSnapshot.objects.filter(pk=row.pk).update(body=flip(bytes(row.body)))


def _flip_revision(desk: Desk) -> None:
    row = StateRevision.objects.get(document=desk.row, version=4)
    StateRevision.objects.filter(pk=row.pk).update(ops=flip(bytes(row.ops)))


def _plain_revision(desk: Desk) -> None:
    StateRevision.objects.filter(version=4).update(ops=b'[["set","/late","forged"]]')


def _older_revision(desk: Desk) -> None:
    StateRevision.objects.filter(version=4).update(ops=StateRevision.objects.get(version=1).ops)


def _older_snapshot(desk: Desk) -> None:
    StateSnapshot.objects.update(version=4)
    StateRevision.objects.all().delete()


def _other_codec(desk: Desk) -> None:
    StateSnapshot.objects.update(codec=1)


def _other_document(desk: Desk) -> None:
    other = Desk()
    write(other)
    theirs = StateRevision.objects.get(document=other.row, version=4)
    StateRevision.objects.filter(document=desk.row, version=4).update(ops=theirs.ops)


def _other_secret(desk: Desk) -> None:
    other = Desk()
    other.put(("set", "/a", 1))
    StateDocument.objects.filter(pk=desk.row.pk).update(secret=other.row.secret)


def _no_key(desk: Desk) -> None:
    StateDocument.objects.update(key_id="")


def _foreign_key(desk: Desk) -> None:
    StateDocument.objects.update(key_id="lost")


@pytest.mark.parametrize(
    "damage",
    [
        _flip_snapshot,
        _flip_revision,
        _plain_revision,
        _older_revision,
        _older_snapshot,
        _other_codec,
        _other_document,
        _other_secret,
        _no_key,
        _foreign_key,
    ],
)
def test_a_row_that_somebody_was_at_is_refused_and_remembered(encrypted: Any, desk: Desk, damage: Any) -> None:
    write(desk)
    assert verifying.verify(desk.row.pk) == []
    damage(desk)
    with pytest.raises(StateUnreadable):
        state.get(desk.session)
    with pytest.raises(StateUnreadable):
        bodies.load_raw("default", desk.row.pk, limit=LIMIT)
    entry = AuditEntry.objects.get(action="state_unreadable", session=desk.session.pk)
    assert entry.data["document"] == "main" and SECRET not in str(entry.data)
    assert verifying.verify(desk.row.pk) != []


def test_without_its_key_a_document_takes_no_write_and_loses_none(encrypted: Any, desk: Desk) -> None:
    writer = desk.writer()
    writer.write(("set", "/a", 1))
    encrypted(NEW)
    refused = writer.write(("set", "/a", 2))
    assert isinstance(refused.error, StateUnreadable) and not refused.decided
    other = Desk()
    assert other.put(("set", "/fine", 1)) == 1
    encrypted(NEW, OLD)
    assert writer.write(("set", "/a", 2), seq=2).position.offset == 2  # type: ignore[union-attr]
    assert state.get(desk.session) == {"a": 2}


def test_a_wish_that_cannot_be_read_is_set_aside_for_the_operator(encrypted: Any, desk: Desk) -> None:
    with transaction.atomic():
        state.update(desk.session, {"a": 1})
        encrypted(NEW)
    drain()
    assert list(Outbox.objects.values_list("refused", flat=True)) == ["state_unreadable"]


def test_without_any_key_nothing_new_is_written_in_plain(encrypted: Any, settings: Any, desk: Desk) -> None:
    settings.SESSION_MGMT = {"ENCRYPT_STATE": True}
    with pytest.raises(StateUnreadable):
        desk.put(("set", "/a", 1))
    assert not StateDocument.objects.exists()


def test_only_the_named_documents_are_encrypted(settings: Any, desk: Desk) -> None:
    settings.SESSION_MGMT = {"STATE_KEYS": [OLD], "ENCRYPT_STATE": ["medical"]}
    state.update(desk.session, {"a": 1})
    state.update(desk.session, {"a": 1}, name="medical")
    assert dict(StateDocument.objects.values_list("name", "encrypted")) == {"main": False, "medical": True}
    assert bytes(StateRevision.objects.get(document__name="main").ops)[:1] == b"["


# -- rotation ----------------------------------------------------------------------------------------------------------


def assert_all_under(key_id: str) -> None:
    assert set(StateDocument.objects.values_list("key_id", flat=True)) == {key_id}
    assert set(StateSnapshot.objects.values_list("key_id", flat=True)) == {key_id}
    assert {vaults.key_id_of(bytes(ops)) for ops in StateRevision.objects.values_list("ops", flat=True)} == {key_id}
    assert {vaults.key_id_of(bytes(body)) for body in Receipt.objects.values_list("outcome", flat=True)} <= {key_id}


def test_after_a_rotation_the_old_key_may_go(encrypted: Any, desk: Desk) -> None:
    writer = desk.writer()
    first = writer.write(("inc", "/n", 1))
    data, chain_before = write(desk), bytes(desk.row.chain)
    encrypted(NEW, OLD)
    assert rotation.rotate(dry_run=True).documents == 1
    assert rotation.rotate().as_dict() == {"documents": 1, "receipts": 1, "wishes": 0, "unreadable": 0}
    assert rotation.rotate().documents == 0
    assert_all_under(NEW[0])
    encrypted(NEW)
    assert state.get(desk.session) == data
    # Positions still prove themselves, and paths from before are still compared.
    assert bytes(desk.row.chain) == chain_before
    assert verifying.verify(desk.row.pk) == []
    assert writer.write(("inc", "/n", 1), seq=1).position == first.position
    told = desk.writer().write(("set", "/diagnosis", "other"), base=0)
    assert b'"dropped":["/diagnosis"]' in told.body
    assert state.read_at(desk.session, "kept")["diagnosis"] == SECRET


def test_new_writes_of_a_document_that_is_not_rotated_stay_under_its_key(encrypted: Any, desk: Desk) -> None:
    write(desk)
    encrypted(NEW, OLD)
    desk.put(("set", "/more", 1))
    state.compress(desk.session)
    assert_all_under(OLD[0])


def test_a_rotation_killed_anywhere_goes_on_where_it_was(encrypted: Any, desk: Desk, kill_at: Any) -> None:
    data = write(desk)
    other = Desk()
    write(other)
    encrypted(NEW, OLD)
    killed = 0
    while StateDocument.objects.exclude(key_id=NEW[0]).exists():
        with kill_at(killed):
            rotation.rotate()
        for each in (desk, other):
            assert state.get(each.session) == data
        killed += 7
    assert killed > 14
    assert_all_under(NEW[0])
    assert verifying.verify(desk.row.pk) == verifying.verify(other.row.pk) == []


def test_a_plain_document_becomes_encrypted_and_its_clients_get_a_snapshot(settings: Any, desk: Desk) -> None:
    data = write(desk)
    position = documents.position(desk.row).as_json()
    settings.SESSION_MGMT = {"STATE_KEYS": [OLD], "ENCRYPT_STATE": True}
    assert rotation.rotate().documents == 1
    assert SECRET.encode() not in stored_bytes()
    assert state.get(desk.session) == data
    assert verifying.verify(desk.row.pk) == []
    told = documents.sync(desk.session.pk, "main", position)
    assert (told["mode"], told["reason"]) == ("snapshot", "history_lost")
    assert history.read_at(desk.row.pk, 1).data == {"diagnosis": SECRET}
    desk.put(("set", "/a", 1))
    assert verifying.verify(desk.row.pk) == []


def test_a_document_that_cannot_be_read_is_left_and_counted(encrypted: Any, desk: Desk) -> None:
    write(desk)
    other = Desk()
    write(other)
    _flip_revision(other)
    encrypted(NEW, OLD)
    report = rotation.rotate()
    assert (report.documents, report.unreadable) == (1, 1)
    assert other.row.key_id == OLD[0]


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "check"),
    [
        ({"ENCRYPT_STATE": True}, "session_mgmt.E009"),
        ({"STATE_KEYS": [("a", "short")], "ENCRYPT_STATE": True}, "session_mgmt.E008"),
        ({"STATE_KEYS": [("a", b64encode(b"x" * 31).decode())]}, "session_mgmt.E008"),
        ({"STATE_KEYS": [OLD, OLD]}, "session_mgmt.E008"),
        ({"STATE_KEYS": [("", OLD[1])]}, "session_mgmt.E008"),
        ({"STATE_KEYS": [("k" * 41, OLD[1])]}, "session_mgmt.E008"),
        ({"STATE_KEYS": ["no pair"]}, "session_mgmt.E008"),
    ],
)
def test_keys_that_cannot_work_are_found_at_start(settings: Any, given: Any, check: str) -> None:
    settings.SESSION_MGMT = given
    assert [found.id for found in checks.check_state_keys()] == [check]


@pytest.mark.parametrize("given", [{}, {"STATE_KEYS": [OLD]}, {"STATE_KEYS": [NEW, OLD], "ENCRYPT_STATE": ["a"]}])
def test_keys_that_work_are_no_finding(settings: Any, given: Any) -> None:
    settings.SESSION_MGMT = given
    assert checks.check_state_keys() == [] == checks.check_settings()


def test_keys_do_not_show(encrypted: Any, desk: Desk) -> None:
    desk.put(("set", "/a", 1))
    row = desk.row
    vault = vaults.vault_of(row.pk, desk.session.pk, "main", row.key_id, bytes(row.secret))
    assert OLD[1] not in repr(ours()) and vault is not None and str(vault.secret) not in repr(vault)
    assert create_session() is not None
