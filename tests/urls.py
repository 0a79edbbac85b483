"""URLs of the test suite: the app and the admin, as a host project mounts them."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("account/", include("session_mgmt.pages.urls")),
    path("api/", include("session_mgmt.urls")),
]
