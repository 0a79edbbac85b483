"""OpenAPI document of the REST calls, built from the declarations of the views without any extra package.

Projects that describe their whole API with drf-spectacular get the same operations through ``AutoSchema``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any

from django.urls import URLPattern, get_resolver
from rest_framework.schemas.inspectors import ViewInspector

from session_mgmt import __version__
from session_mgmt.api.endpoints import Endpoint
from session_mgmt.api.schemas import build_components
from session_mgmt.api.shapes import Schema, refer
from session_mgmt.conf import settings
from session_mgmt.exceptions import (
    AuthRequired,
    Busy,
    FrameTooLarge,
    InternalError,
    InvalidField,
    InvalidJSON,
    InvalidToken,
    MethodNotAllowed,
    PermissionDenied,
    SessionExpired,
    SessionMgmtError,
    SessionNotFound,
    SessionTerminated,
    TokenExpired,
    TooManyRequests,
    Unavailable,
    UnsupportedMediaType,
)

BaseSchema: Any = ViewInspector
with suppress(ImportError):
    from drf_spectacular.openapi import AutoSchema as BaseSchema

URLCONF = "session_mgmt.urls"
TOKEN, COOKIE = "sessionToken", "projectLogin"
_METHODS = ("get", "post", "put", "patch", "delete")
_ALWAYS = (InvalidField, MethodNotAllowed, TooManyRequests, InternalError, Busy, Unavailable)
_WITH_CREDENTIALS = (AuthRequired, InvalidToken, TokenExpired, PermissionDenied)
_OF_A_SESSION = (SessionNotFound, SessionTerminated, SessionExpired)
_WITH_A_BODY = (InvalidJSON, FrameTooLarge, UnsupportedMediaType)
_TEXT: Schema = {"type": "string"}
_PARTS = {
    "id": ("The session.", {"type": "string", "format": "uuid"}),
    "name": ("The document.", {"type": "string", "minLength": 1, "maxLength": 100}),
    "version": ("The version.", {"type": "integer", "minimum": 0}),
    "label": ("The label of a checkpoint.", {"type": "string", "minLength": 1, "maxLength": 100}),
    "conflict": ("The id of a conflict.", {"type": "string", "format": "uuid"}),
    "topic": ("The topic.", {"type": "string", "minLength": 1, "maxLength": 255}),
}
_STREAM = 'data: {"type":"again"}\n\n'
_ETAG = r'(W/)?"[!#-\-/-~]{1,64}\.[0-9]{1,15}\.[!#-\-/-~]{0,64}"'
_HEADERS = {
    "If-Match": ("Apply only if the document has exactly this ETag.", f"^{_ETAG}$"),
    "If-None-Match": (
        "An ETag that the caller has. For a write `*`: apply only if the document was never written.",
        None,
    ),
    "Idempotency-Key": ("A repetition with this key has no effect.", r'^("[!#-\[\]-~]{1,100}"|[!#-\[\]-~]{1,100})$'),
}
_SECURITY = {
    TOKEN: {"type": "http", "scheme": "bearer", "description": "The token of a session."},
    COOKIE: {
        "type": "apiKey",
        "in": "cookie",
        "name": "sessionid",
        "description": "A login by any authentication of the project. Cookies need the CSRF header.",
    },
}


class AutoSchema(BaseSchema):
    """Schema of one view for drf-spectacular, with the operations of this app's own document."""

    def get_operation(self, path: str, *_: Any, **__: Any) -> dict[str, Any] | None:
        declared = find_endpoint(self.view, self.method.lower())
        return None if declared is None else describe_call(type(self.view), declared, path, self.method.lower())


def build_schema(server: str) -> dict[str, Any]:
    """Return the description of this app alone, with paths relative to ``server``."""
    now = settings()
    idle, absolute = now.idle_timeout.total_seconds(), now.absolute_timeout.total_seconds()
    return {**_generate_schema(idle, absolute), "servers": [{"url": server}]}


@lru_cache(maxsize=1)
def _generate_schema(idle_timeout: float, absolute_timeout: float) -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    for path, view, method, declared in _list_calls():
        paths.setdefault(path, {})[method] = describe_call(view, declared, path, method)
    components = build_components(idle_timeout=idle_timeout, absolute_timeout=absolute_timeout)
    return {
        "openapi": "3.1.0",
        "info": {"title": "session_mgmt", "version": __version__},
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": components, "securitySchemes": _SECURITY},
    }


def _list_calls() -> Iterator[tuple[str, type[Any], str, Endpoint]]:
    for pattern in get_resolver(URLCONF).url_patterns:
        view = getattr(getattr(pattern, "callback", None), "cls", None)
        if view is None or not isinstance(pattern, URLPattern):
            continue
        path = "/" + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(pattern.pattern)).replace("{pk}", "{id}")
        actions = getattr(pattern.callback, "actions", None) or {method: method for method in _METHODS}
        for method in _METHODS:
            declared = getattr(getattr(view, actions.get(method, ""), None), "endpoint", None)
            if declared is not None:
                yield path, view, method, declared


def find_endpoint(view: Any, method: str) -> Endpoint | None:
    """Return the declaration of the call that a view answers for this HTTP method."""
    action = getattr(view, "action", None) or method
    return getattr(getattr(view, action, None), "endpoint", None)


def describe_call(view: type[Any], declared: Endpoint, path: str, method: str) -> dict[str, Any]:
    """Return the operation of one call."""
    described: dict[str, Any] = {
        "operationId": _name_operation(view, declared, method),
        "summary": declared.summary,
        "tags": ["session_mgmt"],
        "security": [{}, {TOKEN: []}, {COOKIE: []}]
        if view.anonymous or declared.body == "SessionBody"
        else [{TOKEN: []}, {COOKIE: []}],
        "parameters": list(_list_parameters(declared, path)),
        "responses": dict(_list_responses(view, declared, path)),
    }
    if declared.description:
        described["description"] = declared.description
    if declared.body is not None:
        content = {"application/json": {"schema": refer(declared.body)}}
        described["requestBody"] = {"required": True, "content": content}
    return described


def _name_operation(view: type[Any], declared: Endpoint, method: str) -> str:
    """Return the name of a view and its action: ``session_validate``, ``document_sync``."""
    kind = view.__name__.removesuffix("ViewSet").removesuffix("View").lower()
    names = (name for name in dir(view) if getattr(getattr(view, name, None), "endpoint", None) is declared)
    return f"{kind}_{next(names, method)}"


def _list_parameters(declared: Endpoint, path: str) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"{(\w+)}", path):
        text, schema = _PARTS[name]
        yield {"in": "path", "name": name, "required": True, "description": text, "schema": schema}
    for parameter in declared.query:
        given = {"in": "query", "name": parameter.name, "required": parameter.required}
        yield {**given, "description": parameter.description, "schema": parameter.schema}
    for name in declared.headers:
        text, pattern = _HEADERS[name]
        if name == "If-None-Match":
            pattern = f"^{_ETAG}$" if declared.answer == "ClientState" else r"^\*$"
        schema = {**_TEXT, "pattern": pattern}
        yield {"in": "header", "name": name, "required": False, "description": text, "schema": schema}


def _list_responses(view: type[Any], declared: Endpoint, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    done: dict[str, Any] = {"description": declared.description or declared.summary}
    if declared.answer is not None:
        done["content"] = {"application/json": {"schema": refer(declared.answer)}}
    if declared.answer == "Polled":
        done["content"]["text/event-stream"] = {"schema": _TEXT, "example": _STREAM}
    if declared.has_etag:
        done["headers"] = {"ETag": {"description": "The position of the document.", "schema": _TEXT}}
    if declared.status == 201 and declared.answer in ("CreatedSession", "RecoveredSession"):
        done["headers"] = {"Location": {"description": "The address of the session.", "schema": _TEXT}}
    yield str(declared.status), done
    if declared.has_etag and declared.body is None and declared.answer == "ClientState":
        yield "304", {"description": "The caller has this version already.", "headers": done["headers"]}
    refusals: dict[int, list[str]] = {}
    for error in _list_errors(view, declared, path):
        refusals.setdefault(error.status, []).append(error.name)
    for status, names in sorted(refusals.items()):
        yield str(status), _describe_refusal(status, sorted(set(names)), declared)


def _describe_refusal(status: int, names: list[str], declared: Endpoint) -> dict[str, Any]:
    described: dict[str, Any] = {"description": ", ".join(f"`{name}`" for name in names)}
    schema = refer("Error")
    if status == 503 and declared.answer == "Health":
        schema = {"anyOf": [refer("Health"), schema]}
    described["content"] = {"application/json": {"schema": schema}}
    if status in (429, 503):
        described["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    if status == 401:
        described["headers"] = {"WWW-Authenticate": {"description": "RFC 6750.", "schema": _TEXT}}
    return described


def _list_errors(view: type[Any], declared: Endpoint, path: str) -> Iterator[type[SessionMgmtError]]:
    yield from _ALWAYS
    yield from declared.errors
    yield from _WITH_CREDENTIALS
    if "{id}" in path:
        yield from _OF_A_SESSION
    else:
        yield from (SessionTerminated, SessionExpired)
    if declared.body is not None:
        yield from _WITH_A_BODY
