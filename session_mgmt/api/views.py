"""What every view of this app has in common, so that nothing of the project's own REST settings changes it."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any, ClassVar, TypeVar

from django.db import transaction
from django.utils.cache import patch_vary_headers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSetMixin

from session_mgmt.actions.access import Actor
from session_mgmt.actions.sessions import lifecycle, tokens
from session_mgmt.api import errors
from session_mgmt.api.authentication import SessionTokenAuthentication, actor_of, bearer
from session_mgmt.api.description import AutoSchema
from session_mgmt.api.forms import Form
from session_mgmt.api.reading import Untouched, read_json
from session_mgmt.api.rendering import JSON, OnlyJSON
from session_mgmt.conf import settings
from session_mgmt.exceptions import AuthRequired, FrameTooLarge, InvalidToken, SessionNotFound
from session_mgmt.models import ClientSession, clock

F = TypeVar("F", bound=Form)

# REST calls come in dozens a second from one page; their activity is written this often at most.
TOUCH_EVERY = timedelta(seconds=10)


class ApiView(APIView):
    """Strict JSON in, JSON out, errors with codes, nothing cached; authentication by token or as the project has it."""

    parser_classes = [Untouched]
    renderer_classes = [JSON]
    content_negotiation_class = OnlyJSON
    permission_classes = []
    throttle_classes = []
    versioning_class = None
    metadata_class = None
    schema: Any = AutoSchema()
    anonymous: ClassVar[bool] = False

    @classmethod
    def as_view(cls, *args: Any, **kwargs: Any) -> Any:
        return _outside_transactions(super().as_view(*args, **kwargs))

    def get_authenticators(self) -> list[Any]:
        """Ours, then the project's as they are now."""
        theirs: Any = api_settings.DEFAULT_AUTHENTICATION_CLASSES
        return [SessionTokenAuthentication(), *(authentication() for authentication in theirs)]

    def get_exception_handler(self) -> Any:
        return errors.answer

    def perform_authentication(self, request: Request) -> None:
        """Find out who asks. A bearer token that nobody knows is not the same as none."""
        super().perform_authentication(request)
        if request.auth is None and not _is_known(request) and bearer(request) is not None:
            raise InvalidToken()

    def check_permissions(self, request: Request) -> None:
        """Someone must ask, and with the token of a session that is still alive."""
        if request.auth is None and not _is_known(request) and not self.is_open():
            raise AuthRequired()
        session = proven_session(request)
        if session is not None and not self.takes_ended_sessions():
            self._must_be_live(session)

    def is_open(self) -> bool:
        """Whether this call needs no credentials."""
        return self.anonymous

    def takes_ended_sessions(self) -> bool:
        """Whether the token of an ended session is good for this call."""
        return False

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        final = super().finalize_response(request, response, *args, **kwargs)
        final["Cache-Control"] = "no-store"
        final["X-Content-Type-Options"] = "nosniff"
        patch_vary_headers(final, ("Authorization", "Cookie"))
        return final

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """The methods, in the ``Allow`` header; the schema tells the rest."""
        return Response(status=204)

    # -- for the views -------------------------------------------------------------------------------------------------

    @property
    def actor(self) -> Actor:
        return actor_of(self.request)

    def form(self, kind: type[F]) -> dict[str, Any]:
        """The body's fields, checked. Raises ``InvalidField`` and the errors of JSON."""
        most = settings().max_frame_bytes
        return kind(data=read_json(self.request, most=most, too_large=FrameTooLarge)).read()

    def session(self, key: str) -> ClientSession:
        """The session of the address, if the caller may see it. Raises ``SessionNotFound``, whatever the reason."""
        wanted = session_id(key)
        proven = proven_session(self.request)
        return proven if proven is not None and proven.pk == wanted else lifecycle.get(self.actor, wanted)

    def live_session(self, key: str) -> ClientSession:
        """As ``session``. Raises ``SessionEnded`` too. A write counts as activity."""
        found = self.session(key)
        self._must_be_live(found)
        if self.request.method not in ("GET", "HEAD", "OPTIONS"):
            self._touch(found)
        return found

    def _touch(self, session: ClientSession) -> None:
        now = clock.read(settings().database)
        if now - session.activity.last_active_at >= TOUCH_EVERY:
            lifecycle.touch([session.pk], now=now)

    def _must_be_live(self, session: ClientSession) -> None:
        error = tokens.why_not_live(session, now=clock.read(settings().database))
        if error is not None:
            raise error


class ApiViewSet(ViewSetMixin, ApiView):
    """The same for views that are sets of actions."""

    @classmethod
    def as_view(cls, *args: Any, **kwargs: Any) -> Any:
        return _outside_transactions(super().as_view(*args, **kwargs))


def _outside_transactions(view: Any) -> Any:
    """Verbs have transactions of their own; inside ATOMIC_REQUESTS a write would wait for itself."""
    return transaction.non_atomic_requests(using=settings().database)(view)


def session_id(key: str) -> uuid.UUID:
    """An id from an address. What is no UUID is no session, and looks like any other unknown one."""
    try:
        return uuid.UUID(key)
    except ValueError:
        raise SessionNotFound() from None


def proven_session(request: Request) -> ClientSession | None:
    """The session whose token the request carries."""
    return getattr(request, "client_session", None)


def _is_known(request: Request) -> bool:
    return bool(request.user and request.user.is_authenticated)
