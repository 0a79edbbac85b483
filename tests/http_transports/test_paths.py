"""Polls are told from other requests by the URLs that count now."""

from __future__ import annotations

from django.test import override_settings
from django.urls import include, path

from session_mgmt.consumers import http_application

urlpatterns = [path("other/", include("session_mgmt.urls"))]


def test_polls_are_found_by_the_urls_that_count_now() -> None:
    assert http_application._is_poll({"path": "/api/connections/poll/"})
    assert not http_application._is_poll({"path": "/other/connections/poll/"})
    with override_settings(ROOT_URLCONF=__name__):
        assert not http_application._is_poll({"path": "/api/connections/poll/"})
        assert http_application._is_poll({"path": "/other/connections/poll/"})
