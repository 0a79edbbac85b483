"""OpenAPI description, available where drf-spectacular is installed.

Views carry their description as plain data: drf-spectacular's own decorators would use the schema class of the project.
"""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from typing import Any

from rest_framework.schemas.inspectors import ViewInspector

from session_mgmt import __version__
from session_mgmt.api.endpoints import Endpoint

SchemaGenerator: Any = None
BaseSchema: Any = ViewInspector
with suppress(ImportError):
    from drf_spectacular.generators import SchemaGenerator
    from drf_spectacular.openapi import AutoSchema as BaseSchema
    from drf_spectacular.utils import OpenApiTypes

URLCONF = "session_mgmt.urls"
TOKEN = "sessionToken"


class AutoSchema(BaseSchema):
    """Schema of one view. Operations are named after their action: ``session_validate``, ``document_sync``."""

    def get_operation_id(self) -> str:
        kind = type(self.view).__name__.removesuffix("ViewSet").removesuffix("View").lower()
        return f"{kind}_{self._find_action()}"

    def get_auth(self) -> list[dict[str, list[str]]]:
        """Return the session's token; other credentials of the project are for the project to describe."""
        return [{}] if self.view.anonymous else [{TOKEN: []}]

    def get_tags(self) -> list[str]:
        return ["session_mgmt"]

    def get_summary(self) -> str:
        return self._find_endpoint().summary

    def get_description(self) -> str:
        return self._find_endpoint().answer

    def get_request_serializer(self) -> Any:
        return self._find_endpoint().body

    def get_response_serializers(self) -> dict[int, Any]:
        declared = self._find_endpoint()
        return {declared.status: None if declared.status == 204 else OpenApiTypes.OBJECT}

    def _find_action(self) -> str:
        return getattr(self.view, "action", None) or self.method.lower()

    def _find_endpoint(self) -> Endpoint:
        found: Endpoint = getattr(self.view, self._find_action()).endpoint
        return found


def build_schema(server: str) -> dict[str, Any] | None:
    """Return the description of this app alone, with paths relative to ``server``; ``None`` without drf-spectacular."""
    return None if SchemaGenerator is None else {**_generate_schema(), "servers": [{"url": server}]}


@lru_cache(maxsize=1)
def _generate_schema() -> dict[str, Any]:
    """Generate the description once in a process: it takes a quarter of a second, and anybody may ask for it."""
    made: dict[str, Any] = SchemaGenerator(urlconf=URLCONF).get_schema(request=None, public=True)
    made.setdefault("components", {})["securitySchemes"] = {TOKEN: {"type": "http", "scheme": "bearer"}}
    return {**made, "info": {"title": "session_mgmt", "version": __version__}}
