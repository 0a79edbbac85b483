"""The proxy's reading of requests: whose they are, and what is passed on."""

from __future__ import annotations

import pytest

from project.demo import heads


def head(first: str, *fields: str) -> heads.Head:
    parsed = heads.parse_head("\r\n".join([first, *fields, "", ""]).encode())
    assert parsed is not None
    return parsed


@pytest.mark.parametrize(
    ("request_line", "referer", "client"),
    [
        ("GET /ws/session/?via=two HTTP/1.1", "", "two"),
        ("GET /client/one/ HTTP/1.1", "http://localhost/", "one"),
        ("POST /api/sessions/ HTTP/1.1", "http://localhost/client/two/", "two"),
        ("GET / HTTP/1.1", "", heads.OTHERS),
        ("GET /client/three/ HTTP/1.1", "", heads.OTHERS),
    ],
)
def test_a_request_is_of_the_client_that_its_address_or_its_page_names(
    request_line: str, referer: str, client: str
) -> None:
    assert head(request_line, f"Referer: {referer}").client == client


def test_a_request_is_passed_on_as_the_only_one_of_its_connection() -> None:
    passed = head("GET / HTTP/1.1", "Host: here", "Connection: keep-alive", "X-Forwarded-For: 9.9.9.9").build_forwarded(
        "1.2.3.4"
    )
    assert passed == b"GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\nx-forwarded-for: 1.2.3.4\r\n\r\n"


def test_a_websocket_stays_one() -> None:
    passed = head("GET /ws/ HTTP/1.1", "Upgrade: websocket", "Connection: keep-alive, Upgrade").build_forwarded(
        "1.2.3.4"
    )
    assert b"connection: Upgrade\r\n" in passed and b"upgrade: websocket\r\n" in passed


def test_another_sites_page_is_known_by_its_origin() -> None:
    assert head("POST /x HTTP/1.1", "Host: here:1", "Origin: http://evil").is_cross_site
    assert not head("POST /x HTTP/1.1", "Host: here:1", "Origin: http://here:1").is_cross_site


@pytest.mark.parametrize("raw", [b"", b"\x16\x03\x01", b"hello\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n"])
def test_what_is_no_request_is_none(raw: bytes) -> None:
    assert heads.parse_head(raw) is None
