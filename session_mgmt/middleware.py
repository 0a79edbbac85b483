"""Middleware for projects that want an ended device to be logged out of the whole site."""

from __future__ import annotations

from typing import Any

from django.conf import settings as django_settings
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import AnonymousUser
from django.utils.deprecation import MiddlewareMixin

from session_mgmt.actions.sessions import logins


class EndedLoginMiddleware(MiddlewareMixin):
    """Flush the Django session of a login that was ended: by the user on another device, by an administrator, or by
    ``end_user_sessions``. Place it after ``AuthenticationMiddleware``. It costs one indexed query for each request of a
    user who is logged in.
    """

    def process_request(self, request: Any) -> None:
        """Make the request anonymous if its login has ended."""
        # A visitor without a cookie must cost no query, and caches must be able to share the page.
        if django_settings.SESSION_COOKIE_NAME not in request.COOKIES or SESSION_KEY not in request.session:
            return
        if logins.has_ended(request):
            request.session.flush()
            request.user = AnonymousUser()
