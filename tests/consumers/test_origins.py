"""Origins of handshakes: scheme, host and port are compared, and a refusal says what was compared."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.handlers.asgi import ASGIRequest
from django.http.cookie import parse_cookie

from session_mgmt.consumers.origins import check_origin, read_headers, read_scheme
from session_mgmt.exceptions import OriginDenied


def scope(host: str = "", origin: str = "", scheme: str = "ws", **headers: str) -> dict[str, Any]:
    given = {"host": host, "origin": origin, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return {"scheme": scheme, "headers": [(name.encode(), value.encode()) for name, value in given.items() if value]}


@pytest.mark.parametrize(
    "handshake",
    [
        scope("shop.test", "http://shop.test"),
        scope("shop.test", "https://shop.test", "wss"),
        scope("shop.test:8080", "http://shop.test:8080"),
        scope("shop.test:443", "https://shop.test", "wss"),
        scope("[::1]:8000", "http://[::1]:8000"),
        scope("[2001:DB8::1]", "https://[2001:db8::1]", "wss"),
        scope("Shop.TEST", "http://shop.test"),
        scope("xn--bcher-kva.test", "https://xn--bcher-kva.test", "wss"),
        scope("shop.test.", "http://shop.test."),
        scope("shop.test.:8080", "http://shop.test.:8080"),
        scope("shop.test"),
        scope(),
    ],
)
def test_a_page_of_the_host_itself_may_open(handshake: dict[str, Any]) -> None:
    check_origin(handshake)


@pytest.mark.parametrize(
    "handshake",
    [
        scope("shop.test", "https://shop.test"),
        scope("shop.test", "http://shop.test", "wss"),
        scope("shop.test", "http://shop.test:8080"),
        scope("shop.test", "null"),
        scope("shop.test", "http://shop.test.evil.test"),
    ],
)
@pytest.mark.requirement("ASVS 4.4.2")
def test_another_scheme_host_or_port_may_not(handshake: dict[str, Any]) -> None:
    with pytest.raises(OriginDenied):
        check_origin(handshake)


def test_the_scheme_of_a_trusted_proxy_counts(settings: Any) -> None:
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    check_origin(scope("shop.test", "https://shop.test", x_forwarded_proto="https"))
    with pytest.raises(OriginDenied):
        check_origin(scope("shop.test", "http://shop.test", x_forwarded_proto="https"))


def test_the_host_is_that_of_djangos_own_requests(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["shop.test"]
    handshake = scope("backend:8000", "http://shop.test", x_forwarded_host="shop.test")
    with pytest.raises(OriginDenied, match="backend:8000"):
        check_origin(handshake)
    settings.USE_X_FORWARDED_HOST = True
    check_origin(handshake)
    with pytest.raises(OriginDenied):
        check_origin(scope("shop.test", "http://evil.test", x_forwarded_host="evil.test"))


@pytest.mark.parametrize("origin", ["https://partner.test", "https://PARTNER.test", "https://partner.test:443"])
def test_an_allowed_origin_is_compared_as_the_own_one(origin: str, settings: Any) -> None:
    settings.SESSION_MGMT = {"allowed_origins": ["https://Partner.test"]}
    check_origin(scope("shop.test", origin))
    with pytest.raises(OriginDenied):
        check_origin(scope("shop.test", origin.replace("https", "http")))


@pytest.mark.parametrize(
    "host", ["shop.test:80:80", "user@shop.test", "shop.test/x", "sh op.test", "[::1", "shop_.test,evil"]
)
def test_a_host_that_cannot_be_is_refused_whatever_its_origin(host: str, settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["shop.test", ".localhost", "[::1]"]
    with pytest.raises(OriginDenied):
        check_origin(scope(host, f"http://{host}"))


def test_allowed_hosts_holds_for_sockets(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["shop.test", ".shop.example"]
    check_origin(scope("shop.test:8000", "http://shop.test:8000"))
    check_origin(scope("www.shop.example"))
    for host in ("rebound.test", "rebound.test:8000"):
        with pytest.raises(OriginDenied, match="ALLOWED_HOSTS"):
            check_origin(scope(host, f"http://{host}"))


@pytest.mark.parametrize(("first", "second"), [("https", "http"), ("http", "https")])
def test_of_a_header_that_comes_twice_the_first_counts_as_for_django(first: str, second: str, settings: Any) -> None:
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    headers = [(b"host", b"shop.test"), *((b"x-forwarded-proto", value.encode()) for value in (first, second))]
    handshake = {"type": "http", "method": "GET", "path": "/", "scheme": "http", "headers": headers}
    request = ASGIRequest(handshake, None)
    assert read_scheme(handshake, read_headers(handshake)) == request.scheme == first


def test_two_hosts_are_none(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["shop.test"]
    for hosts in (["evil.test", "shop.test"], ["shop.test", "evil.test"]):
        with pytest.raises(OriginDenied):
            check_origin({"scheme": "ws", "headers": [(b"host", host.encode()) for host in hosts]})


def test_cookies_in_headers_of_their_own_are_all_read() -> None:
    headers = [(b"cookie", b"a=1"), (b"cookie", b"b=2; c=3")]
    assert parse_cookie(read_headers({"headers": headers})["cookie"]) == {"a": "1", "b": "2", "c": "3"}


@pytest.mark.parametrize("name", ["host", "origin"])
@pytest.mark.requirement("ASVS 16.4.1")
def test_a_refusal_shows_no_line_break_and_no_long_text_of_the_caller(name: str, settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["shop.test"]
    given = {"host": "shop.test", "origin": "", name: "http://a\x1b[31m\x85b\nERROR forged" + "x" * 10_000}
    with pytest.raises(OriginDenied) as refused:
        check_origin(scope(**given))
    assert len(str(refused.value)) < 1000 and str(refused.value).isprintable()
    assert all(str(fact).isprintable() and len(str(fact)) < 300 for fact in refused.value.facts.values())


async def test_a_refusal_says_what_it_compared_and_how_nginx_passes_the_host(peers: Any) -> None:
    one = peers(host="shop.test", origin="http://shop.test:8080")
    await one.handshake()
    error = await one.next()
    assert (error["type"], error["name"]) == ("error", "origin_denied")
    assert (error["origin"], error["own"]) == ("http://shop.test:8080", "http://shop.test")
    assert "$http_host" in error["message"]
    assert await one.closed() == 4509
