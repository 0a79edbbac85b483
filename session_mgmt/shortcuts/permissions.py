"""Permission classes for the project's own views of REST framework."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from session_mgmt.actions import access
from session_mgmt.api.authentication import find_actor
from session_mgmt.api.errors import refuse_in_their_form
from session_mgmt.conf import settings
from session_mgmt.exceptions import InvalidField
from session_mgmt.models import clock
from session_mgmt.protocol import scopes


class RecentAuth(BasePermission):
    """Allow only users who have logged in recently: ``permission_classes = [RecentAuth(an_hour)]``.

    Any other request gets 401 ``reauth_required``. A login at an unknown time is never recent.
    """

    # The default is needed because REST framework calls a class that is listed without parentheses.
    def __init__(self, max_age: timedelta = timedelta(0)) -> None:
        if not isinstance(max_age, timedelta) or max_age <= timedelta(0):
            raise TypeError(
                f"RecentAuth needs a timedelta above 0, as RecentAuth(timedelta(hours=1)), not {max_age!r}."
            )
        self._max_age = max_age

    def __call__(self) -> RecentAuth:
        """Return itself: REST framework calls the entries of ``permission_classes``."""
        return self

    def has_permission(self, request: Request, view: Any) -> bool:
        with refuse_in_their_form():
            now = clock.read(settings().database)
            access.require_recent_login(find_actor(request).auth_time, self._max_age, now)
        return True


class HasScope(BasePermission):
    """Require a scope of a session's token: ``permission_classes = [HasScope("app:reports")]``.

    Requests that are authenticated in another way have no scopes and pass; leave those to other permissions.
    """

    def __init__(self, scope: str = "") -> None:
        if not isinstance(scope, str) or not scope:
            raise TypeError(f"HasScope needs a scope, as HasScope('app:reports'), not {scope!r}.")
        try:
            (self._scope,) = scopes.check_scopes([scope])
        except InvalidField as error:
            raise ValueError(error.detail) from error

    def __call__(self) -> HasScope:
        """Return itself: REST framework calls the entries of ``permission_classes``."""
        return self

    def has_permission(self, request: Request, view: Any) -> bool:
        with refuse_in_their_form():
            scopes.require_covered(find_actor(request).restriction, [self._scope])
        return True
