"""Views for operators and tools: health, the schema, and a JSON answer for unknown addresses."""

from __future__ import annotations

from typing import Any

from django.db import DatabaseError, InterfaceError
from rest_framework.request import Request
from rest_framework.response import Response

from session_mgmt.actions import access, monitoring
from session_mgmt.api import description
from session_mgmt.api.endpoints import endpoint
from session_mgmt.api.keeping import Kept
from session_mgmt.api.views import ApiView
from session_mgmt.bridge import bridge
from session_mgmt.exceptions import NotFound
from session_mgmt.models.outages import is_unmigrated, keep_from_log

# Seconds for which an answer is cached, because anybody may ask, and an answer costs eleven queries.
HEALTH_SECONDS = 2.0


def _read_health() -> dict[str, Any]:
    try:
        return monitoring.read_health()
    # Not an error response: the state of the service is what was asked for.
    except (DatabaseError, InterfaceError) as error:
        return {"status": "unavailable", "problems": ["migrations" if is_unmigrated(error) else "database"]}


health = Kept(_read_health, HEALTH_SECONDS)


class HealthView(ApiView):
    """View of ``health/``: for load balancers without a login, with figures for those who manage sessions."""

    anonymous = True

    @endpoint(
        "Check the service",
        description="`status`, and figures with the permission to see sessions. 503 if the service is unavailable.",
        answer="Health",
    )
    def get(self, request: Request) -> Response:
        found = health.read()
        if found["status"] == "unavailable":
            response = Response(found, status=503)
            keep_from_log(response)
            return response
        found = {**found, "doorbell": bridge().describe_doorbell()}
        # Also report what only this process knows: its lane may fail while the database answers reads.
        failing = {"writes_failing": bridge().lane.is_failing, "doorbell_deaf": found["doorbell"]["deaf"]}
        if problems := [name for name, is_failing in failing.items() if is_failing]:
            found = {**found, "status": "degraded", "problems": [*found["problems"], *problems]}
        # Figures would help an attacker to measure the effect; load balancers need only the status. They count the
        # sessions of all tenants, which is nothing for the staff of one.
        actor = self.actor
        if not actor.may(access.SEE) or actor.tenant:
            found = {"status": found["status"]}
        return Response(found)


class SchemaView(ApiView):
    """View of ``schema/``: the OpenAPI document."""

    anonymous = True

    @endpoint("Read this description", answer="Description")
    def get(self, request: Request) -> Response:
        return Response(description.build_schema(request.path.removesuffix("schema/")))


class NothingView(ApiView):
    """Answer 404 in JSON."""

    anonymous = True
    schema = None

    def initial(self, request: Request, *args: object, **kwargs: object) -> None:
        raise NotFound()
