"""Clients are told which documents are stored encrypted, so that they keep no copy of them in clear."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest

from session_mgmt.actions.keys import rotation
from session_mgmt.actions.state import lookup
from session_mgmt.bridge import bridge

MAIN, NOTES = "state:main", "state:notes"


@pytest.fixture
def keys() -> dict[str, Any]:
    return {"STATE_KEYS": [("2026-11", b64encode(b"k" * 32).decode())]}


async def test_every_verdict_on_an_encrypted_document_says_so(
    peers: Any, created: Any, settings: Any, keys: dict[str, Any]
) -> None:
    settings.SESSION_MGMT = {**keys, "ENCRYPT_STATE": ("notes",)}
    one = peers()
    connected = await one.open(created.token.secret, logs={MAIN: None, NOTES: None})
    assert [connected["logs"][log].get("encrypted") for log in (MAIN, NOTES)] == [None, True]
    await one.say(type="subscribe", id=1, log=NOTES, position=None)
    assert (await one.until_type("reply"))["verdict"]["encrypted"] is True


async def test_a_client_that_is_up_to_date_is_told_as_well(
    peers: Any, created: Any, settings: Any, keys: dict[str, Any]
) -> None:
    settings.SESSION_MGMT = {**keys, "ENCRYPT_STATE": True}
    one = peers()
    first = await one.open(created.token.secret, logs={MAIN: None})
    await one.drop()
    two = peers()
    position = first["logs"][MAIN]["position"]
    connected = await two.open(created.token.secret, client_id=first["client_id"], logs={MAIN: position})
    assert connected["logs"][MAIN] == {"mode": "up_to_date", "position": position, "encrypted": True}
    answer = await bridge().read(lookup.sync_document, created.session.pk, "main", position)
    assert (answer["mode"], answer["encrypted"]) == ("up_to_date", True)


async def test_a_client_that_returns_to_a_document_that_was_encrypted_meanwhile_is_told(
    peers: Any, created: Any, settings: Any, keys: dict[str, Any]
) -> None:
    one = peers()
    first = await one.open(created.token.secret, logs={MAIN: None})
    assert "encrypted" not in first["logs"][MAIN]
    await one.say(type="update", seq=1, doc="main", data={"secret": 1})
    position = (await one.receipt(1))["position"]
    await one.drop()
    settings.SESSION_MGMT = {**keys, "ENCRYPT_STATE": True}
    await bridge().read(rotation.rotate_all)
    two = peers()
    connected = await two.open(created.token.secret, client_id=first["client_id"], logs={MAIN: position})
    assert connected["logs"][MAIN]["encrypted"] is True
