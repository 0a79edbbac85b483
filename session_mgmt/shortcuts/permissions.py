"""Permissions for the project's own views of REST framework, beside those that it has."""

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
    """Permission for those who have logged in a short while ago: ``permission_classes = [RecentAuth(an_hour)]``.

    Any other request is answered with 401 ``reauth_required``; a login of which the time is unknown is never recent.
    """

    # The initial value is for REST framework, which calls a class that was named without parentheses.
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
    """Permission that a session's token must have: ``permission_classes = [HasScope("app:reports")]``.

    Requests with another login than a session's token have no scopes and pass; other permissions judge those.
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
