"""The host project's addresses, and views of its own inside ``ATOMIC_REQUESTS``."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, JsonResponse
from django.urls import include, path

from session_mgmt.shortcuts import publish, state


def order(request: HttpRequest, session: Any) -> JsonResponse:
    """Writes inside the request's own transaction, and may still fail."""
    state.update(session, {"ordered": True})
    publish("orders:1", {"status": "paid"})
    if "fail" in request.GET:
        raise ValueError("after all")
    return JsonResponse({"ok": True})


def no_handler(error: Exception, context: Any) -> None:
    raise AssertionError("The project's exception handler is not ours to call.") from error


urlpatterns = [
    path("admin/", admin.site.urls),
    path("order/<uuid:session>/", order),
    path("de/api/v7/", include("session_mgmt.urls")),
]
