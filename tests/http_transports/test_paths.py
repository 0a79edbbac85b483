"""Calls of clients are told from other requests by the URLs that count now."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import override_settings
from django.urls import include, path

from session_mgmt.consumers import http_application

pytestmark = pytest.mark.sqlite
urlpatterns = [path("other/", include("session_mgmt.urls"))]


def find_route(address: str, method: str = "POST") -> Any:
    return http_application._find_route({"path": address, "method": method})


def test_calls_are_found_by_the_urls_that_count_now() -> None:
    assert find_route("/api/connections/poll/") == find_route("/api/connections/poll/", "OPTIONS") == "connection-poll"
    assert find_route("/api/connections/frames/") == "connection-frames"
    assert find_route("/other/connections/poll/") is find_route("/other/connections/frames/") is None
    with override_settings(ROOT_URLCONF=__name__):
        assert find_route("/api/connections/poll/") is None
        assert find_route("/other/connections/poll/") == "connection-poll"


def test_addresses_of_sessions_are_not_looked_up() -> None:
    known = http_application._resolve_route.cache_info()
    assert find_route("/api/sessions/1/connections/", "GET") is find_route("/shop/", "POST") is None
    assert http_application._resolve_route.cache_info() == known
    assert find_route("/api/sessions/1/connections/") not in (http_application.POLL, *http_application.CALLS)
