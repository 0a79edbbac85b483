"""Only declared proxies are believed about a caller's address, and it is stored in the form that the project chose."""

from __future__ import annotations

from typing import Any

import pytest

from session_mgmt.actions import addresses
from session_mgmt.actions.sessions import lifecycle
from session_mgmt.actions.sessions.lifecycle import Device
from session_mgmt.models import AuditEntry, ClientSession
from tests.walks.conftest import peers

__all__ = ["peers"]

PEER, PROXY, CLIENT, FORGED = "192.0.2.1", "192.0.2.2", "198.51.100.77", "203.0.113.9"


def read_both(peer: str, *headers: tuple[str, str]) -> set[str | None]:
    """Return the caller's address as both transports read it."""
    meta = {"REMOTE_ADDR": peer}
    if given := [value for name, value in headers if name == "X-Forwarded-For"]:
        meta["HTTP_X_FORWARDED_FOR"] = ",".join(given)
    raw = [(name.lower().encode(), value.encode()) for name, value in headers]
    return {addresses.read_meta(meta), addresses.read_scope({"client": (peer, 1), "headers": raw})}


@pytest.mark.parametrize(
    ("hops", "lines", "expected"),
    [
        (0, [FORGED], PEER),
        (1, [], PEER),
        (1, [f"{FORGED}, {CLIENT}"], CLIENT),
        (1, [FORGED, CLIENT], CLIENT),
        (2, [f"{FORGED}, {CLIENT}, {PROXY}"], CLIENT),
        # The request has not come by both proxies: its header is its own.
        (2, [CLIENT], PEER),
        (1, ["not an address"], None),
        (1, ["::ffff:198.51.100.77"], CLIENT),
    ],
)
@pytest.mark.requirement("ASVS 4.1.3")
def test_only_declared_hops_are_believed(hops: int, lines: list[str], expected: str | None, settings: Any) -> None:
    settings.SESSION_MGMT = {"trusted_proxies": hops}
    assert read_both(PEER, *[("X-Forwarded-For", line) for line in lines]) == {expected}


@pytest.mark.requirement("ASVS 4.1.3")
def test_a_header_with_underscores_is_another_header(settings: Any) -> None:
    settings.SESSION_MGMT = {"trusted_proxies": 1}
    given = [(b"x_forwarded_for", FORGED.encode()), (b"x-forwarded-for", CLIENT.encode())]
    assert addresses.read_scope({"client": (PEER, 1), "headers": given}) == CLIENT
    assert addresses.read_scope({"client": (PEER, 1), "headers": given[:1]}) == PEER


@pytest.mark.parametrize(
    ("form", "address", "expected"),
    [
        ("full", CLIENT, CLIENT),
        ("truncated", CLIENT, "198.51.100.0"),
        ("truncated", "2001:db8:1:2:3::4", "2001:db8:1::"),
        ("full", None, None),
    ],
)
def test_an_address_is_stored_in_the_chosen_form(
    form: str, address: str | None, expected: str | None, settings: Any
) -> None:
    settings.SESSION_MGMT = {"stored_addresses": form}
    assert addresses.veil_address(address) == expected


def test_a_hashed_address_is_a_pseudonym_under_a_key(settings: Any) -> None:
    settings.SESSION_MGMT = {"stored_addresses": "hashed"}
    first = addresses.veil_address(CLIENT)
    assert first is not None and first.startswith("fd")
    assert addresses.veil_address(f"::ffff:{CLIENT}") == first != addresses.veil_address(PEER)
    settings.SESSION_MGMT = {"stored_addresses": "hashed", "token_keys": ("another key",)}
    assert addresses.veil_address(CLIENT) != first


def test_a_secret_key_of_bytes_is_a_key_too(settings: Any) -> None:
    settings.SESSION_MGMT, text = {"stored_addresses": "hashed"}, settings.SECRET_KEY
    first = addresses.veil_address(CLIENT)
    settings.SECRET_KEY = text.encode()
    assert addresses.veil_address(CLIENT) == first


@pytest.mark.parametrize("form", ["truncated", "hashed"])
@pytest.mark.django_db(transaction=True)
def test_no_row_holds_a_whole_address(form: str, client: Any, settings: Any) -> None:
    settings.SESSION_MGMT = {"stored_addresses": form, "anonymous_sessions": True}
    made = lifecycle.create_session(device=Device(ip=CLIENT))
    answer = client.get("/api/sessions/", headers={"Authorization": "Bearer sma_" + "x" * 43}, REMOTE_ADDR=CLIENT)
    assert answer.status_code == 401
    stored = [ClientSession.objects.get(pk=made.session.pk).ip, *AuditEntry.objects.values_list("ip", flat=True)]
    assert len(stored) == 2
    assert CLIENT not in stored
