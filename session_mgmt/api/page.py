"""Page that shows the OpenAPI document in Swagger UI, off unless ``schema_page`` is on.

Its files come from drf-spectacular-sidecar and are served by the project itself; nothing is loaded from elsewhere.
"""

from __future__ import annotations

from django.apps import apps
from django.http import HttpResponse
from django.shortcuts import render
from rest_framework.request import Request

from session_mgmt.api.views import ApiView
from session_mgmt.conf import settings
from session_mgmt.exceptions import NotFound

SIDECAR = "drf_spectacular_sidecar"
# Swagger UI uses inline styles; scripts come only from files.
_POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'self'"


class SchemaPageView(ApiView):
    """View of ``schema/page/``, where calls can be read, and tried out with a token."""

    anonymous = True
    schema = None

    def get(self, request: Request) -> HttpResponse:
        if not settings().schema_page:
            raise NotFound()
        if not apps.is_installed(SIDECAR):
            raise NotFound(f"Add {SIDECAR} to INSTALLED_APPS to have this page.")
        context = {"schema": request.path.removesuffix("page/")}
        response = render(request._request, "session_mgmt/schema.html", context)
        response["Content-Security-Policy"] = _POLICY
        return response
