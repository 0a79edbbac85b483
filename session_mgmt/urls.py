"""The REST side: ``path("api/", include("session_mgmt.urls"))``."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver

app_name = "session_mgmt"
urlpatterns: list[URLPattern | URLResolver] = []
