"""Base of all views, independent of the project's own REST settings."""

from __future__ import annotations

import logging
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar, NoReturn, TypeVar

from django.db import DatabaseError, transaction
from django.utils.cache import patch_vary_headers
from django.utils.module_loading import import_string
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSetMixin

from session_mgmt.actions import access, audit, limits
from session_mgmt.actions.access import Actor
from session_mgmt.actions.sessions import incidents, lifecycle, tokens
from session_mgmt.api import errors
from session_mgmt.api.authentication import ProvenToken, find_actor, read_address, read_bearer
from session_mgmt.api.cookies import ProvenCookie, read_cookie
from session_mgmt.api.description import AutoSchema
from session_mgmt.api.endpoints import Endpoint
from session_mgmt.api.forms import Form
from session_mgmt.api.reading import Untouched, read_json
from session_mgmt.api.rendering import JSON, OnlyJSON
from session_mgmt.api.rights import Right
from session_mgmt.conf import settings
from session_mgmt.exceptions import (
    AuthRequired,
    FrameTooLarge,
    InvalidToken,
    SessionMgmtError,
    SessionNotFound,
    TooManyRequests,
)
from session_mgmt.models import ClientSession, clock
from session_mgmt.protocol import scopes

logger = logging.getLogger(__name__)

F = TypeVar("F", bound=Form)

# One page may make dozens of REST calls per second; their activity is written at most this often.
TOUCH_EVERY = timedelta(seconds=10)
# Names of the parts of an address in an audit entry.
_FACTS = {"name": "document"}


class ApiView(APIView):
    """Base view: strict JSON, documented errors, no caching, and authentication by token or by the project."""

    parser_classes = [Untouched]
    renderer_classes = [JSON]
    content_negotiation_class = OnlyJSON
    permission_classes = []
    versioning_class = None
    metadata_class = None
    schema: Any = AutoSchema()
    anonymous: ClassVar[bool] = False
    endpoint: Endpoint
    is_activity = False
    _caller: limits.Caller | None = None
    _found: ClientSession | None = None
    _foreign: ClientSession | None = None
    _right: Right | None = None

    @classmethod
    def as_view(cls, *args: Any, **kwargs: Any) -> Any:
        return _leave_transactions(super().as_view(*args, **kwargs))

    def get_authenticators(self) -> list[Any]:
        """Return this app's authentication, followed by the project's as configured now."""
        theirs: Any = api_settings.DEFAULT_AUTHENTICATION_CLASSES
        # Ours first: the project's classes might take our bearer token for one of their own, and refuse it.
        ours = [ProvenToken(), ProvenCookie()]
        return [*ours, *(authentication() for authentication in theirs)]

    def get_throttles(self) -> list[Any]:
        """Return the throttles of this app's own setting; the project's are for its own views."""
        return [import_string(name)() for name in settings().throttle_classes]

    def throttled(self, request: Request, wait: float | None) -> NoReturn:
        raise TooManyRequests(retry_after=wait)

    def handle_exception(self, exc: Exception) -> Response:
        """Charge the failure to its caller's rate limits, then return the error response."""
        # Translate first, because the cost of a failure depends on the documented error.
        error = errors.translate_error(exc)
        if self._caller is not None:
            limits.fine_caller(self._caller, error)
            self._note_refusal(self._caller, error)
        return super().handle_exception(error)

    def _note_refusal(self, caller: limits.Caller, error: SessionMgmtError) -> None:
        """Note who lacked a permission or exceeded a limit. A failure here does not change the response."""
        kind = incidents.find_kind(error)
        if kind is None or not limits.is_news(caller.address, kind):
            return
        call = f"{self.request.method} {type(self).__name__}"
        proven = proven_session(self.request)
        session = None if proven is None else proven.pk
        try:
            incidents.record_denial(error, user_id=caller.user_id, session=session, ip=caller.address, call=call)
        except DatabaseError:
            logger.warning("A refusal could not be written down", exc_info=True)

    def get_exception_handler(self) -> Any:
        return errors.handle_exception

    def perform_authentication(self, request: Request) -> None:
        """Authenticate the request. An unknown bearer token is an error, unlike a missing one."""
        token = read_bearer(request)
        # Before any query, so that a caller who exceeds the limit costs nothing more.
        self._caller = limits.Caller(read_address(request), token or read_cookie(request))
        limits.admit_caller(self._caller)
        super().perform_authentication(request)
        if _is_known(request):
            # The user is known only now; the address and the token were charged above.
            limits.admit_caller(limits.Caller(user_id=request.user.pk))
            self._caller = replace(self._caller, user_id=request.user.pk)
        # A client with a wrong token must be told so, and must not be treated as anonymous.
        if request.auth is None and not _is_known(request) and token is not None:
            raise InvalidToken()

    def check_permissions(self, request: Request) -> None:
        """Require credentials, and a live session if they are a session's token."""
        if request.auth is None and not _is_known(request) and not self.is_open():
            raise AuthRequired()
        session = proven_session(request)
        if session is None:
            return
        if not self.takes_ended_sessions():
            self._check_live(session)

    def require_scope(self, call: str) -> None:
        """Require that a session's token has the scope of this call (``protocol.scopes``). Raises ``ScopeMissing``."""
        if proven_session(self.request) is None:
            return
        match = self.request.resolver_match
        need = scopes.CALLS.get(("" if match is None else str(match.url_name), call))
        of = None if need is None or need.part is None else self.kwargs.get(need.part)
        error = scopes.explain_missing(self.actor.restriction, need, of)
        if error is not None:
            raise error

    def is_open(self) -> bool:
        """Return whether this call needs no credentials."""
        return self.anonymous

    def takes_ended_sessions(self) -> bool:
        """Return whether this call accepts the token of an ended session."""
        return False

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        final = super().finalize_response(request, response, *args, **kwargs)
        # Responses contain tokens and private data, and depend on the caller.
        final["Cache-Control"] = "no-store"
        final["X-Content-Type-Options"] = "nosniff"
        patch_vary_headers(final, ("Authorization", "Cookie"))
        return final

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """Return the allowed methods in the ``Allow`` header; the schema describes the rest."""
        return Response(status=204)

    # -- for declared calls ------------------------------------------------------------------------------------------

    def begin(self, declared: Endpoint) -> None:
        """Begin a declared call, if the caller's token has the scope for it. Raises ``ScopeMissing``."""
        self.require_scope(self.request.method or "")
        self.endpoint, self.is_activity = declared, declared.is_activity

    def finish(self, response: Response, **named: str) -> None:
        """Finish a successful call: count it as activity of the owner, or write the audit entry of another caller."""
        if self._foreign is not None:
            self._note_foreign(self._foreign, response, named)
        elif self._found is not None and self.is_activity:
            self._count_activity(self._found)

    def _count_activity(self, session: ClientSession) -> None:
        now = clock.read(settings().database)
        if now - session.activity.last_active_at >= TOUCH_EVERY:
            lifecycle.count_activity([session.pk], now=now)

    def _note_foreign(self, session: ClientSession, response: Response, named: dict[str, str]) -> None:
        """Write an audit entry: actor, action and address, never any content."""
        if self._right is None:
            return
        facts: dict[str, Any] = {_FACTS.get(name, name): value for name, value in named.items() if name != "pk"}
        if self._right.action in audit.WRITES and isinstance(response.data, dict):
            facts["version"] = response.data["position"][1]
        request = self.request
        audit.add_entry(
            self._right.action,
            user=request.user if request.user and request.user.is_authenticated else None,
            session=session.pk,
            ip=read_address(request),
            via="rest",
            **facts,
        )

    # -- for the views -------------------------------------------------------------------------------------------------

    @property
    def actor(self) -> Actor:
        return find_actor(self.request)

    def read_form(self, kind: type[F]) -> dict[str, Any]:
        """Return the validated fields of the body. Raises ``InvalidField`` and the errors of JSON."""
        most = settings().max_frame_bytes
        return kind(data=read_json(self.request, most=most, too_large=FrameTooLarge)).read_fields()

    def find_session(self, key: str) -> ClientSession:
        """Return the session of the URL if the caller may see it; otherwise raise ``SessionNotFound``, whatever the
        reason.
        """
        wanted = parse_session_id(key)
        proven = proven_session(self.request)
        if proven is not None and proven.pk == wanted:
            # The token's check has just read it; reading it again would cost every call a query.
            return proven
        right, actor = self.endpoint.right, self.actor
        or_sister = self.endpoint.is_for_sisters
        found = lifecycle.read_session(actor, wanted, right.permissions if right else (), or_sister=or_sister)
        if access.is_sister(actor, found) and not access.may_see(actor, found):
            self.require_scope("sister")
        self._foreign, self._right = found, right
        return found

    def require_right(self, session: ClientSession, right: Right) -> None:
        """Require another permission, which depends on the body. Raises ``PermissionDenied``."""
        access.require_permissions(self.actor, session, right.permissions)
        self._right = right

    def find_live_session(self, key: str) -> ClientSession:
        """Return the session of the URL, if it is alive.

        Raises ``SessionNotFound`` or ``SessionEnded``.
        """
        found = self.find_session(key)
        self._check_live(found)
        self._found = found
        return found

    def _check_live(self, session: ClientSession) -> None:
        error = tokens.explain_end(session, now=clock.read(settings().database))
        if error is not None:
            raise error


class ApiViewSet(ViewSetMixin, ApiView):
    """``ApiView`` as a view set."""

    @classmethod
    def as_view(cls, *args: Any, **kwargs: Any) -> Any:
        return _leave_transactions(super().as_view(*args, **kwargs))


def _leave_transactions(view: Any) -> Any:
    """Exempt a view from ``ATOMIC_REQUESTS``: writes have their own transactions, and inside another one a write would
    wait for itself.
    """
    return transaction.non_atomic_requests(using=settings().database)(view)


def parse_session_id(key: str) -> uuid.UUID:
    """Parse the session id of a URL. A malformed id is answered like an unknown session."""
    try:
        return uuid.UUID(key)
    except ValueError:
        raise SessionNotFound() from None


def proven_session(request: Request) -> ClientSession | None:
    """Return the session whose token the request carries."""
    return getattr(request, "client_session", None)


def _is_known(request: Request) -> bool:
    return bool(request.user and request.user.is_authenticated)
