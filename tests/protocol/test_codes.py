"""Close codes: their range is the rule by which old clients understand new codes."""

from __future__ import annotations

import pytest

from session_mgmt import exceptions
from session_mgmt.protocol import codes
from session_mgmt.protocol.codes import Close, may_reconnect


@pytest.mark.requirement("RFC 6455 7.4")
def test_these_codes_ask_the_client_to_come_back() -> None:
    assert all(may_reconnect(code) for code in [*range(4000, 4500), 1001, 1006, 1011, 1012, 1013])


def test_these_codes_tell_the_client_to_stop() -> None:
    assert not any(may_reconnect(code) for code in [*range(4500, 5000), 1000, 1002, 1003, 1007, 1008, 1009])


@pytest.mark.parametrize("close", Close)
def test_each_code_of_ours_follows_the_rule_of_its_range(close: Close) -> None:
    assert close.reconnect == may_reconnect(close)


def test_what_a_client_closes_with_asks_it_to_come_back() -> None:
    assert may_reconnect(codes.CLIENT_HEARTBEAT_LOST) and may_reconnect(codes.CLIENT_OUT_OF_ORDER)


@pytest.mark.parametrize("error", exceptions.list_errors(), ids=lambda error: error.name)
def test_an_error_that_ends_a_connection_has_a_known_close_code(error: type[exceptions.SessionMgmtError]) -> None:
    assert error.close is None or error.close in set(Close)


@pytest.mark.parametrize("error", [e for e in exceptions.list_errors() if e.close], ids=lambda error: error.name)
def test_a_temporary_error_closes_with_a_code_to_come_back(error: type[exceptions.SessionMgmtError]) -> None:
    if error.temporary:
        assert may_reconnect(error.close or 0)


def test_numbers_and_names_of_errors_are_unique() -> None:
    found = exceptions.list_errors()
    assert len({error.number for error in found}) == len(found) == len({error.name for error in found})
