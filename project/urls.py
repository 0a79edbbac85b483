"""URLs of the runnable project: the admin, the REST API of session_mgmt and the demo page."""

from __future__ import annotations

from importlib.util import find_spec

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/", include("session_mgmt.urls")),
]

if find_spec("project.demo") and find_spec("project.demo.urls"):
    urlpatterns.append(path("", include("project.demo.urls")))
