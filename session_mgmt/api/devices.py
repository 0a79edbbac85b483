"""Devices over HTTP: list the caller's live sessions in words that people understand, and end them."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from session_mgmt.actions import access
from session_mgmt.actions.sessions import device_list, stamps
from session_mgmt.actions.sessions.device_list import Viewer
from session_mgmt.api.authentication import read_address
from session_mgmt.api.endpoints import endpoint
from session_mgmt.api.views import ApiView, parse_session_id, proven_session
from session_mgmt.conf import settings
from session_mgmt.exceptions import ReauthRequired, SessionNotFound
from session_mgmt.models import clock


class _DevicesBase(ApiView):
    """Base of views for a user, who is authenticated by a session's token or by a login of the project."""

    def read_viewer(self, *, needs_recent_login: bool = False) -> Viewer:
        """Return the user who asks, with the session or login of the request. Raises ``ReauthRequired``."""
        request, proven = self.request, proven_session(self.request)
        user = request.user if request.user and request.user.is_authenticated else None
        evidence = stamps.read_evidence(request._request, user if proven is None else None)
        if needs_recent_login:
            at = evidence.auth_time if proven is None else proven.auth_time
            access.require_recent_login(at, access.SISTER_LOGIN, clock.read(settings().database))
        return Viewer(
            user_id=None if user is None else user.pk,
            session=None if proven is None else proven.pk,
            stamp=evidence.stamp,
            user=user,
            ip=read_address(request),
            tenant=self.actor.tenant,
            proof=self.actor.proof,
        )


class DevicesView(_DevicesBase):
    """View of ``devices/``."""

    @endpoint(
        "List the caller's devices",
        description="`results`: devices, the caller's own first, then by last use.",
        answer="DeviceList",
    )
    def get(self, request: Request) -> Response:
        found = device_list.list_devices(self.read_viewer())
        return Response({"results": [device.as_dict() for device in found]})

    @endpoint(
        "Log out all devices of the caller except this one",
        description="`ended`: the number of these devices.",
        answer="EndedDevices",
        errors=(ReauthRequired,),
    )
    def delete(self, request: Request) -> Response:
        return Response({"ended": device_list.end_others(self.read_viewer(needs_recent_login=True))})


class DeviceView(_DevicesBase):
    """View of ``devices/{id}/``."""

    @endpoint(
        "Log out a device of the caller",
        status=204,
        errors=(ReauthRequired, SessionNotFound),
    )
    def delete(self, request: Request, pk: str, **_: Any) -> Response:
        device_list.end_device(self.read_viewer(needs_recent_login=True), parse_session_id(pk))
        return Response(status=204)
