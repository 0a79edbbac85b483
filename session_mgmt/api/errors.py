"""Translate exceptions into responses: errors of this app keep their code, others get the nearest one."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.exceptions import BadRequest, SuspiciousOperation
from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.db import DatabaseError
from django.http import Http404
from rest_framework import exceptions as drf
from rest_framework.response import Response

from session_mgmt.actions.sessions import incidents
from session_mgmt.exceptions import (
    AuthRequired,
    HandlerFailed,
    InternalError,
    InvalidField,
    InvalidJSON,
    InvalidToken,
    MethodNotAllowed,
    NotFound,
    PermissionDenied,
    SessionMgmtError,
    StateUnreadable,
    TokenExpired,
    TooManyRequests,
    Unavailable,
    UnsupportedMediaType,
)
from session_mgmt.models import ClientSession
from session_mgmt.models.outages import OutageLog, explain_outage, is_outage, is_unmigrated, keep_from_log
from session_mgmt.user_code import telling_outages

logger = logging.getLogger(__name__)
outages = OutageLog(logger, "The database did not answer")

_NEAREST: tuple[tuple[type[Exception], type[SessionMgmtError]], ...] = (
    (drf.NotAuthenticated, AuthRequired),
    (drf.AuthenticationFailed, InvalidToken),
    (drf.PermissionDenied, PermissionDenied),
    (DjangoPermissionDenied, PermissionDenied),
    (drf.NotFound, NotFound),
    (Http404, NotFound),
    (drf.MethodNotAllowed, MethodNotAllowed),
    (drf.UnsupportedMediaType, UnsupportedMediaType),
    (drf.Throttled, TooManyRequests),
    (drf.ValidationError, InvalidField),
    (drf.ParseError, InvalidJSON),
    (BadRequest, InvalidJSON),
    (SuspiciousOperation, InvalidJSON),
)
# Faults that are recorded in the session's log, for the people who look into a session.
_FAULTS = (InternalError, StateUnreadable, HandlerFailed)


def handle_exception(error: Exception, context: dict[str, Any]) -> Response:
    """Turn an exception into a response. It never returns ``None``, so Django's HTML error page is never shown."""
    ours = translate_error(error)
    if isinstance(ours, _FAULTS):
        _record_fault(ours, getattr(context.get("request"), "client_session", None))
    response = Response(ours.as_dict(), status=ours.status)
    # The error may name no time, and HTTP clients have no back-off of their own, so a default is added.
    wait = 1 if ours.retry_after is None and isinstance(ours, Unavailable) else ours.retry_after
    if wait is not None:
        # Whole seconds (RFC 9110 section 10.2.3), rounded up, so that no client retries too early.
        response["Retry-After"] = str(math.ceil(wait))
    if ours.status == 503:
        keep_from_log(response)
    if ours.status == 401:
        response["WWW-Authenticate"] = _make_challenge(ours)
    return response


def _make_challenge(error: SessionMgmtError) -> str:
    # RFC 6750 3.1: without credentials, the challenge names the scheme and nothing more.
    return 'Bearer error="invalid_token"' if isinstance(error, InvalidToken | TokenExpired) else "Bearer"


def _record_fault(error: SessionMgmtError, session: ClientSession | None) -> None:
    """Record a fault in the session's log. The response is sent even if that fails."""
    if session is None:
        return
    try:
        incidents.record_failure(session.pk, error)
    except DatabaseError:
        logger.warning("A fault could not be recorded", exc_info=True)


def translate_error(error: Exception) -> SessionMgmtError:
    """Return the documented error for any exception."""
    if isinstance(error, SessionMgmtError):
        return error
    # The database is away, or the lane did not answer in time; all that is known is that a later try may succeed.
    if is_outage(error) or isinstance(error, TimeoutError) or is_unmigrated(error):
        outages.tell(error)
        return explain_outage(error)
    for theirs, ours in _NEAREST:
        if isinstance(error, theirs):
            return ours()
    # The traceback goes only to the log, and nothing of it to the caller (promises R6 and R7).
    logger.error("A view failed", exc_info=error)
    return InternalError()


class Refusal(drf.APIException):
    """Refusal of this app as an exception of REST framework, which keeps its code and its status."""

    def __init__(self, error: SessionMgmtError) -> None:
        super().__init__(error.detail)
        self.status_code = error.status
        self.detail = error.as_dict()
        if error.retry_after is not None:
            # REST framework copies this into the ``Retry-After`` header.
            self.wait = math.ceil(error.retry_after)
        if error.status == 401:
            self.auth_header = _make_challenge(error)


@contextmanager
def refuse_in_their_form() -> Iterator[None]:
    """Raise refusals of the block, and an outage of the database, as exceptions of REST framework."""
    try:
        # A wrong statement of the project is a fault and no outage.
        with telling_outages():
            yield
    except SessionMgmtError as error:
        if error.__cause__ is not None and isinstance(error, Unavailable):
            outages.tell(error.__cause__)
        raise Refusal(error) from error
