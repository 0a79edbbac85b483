"""Page where people see their devices, and end one or all others."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import urlsplit

from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.templatetags.static import static
from django.utils.cache import add_never_cache_headers, patch_vary_headers
from django.utils.decorators import method_decorator
from django.utils.translation import gettext, ngettext
from django.views import View
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.debug import sensitive_post_parameters

from session_mgmt.actions import access, addresses
from session_mgmt.actions.sessions import device_list, stamps
from session_mgmt.actions.sessions.device_list import Viewer
from session_mgmt.conf import settings
from session_mgmt.exceptions import ReauthRequired, SessionNotFound
from session_mgmt.models import clock

STYLE = "session_mgmt/pages.css"
OTHERS = "others"


@method_decorator([sensitive_post_parameters(), csrf_protect], name="dispatch")
class DevicesView(View):
    """List the user's devices. A POST ends the device named by ``end``, or all others, and requires a recent login."""

    template_name = "session_mgmt/devices.html"
    http_method_names = ["get", "head", "post"]

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        evidence = stamps.read_evidence(request, request.user)
        self._auth_time = evidence.auth_time
        self._viewer = Viewer(
            user_id=request.user.pk,
            user=request.user,
            stamp=evidence.stamp,
            ip=addresses.read_meta(request.META),
            tenant=evidence.tenant,
        )
        response = super().dispatch(request, *args, **kwargs)
        assert isinstance(response, HttpResponse)
        return _close_page(response)

    def get(self, request: HttpRequest) -> HttpResponse:
        return self._show(request)

    def post(self, request: HttpRequest) -> HttpResponse:
        try:
            access.require_recent_login(self._auth_time, access.SISTER_LOGIN, clock.read(settings().database))
        except ReauthRequired:
            return self._show(request, must_log_in=True, status=403)
        messages.success(request, self._end(request.POST.get("end", "")))
        return HttpResponseRedirect(request.path)

    def _end(self, wanted: str) -> str:
        if wanted == OTHERS:
            count = device_list.end_others(self._viewer)
            return ngettext("%d other device was logged out.", "%d other devices were logged out.", count) % count
        try:
            device_list.end_device(self._viewer, uuid.UUID(wanted))
        except (ValueError, SessionNotFound):
            # It has ended meanwhile, or belongs to another user: the next page shows the current list anyway.
            return gettext("This device was logged out before.")
        return gettext("The device was logged out.")

    def _show(self, request: HttpRequest, *, must_log_in: bool = False, status: int = 200) -> HttpResponse:
        found = device_list.list_devices(self._viewer)
        context = {
            "devices": found,
            "has_others": any(not device.is_current for device in found),
            "must_log_in": must_log_in,
            "login_address": redirect_to_login(request.path).url,
            "others": OTHERS,
            "style": STYLE,
        }
        return TemplateResponse(request, self.template_name, context, status=status).render()


def _close_page(response: HttpResponse) -> HttpResponse:
    """Forbid caching and framing of the page, and let it load nothing but its style."""
    host = urlsplit(static(STYLE)).netloc
    styles = f"'self' {host}".strip()
    response["Content-Security-Policy"] = (
        f"default-src 'none'; style-src {styles}; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )
    response["X-Content-Type-Options"] = "nosniff"
    response["Referrer-Policy"] = "same-origin"
    add_never_cache_headers(response)
    patch_vary_headers(response, ("Cookie",))
    return response
