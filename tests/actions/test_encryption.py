"""Documents under encryption: unreadable without a key, of no use for guessing, refused when somebody changed them."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from typing import Any

import orjson
import pytest
from django.db import connection, transaction

from session_mgmt import checks
from session_mgmt.actions import vaults
from session_mgmt.actions.state import lookup
from session_mgmt.conf import settings as ours
from session_mgmt.documents import chain, operations
from session_mgmt.exceptions import SeqReused, StateUnreadable
from session_mgmt.models import Outbox, Receipt, StateDocument, StateRevision, StateSnapshot
from session_mgmt.shortcuts import create_session, drain, state
from tests.actions.conftest import NEW, OLD, SECRET, Desk

BEFORE = [("set", "/diagnosis", SECRET), ("set", "/list", [SECRET]), ("inc", "/n", 1)]


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
    assert lookup.describe_head(desk.row)["encrypted"] is True


def test_hashes_are_no_oracle_for_those_who_guess(encrypted: Any, desk: Desk) -> None:
    writer = desk.writer()
    writer.write(("set", "/a", "no"))
    state.compress(desk.session)
    row, revision, receipt = desk.row, StateRevision.objects.get(), Receipt.objects.get()
    ops = operations.encode_ops([("set", "/a", "no")])
    whole = b'{"a":"no"}'
    assert bytes(row.chain) == bytes(revision.chain) != chain.advance_chain(chain.GENESIS, 1, ops)
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
    position = lookup.position_of(desk.row).as_json()
    desk.put(("set", "/b", 2))
    told = lookup.sync_document(desk.session.pk, "main", position)
    assert b'"ops":[["set","/b",2]]' in orjson.dumps(told["entries"])
    assert orjson.dumps(lookup.sync_document(desk.session.pk, "main", None)["data"]) == b'{"a":1,"b":2}'
    assert [row["paths"] for row in state.history(desk.session)["results"]] == [["/b"], ["/a"]]
    state.restore(desk.session, 1)
    assert state.get(desk.session) == {"a": 1}


def test_without_its_key_a_document_takes_no_write_and_loses_none(encrypted: Any, desk: Desk) -> None:
    writer = desk.writer()
    writer.write(("set", "/a", 1))
    encrypted(NEW)
    refused = writer.write(("set", "/a", 2))
    assert isinstance(refused.error, StateUnreadable) and not refused.is_final
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
