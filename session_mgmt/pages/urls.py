"""URLs of the pages; include them where you like: ``path("account/", include("session_mgmt.pages.urls"))``."""

from __future__ import annotations

from django.urls import path

from session_mgmt.pages.devices import DevicesView

app_name = "session_mgmt_pages"
urlpatterns = [path("devices/", DevicesView.as_view(), name="devices")]
