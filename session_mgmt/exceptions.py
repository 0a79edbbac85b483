"""Errors of the app, each with its documented code.

    SessionMgmtError
    ├── RequestError            the request breaks a rule; repeating it unchanged cannot help
    │   ├── DocumentRefused     … a rule of documents (limits, patches)
    │   └── StateError          … it does not fit the stored data
    ├── AuthError               unknown or without permission
    ├── SessionEnded            terminated or expired; final
    └── TemporaryError          undecided; the same request may be sent again

A class is one row of the table in ``docs/reference/errors.md``: ``number`` and ``name`` are stable, ``status`` is the
HTTP status and ``close`` the WebSocket close code where the error ends a connection. Facts are attributes; the
sentence never holds a secret or content.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final


class SessionMgmtError(Exception):
    """Base class; ``facts`` are sent in the error frame beside the fixed fields.

    The fact ``path`` is the place in what the client sent. ``detail`` does not have it: it reaches logs, and names of
    keys can be people's data.
    """

    number: ClassVar[int] = 0
    name: ClassVar[str] = "error"
    status: ClassVar[int] = 400
    close: ClassVar[int | None] = None
    temporary: ClassVar[bool] = False
    message: ClassVar[str] = "The request failed."

    def __init__(self, detail: str | None = None, *, retry_after: float | None = None, **facts: Any) -> None:
        self.detail = detail or self.message
        self.retry_after = retry_after
        self.facts = facts
        super().__init__(self.detail)

    def as_dict(self) -> dict[str, Any]:
        """Return ``{"code": 240, "name": "conflict", "temporary": false, "retry_after": null, "message": "…", …}``."""
        return {
            "code": self.number,
            "name": self.name,
            "temporary": self.temporary,
            "retry_after": self.retry_after,
            "message": self.detail,
            **self.facts,
        }


class RequestError(SessionMgmtError):
    """Request that is wrong in itself."""


class InvalidFrame(RequestError):
    number, name, close = 100, "invalid_frame", 4500
    message = "The frame breaks the protocol."


class InvalidJSON(RequestError):
    number, name = 101, "invalid_json"
    message = "The body is not JSON that this server accepts."


class UnknownFrame(RequestError):
    number, name = 102, "unknown_frame"
    message = "There is no frame of this type."


class InvalidField(RequestError):
    number, name = 103, "invalid_field"
    message = "A field is missing or has the wrong type."

    def __init__(self, detail: str | None = None, *, field: str | None = None, **facts: Any) -> None:
        if field is not None:
            facts["field"] = field
            detail = detail or f"The field {field} is missing or has the wrong type."
        super().__init__(detail, **facts)


class FrameTooLarge(RequestError):
    number, name, status = 104, "frame_too_large", 413
    message = "The message is larger than the limit."


class UnsupportedMediaType(RequestError):
    number, name, status = 105, "unsupported_media_type", 415
    message = "Send JSON in UTF-8, without content encoding."


class NotFound(RequestError):
    number, name, status = 106, "not_found", 404
    message = "There is nothing here."


class MethodNotAllowed(RequestError):
    number, name, status = 107, "method_not_allowed", 405
    message = "The method is not allowed here."


class PublicationTooLarge(RequestError):
    number, name, status = 108, "publication_too_large", 413
    message = "The publication or message is larger than the limit."


class TransportUnavailable(RequestError):
    number, name, status = 109, "transport_unavailable", 406
    message = "This server can hold no stream here; use long poll."


class DocumentRefused(RequestError):
    """Request that breaks a rule of documents."""


class InvalidPatch(DocumentRefused):
    number, name = 120, "invalid_patch"
    message = "The operations are not well formed."


class PatchFailed(DocumentRefused):
    number, name, status = 121, "patch_failed", 409
    message = "The patch does not apply to the document."


class DocumentTooLarge(DocumentRefused):
    number, name, status = 122, "document_too_large", 413
    message = "The document would be larger than the limit."


class TooDeep(DocumentRefused):
    number, name = 123, "too_deep"
    message = "The JSON is nested deeper than the limit."


class TooManyKeys(DocumentRefused):
    number, name = 124, "too_many_keys"
    message = "The JSON has more keys than the limit."


class KeyTooLong(DocumentRefused):
    number, name = 125, "key_too_long"
    message = "A key is longer than the limit."


class StringTooLong(DocumentRefused):
    number, name = 126, "string_too_long"
    message = "A string is longer than the limit."


class TooManyOps(DocumentRefused):
    number, name = 127, "too_many_ops"
    message = "One update has more operations than the limit."


class NumberOutOfRange(DocumentRefused):
    number, name = 128, "number_out_of_range"
    message = "A number is not finite or an integer beyond 2^53-1."


class ForbiddenKey(DocumentRefused):
    number, name = 129, "forbidden_key"
    message = "This key is not allowed."


class InvalidPath(DocumentRefused):
    number, name = 130, "invalid_path"
    message = "A path is not an RFC 6901 pointer."


class TooHeavy(DocumentRefused):
    number, name = 131, "too_heavy"
    message = "The work on the document takes longer than the limit."


class AuthError(SessionMgmtError):
    """Caller unknown or without permission."""

    status = 401


class InvalidToken(AuthError):
    number, name, close = 200, "invalid_token", 4501
    message = "The token is unknown, revoked, or of another kind."


class TokenExpired(AuthError):
    number, name, close = 201, "token_expired", 4001
    message = "The token has expired."


class PermissionDenied(AuthError):
    number, name, status = 202, "permission_denied", 403
    message = "This is not allowed."


class AuthRequired(AuthError):
    number, name = 203, "auth_required"
    message = "Log in. Visitors need the setting anonymous_sessions."


class OriginDenied(AuthError):
    number, name, status, close = 204, "origin_denied", 403, 4509
    message = "The page's origin is not allowed."


class LoginCheck(AuthError):
    """Refusal until a call with the page's cookies has proved the page's login again."""

    number, name, close = 205, "login_check", 4006
    message = "The login of this session must be proved again."


class LoginEnded(AuthError):
    number, name = 206, "login_ended"
    message = "This login has ended. Log in again."


class ReauthRequired(AuthError):
    """Refusal of an action that needs a recent login; the caller stays logged in."""

    number, name = 209, "reauth_required"
    message = "This needs a recent login. Log in again."


class ScopeMissing(AuthError):
    """Refusal of an action that the token's scopes do not cover; ``scope`` names the missing one."""

    number, name, status = 215, "scope_missing", 403
    message = "The token lacks a scope."


class LoginMismatch(RequestError):
    number, name, status = 208, "login_mismatch", 409
    message = "The page expects another user than is logged in."


class SessionNotFound(RequestError):
    """Unknown session, or one of another user: the two must look alike."""

    number, name, status = 210, "session_not_found", 404
    message = "There is no such session."


class SessionEnded(SessionMgmtError):
    """Session that has ended for good; no request with it can succeed."""

    status = 410


class SessionTerminated(SessionEnded):
    number, name, close = 211, "session_terminated", 4503
    message = "The session was ended."


class SessionExpired(SessionEnded):
    number, name, close = 212, "session_expired", 4504
    message = "The session has expired."


class SessionLimit(RequestError):
    number, name, status = 213, "session_limit", 409
    message = "The user has as many sessions as allowed."


class NotRecoverable(SessionEnded):
    number, name = 214, "not_recoverable"
    message = "This session has no successor."


class StateError(RequestError):
    """Request that does not fit the stored data."""

    status = 409


class ClientForgotten(StateError):
    number, name, close = 220, "client_forgotten", 4508
    message = "The server does not know this client."


class Replaced(StateError):
    number, name, close = 221, "replaced", 4507
    message = "A newer connection of this client took over."


class HeartbeatLost(StateError):
    number, name, close = 222, "heartbeat_lost", 4002
    message = "Nothing came from this connection for too long."


class Detached(StateError):
    number, name, close = 223, "detached", 4005
    message = "This connection was closed. Attach again."


class Disconnected(StateError):
    number, name, close = 224, "disconnected", 1000
    message = "This connection was closed for good."


class SeqReused(StateError):
    number, name, status = 231, "seq_reused", 422
    message = "This number was used for another write."


class ReceiptGone(StateError):
    number, name, status = 232, "receipt_gone", 410
    message = "This write was decided before, and its receipt was confirmed."


class KeyReused(StateError):
    number, name, status = 233, "key_reused", 422
    message = "This key was used for another change."


class Conflict(StateError):
    number, name = 240, "conflict"
    message = "The document has changed at the same place."


class DocumentNotFound(RequestError):
    number, name, status = 244, "document_not_found", 404
    message = "There is no such document."


class DocumentLimit(StateError):
    number, name = 245, "document_limit"
    message = "The session has as many documents as allowed."


class PreconditionFailed(StateError):
    number, name, status = 247, "precondition_failed", 412
    message = "The document is not at the required version."


class TopicDenied(RequestError):
    """Unknown topic, or one that may not be read: the two must look alike."""

    number, name, status = 250, "topic_denied", 403
    message = "There is no such topic, or it may not be read."


class SubscriptionLimit(StateError):
    number, name = 251, "subscription_limit"
    message = "The session follows as many topics as allowed."


class UnknownPosition(StateError):
    number, name = 255, "unknown_position"
    message = "This log has no such place. Begin at its newest entry."


class CursorInvalid(RequestError):
    number, name = 256, "cursor_invalid"
    message = "This cursor is not from this server."


class CursorForeign(RequestError):
    number, name, status = 257, "cursor_foreign", 403
    message = "The cursor belongs to another session or to another list."


class CursorExpired(RequestError):
    """Cursor that is too old, or that belongs to another ordering or other filters; start again with the first page."""

    number, name, status = 258, "cursor_expired", 410
    message = "The cursor is too old or for another order. Begin again."


class PublishDenied(RequestError):
    number, name, status = 252, "publish_denied", 403
    message = "There is no such topic, or you may not publish to it."


class NoHandler(RequestError):
    number, name, status = 253, "no_handler", 404
    message = "The application handles no messages."


class HandlerFailed(RequestError):
    number, name, status = 254, "handler_failed", 500
    message = "The application's handler failed, and nothing was stored."


class TemporaryError(SessionMgmtError):
    """Undecided request; the same request may be sent again."""

    status, temporary = 503, True


class LoginMissing(TemporaryError):
    """Request of a user's session without a login. Temporary, because another response may be changing the cookie at
    this moment.
    """

    number, name, status = 207, "login_missing", 409
    message = "The page has no login. Ask again in three seconds."


class SeqGap(TemporaryError):
    """Write whose number is not the next one; ``expected`` is the number that the server expects."""

    number, name, status = 230, "seq_gap", 409
    message = "An earlier write has not arrived."


class EpochChanged(TemporaryError):
    number, name, status = 241, "epoch_changed", 409
    message = "The document has another epoch now."


class UnknownVersion(TemporaryError):
    number, name, status = 242, "unknown_version", 409
    message = "The server does not have this version."


class StateUnreadable(TemporaryError):
    """Unreadable document. It fails closed, because clients would take an empty document for the truth.

    It is temporary, so that no client gives up a write while a key is missing.
    """

    number, name = 246, "state_unreadable"
    message = "The stored document cannot be read."


class TooOld(TemporaryError):
    number, name, status = 243, "too_old", 409
    message = "The base is older than the document's log."


class Busy(TemporaryError):
    number, name = 300, "busy"
    message = "The server has too much to do."


class TooManyRequests(TemporaryError):
    number, name, status, close = 301, "too_many_requests", 429, 4029
    message = "Too many requests."


class ConnectionLimit(TemporaryError):
    number, name, status, close = 302, "connection_limit", 429, 4030
    message = "The user has as many connections as allowed."


class InternalError(SessionMgmtError):
    """Fault of the server; the details are only in the server's log."""

    number, name, status, close = 303, "internal_error", 500, 1011
    message = "The server failed."


class Draining(TemporaryError):
    number, name, close = 305, "draining", 4000
    message = "The server restarts; come back after some seconds."


class Unavailable(TemporaryError):
    number, name, close = 304, "unavailable", 4013
    message = "The database cannot be reached."


def list_errors(root: type[SessionMgmtError] = SessionMgmtError) -> list[type[SessionMgmtError]]:
    """Return every class that has a code, ordered by number."""
    found: list[type[SessionMgmtError]] = []
    for child in root.__subclasses__():
        found += [child] if "number" in child.__dict__ else []
        found += list_errors(child)
    return sorted(found, key=lambda error: error.number)


ERRORS_BY_NAME: Final = {error.name: error for error in list_errors()}
