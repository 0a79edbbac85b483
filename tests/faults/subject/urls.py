"""Addresses of the server under test: the project's, and a list of its rows."""

from __future__ import annotations

from django.urls import include, path

from tests.faults.subject.rows import RowList

urlpatterns = [path("rows/", RowList.as_view()), path("", include("project.urls"))]
