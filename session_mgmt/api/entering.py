"""Enter over HTTP: find the session with which a page continues, and whose login the page has."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings as django_settings
from django.middleware.csrf import get_token
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings

from session_mgmt.actions.sessions import cookies, entering, info, stamps
from session_mgmt.actions.sessions.entries import CREATED, Entered, Wish
from session_mgmt.actions.sessions.stamps import Evidence
from session_mgmt.actions.sessions.tokens import COOKIE_PREFIX
from session_mgmt.api.cookies import is_from_page, read_page_cookie, require_csrf, set_cookie
from session_mgmt.api.endpoints import endpoint
from session_mgmt.api.forms import EnterForm, KeptForm, ScopedForm
from session_mgmt.api.refusals import VALUE_ERRORS
from session_mgmt.api.sessions import describe_pair, read_device, read_entering
from session_mgmt.api.views import ApiView
from session_mgmt.conf import settings
from session_mgmt.exceptions import (
    AuthRequired,
    Busy,
    LoginEnded,
    LoginMismatch,
    LoginMissing,
    ScopeMissing,
    SessionLimit,
)
from session_mgmt.protocol.events import AUTH_SUCCESS
from session_mgmt.writes import verbs


class _LoginBase(ApiView):
    """Base of views that check the project's own login. Tokens of this app come in the body, so that headers and
    cookies can prove that login.
    """

    anonymous = True

    def get_authenticators(self) -> list[Any]:
        theirs: Any = api_settings.DEFAULT_AUTHENTICATION_CLASSES
        return [authentication() for authentication in theirs]

    @property
    def user(self) -> Any:
        user = self.request.user
        return user if user and user.is_authenticated else None


class LoginView(_LoginBase):
    """View of ``login/``, for pages that only ask who is logged in, or whose CSRF cookie scripts cannot read."""

    @endpoint(
        "Read the login of the page",
        description="`user_id` or null; `csrf`, the token for `X-CSRFToken`, or null.",
        answer="PageLogin",
    )
    def get(self, request: Request) -> Response:
        # An anonymous visit must not create a Django session.
        has_token = self.user is not None or not django_settings.CSRF_USE_SESSIONS
        csrf = get_token(request._request) if has_token else None
        return Response({"user_id": None if self.user is None else str(self.user.pk), "csrf": csrf})


class EnterView(_LoginBase):
    """View of ``sessions/enter/``."""

    @endpoint(
        "Continue the stored session of a page, or begin another one",
        description="`verdict`, `reason`, `user_id`, `session`, `token_mode`, `access`, `refresh` and `expires_in`"
        " (null with a cookie, or if the client keeps its tokens), `login_due_in`, `positions`, `endpoints`,"
        " `receipt`, `documents` (with `ask`), `on_logout`.",
        body="EnterBody",
        answer="EnteredSession",
        errors=(
            AuthRequired,
            LoginEnded,
            LoginMissing,
            LoginMismatch,
            ScopeMissing,
            SessionLimit,
            Busy,
            *VALUE_ERRORS,
        ),
    )
    def post(self, request: Request) -> Response:
        by_cookie = is_from_page(request)
        if by_cookie and not stamps.is_own_proof(request.META.get("HTTP_AUTHORIZATION", "")):
            # Any other header, which a foreign page cannot send, proves equally well that the page is ours.
            require_csrf(request)
        wanted = self.read_form(EnterForm)
        evidence = read_entering(request, self.user)
        _require_expected(wanted, evidence)
        name = wanted.get("name")
        kept = KeptForm(data=wanted["kept"]).read_fields() if wanted.get("kept") is not None else {}
        cookie = read_page_cookie(request, name) if by_cookie else None
        kept_id, secret = _read_kept(kept, cookie)
        create = ScopedForm(data=wanted.get("create") or {}).read_fields()
        wish = Wish(
            nonce=wanted["nonce"],
            kept=kept_id,
            token=secret,
            by_cookie=by_cookie,
            previous=_read_id(wanted.get("previous")),
            choice=wanted.get("choice"),
            device=read_device(request, create.pop("label", "")),
            scopes=create.pop("scopes", None),
            create=create,
        )
        entered = entering.enter(wish, evidence, request=request._request)
        if entered.verdict == CREATED and evidence.user is not None:
            verbs.record(entered.session.pk, AUTH_SUCCESS, {"user_id": str(evidence.user.pk)}, key="entered")
        response = Response(_describe_entered(request, entered, evidence, by_cookie=by_cookie))
        if by_cookie and entered.pair is not None:
            until = entered.session.activity.absolute_deadline + settings().retention
            set_cookie(request, response, entered.pair, until, name)
        return response


def _require_expected(wanted: dict[str, Any], evidence: Evidence) -> None:
    """Refuse a page that was rendered for another user, before anything is decided."""
    here = None if evidence.user is None else str(evidence.user.pk)
    if "user" in wanted and wanted["user"] != here:
        raise LoginMismatch()


def _read_id(value: str | None) -> uuid.UUID | None:
    """Return the id of a session, or ``None`` for text that is no id."""
    try:
        return None if value is None else uuid.UUID(value)
    except ValueError:
        return None


def _read_kept(kept: dict[str, str], cookie: str | None) -> tuple[uuid.UUID | None, str]:
    """Return the session that a page has kept and the token that proves it. In cookie mode both are known from the
    cookie.
    """
    token = kept.get("token") or ""
    if cookie is not None:
        session = cookies.find_session(settings().database, cookie)
        if session is not None:
            return session, cookie
    # In cookie mode no script knows the secret, so a secret in the body is not accepted.
    return _read_id(kept.get("session")), "" if token.startswith(COOKIE_PREFIX) else token


def _describe_entered(request: Request, entered: Entered, evidence: Evidence, *, by_cookie: bool) -> dict[str, Any]:
    session, position = entered.session, entered.position
    user_id = None if evidence.user is None else str(evidence.user.pk)
    return {
        "verdict": entered.verdict,
        "reason": entered.reason,
        "user_id": user_id,
        "session": info.describe_session(session, "disconnected"),
        "token_mode": "cookie" if by_cookie else "bearer",
        **describe_pair(None if by_cookie else entered.pair),
        "login_due_in": entered.login_due_in,
        "positions": {} if position is None else {"session": position.as_json()},
        "endpoints": info.list_endpoints(session.pk, request.META.get("SCRIPT_NAME", "")),
        "receipt": entered.receipt,
        "documents": entered.documents,
        "on_logout": settings().on_logout,
    }
