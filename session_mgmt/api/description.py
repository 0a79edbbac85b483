"""The OpenAPI side, which exists where drf-spectacular is installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from rest_framework.schemas.inspectors import ViewInspector

try:
    from drf_spectacular.generators import SchemaGenerator
    from drf_spectacular.openapi import AutoSchema as BaseSchema
    from drf_spectacular.utils import OpenApiTypes, extend_schema
except ImportError:  # pragma: no cover - the suite has it
    SchemaGenerator = None
    BaseSchema = ViewInspector

F = TypeVar("F", bound=Callable[..., Any])
URLCONF = "session_mgmt.urls"
TOKEN = "sessionToken"


class AutoSchema(BaseSchema):  # type: ignore[misc, valid-type] # one of two bases
    """Calls are named by what they do: ``session_validate``, ``document_sync``."""

    def get_operation_id(self) -> str:
        kind = type(self.view).__name__.removesuffix("ViewSet").removesuffix("View").lower()
        return f"{kind}_{getattr(self.view, 'action', None) or self.method.lower()}"

    def get_auth(self) -> list[dict[str, list[str]]]:
        """The session's token; what else the project takes is the project's to describe."""
        return [{}] if self.view.anonymous else [{TOKEN: []}]


def describe(summary: str, *, body: Any = None, status: int = 200, answer: str = "") -> Callable[[F], F]:
    """Describe one call; nothing where drf-spectacular is absent. ``answer`` tells the fields of the answer."""
    if SchemaGenerator is None:
        return lambda view: view
    kind = None if status == 204 else OpenApiTypes.OBJECT
    return extend_schema(
        summary=summary,
        description=answer,
        request={"application/json": body} if body is not None else None,
        responses={status: kind},
        tags=["session_mgmt"],
    )


def schema(server: str) -> dict[str, Any] | None:
    """The description of this app alone, with paths relative to ``server``; ``None`` without drf-spectacular."""
    if SchemaGenerator is None:
        return None
    made: dict[str, Any] = SchemaGenerator(urlconf=URLCONF).get_schema(request=None, public=True)
    made.setdefault("components", {})["securitySchemes"] = {TOKEN: {"type": "http", "scheme": "bearer"}}
    return {**made, "servers": [{"url": server}]}
