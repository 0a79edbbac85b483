"""Conflicts of a document over HTTP: list those that the strategy ``manual`` has kept, and resolve one."""

from __future__ import annotations

import uuid

from django.urls import URLPattern, path
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from session_mgmt.actions.state import bodies, conflicts
from session_mgmt.api import rights
from session_mgmt.api.conditions import format_etag
from session_mgmt.api.endpoints import endpoint
from session_mgmt.api.forms import Anything, Form
from session_mgmt.api.refusals import DOCUMENT_ERRORS, WRITE_ERRORS
from session_mgmt.api.views import ApiViewSet
from session_mgmt.bridge import bridge
from session_mgmt.documents.values import MISSING
from session_mgmt.exceptions import DocumentNotFound, InvalidField, NotFound
from session_mgmt.writes import conflicts as deciding


class DecisionForm(Form):
    """Decision about a conflict. ``value`` is allowed only if ``keep`` is ``value``; without it, it is removed."""

    keep = serializers.ChoiceField(["server", "client", "value"])
    value = Anything(required=False)

    def validate(self, attrs: dict[str, object]) -> dict[str, object]:
        if "value" in attrs and attrs["keep"] != "value":
            raise InvalidField("value goes with keep = value only.", field="value")
        return attrs


class ConflictViewSet(ApiViewSet):
    """Views below ``sessions/{id}/state/{name}/conflicts/``."""

    @endpoint(
        "List kept conflicts",
        description="`results`: id, path, version, base?, server?, client?, …",
        right=rights.READ_CONFLICT,
        answer="ConflictList",
        errors=DOCUMENT_ERRORS,
    )
    def list(self, request: Request, pk: str, name: str) -> Response:
        found = self.find_live_session(pk)
        row = bodies.find_document(bridge().using, found.pk, name)
        # A read must not create the document; one that was never written has no conflicts.
        if row is None:
            raise DocumentNotFound()
        run = bridge().worker_for(found.pk)
        return Response({"results": conflicts.list_conflicts(row, include_resolved=True, run=run)})

    @endpoint(
        "Resolve a conflict",
        description="`position`, `unchanged`.",
        right=rights.RESOLVE_CONFLICT,
        is_activity=True,
        body="DecisionBody",
        answer="Decided",
        has_etag=True,
        errors=(*WRITE_ERRORS, NotFound),
    )
    def resolve(self, request: Request, pk: str, name: str, conflict: str) -> Response:
        found = self.find_live_session(pk)
        decision = self.read_form(DecisionForm)
        keep, value = decision["keep"], decision.get("value", MISSING)
        run = bridge().worker_for(found.pk)
        outcome = deciding.resolve(found.pk, name, _parse_id(conflict), keep, value, proof=self.actor.proof, run=run)
        position = outcome.require()
        answer = {"position": position.as_json(), "unchanged": outcome.unchanged}
        return Response(answer, headers={"ETag": format_etag(position)})


def _parse_id(given: str) -> uuid.UUID:
    try:
        return uuid.UUID(given)
    except ValueError:
        raise NotFound() from None


_AT = "sessions/<str:pk>/state/<str:name>/conflicts/"
urlpatterns: list[URLPattern] = [
    path(_AT, ConflictViewSet.as_view({"get": "list"}), name="conflict-list"),
    path(f"{_AT}<str:conflict>/resolve/", ConflictViewSet.as_view({"post": "resolve"}), name="conflict-resolve"),
]
