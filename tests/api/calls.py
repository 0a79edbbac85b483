"""Calls as a client of the REST side makes them."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse
from django.test import Client

from session_mgmt.actions.sessions.lifecycle import Created
from session_mgmt.actions.state import history
from session_mgmt.actions.state.updates import Terms
from session_mgmt.models import StateDocument
from session_mgmt.writes import verbs
from tests.api.conformance import check_answer

JSON = "application/json"
ROOT = "/api/"


@dataclass(frozen=True)
class Caller:
    """One session's client: its token goes with every call. ``http`` may be logged in besides."""

    http: Client
    token: str | None = None
    session: str = ""

    def call(self, method: str, path: str, body: Any = None, *, raw: bytes | None = None, **headers: Any) -> Any:
        """``path`` below the API's root; ``{id}`` stands for the caller's session."""
        content = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        given = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        kind = given.pop("Content-Type", JSON)
        address = ROOT + path.replace("{id}", self.session)
        answer = self.http.generic(method, address, content, content_type=kind, headers=given)
        check_answer(method, address, answer)
        return answer

    def get(self, path: str, **headers: Any) -> Any:
        return self.call("GET", path, **headers)

    def post(self, path: str, body: Any = None, **more: Any) -> Any:
        return self.call("POST", path, {} if body is None and "raw" not in more else body, **more)

    def patch(self, path: str, body: Any = None, **more: Any) -> Any:
        return self.call("PATCH", path, body, **more)

    def put(self, path: str, body: Any = None, **more: Any) -> Any:
        return self.call("PUT", path, body, **more)

    def delete(self, path: str, **headers: Any) -> Any:
        return self.call("DELETE", path, **headers)


def caller(created: Created) -> Caller:
    """The client of a session that was just created."""
    return Caller(Client(), created.token.secret, str(created.session.pk))


def make_conflict(session: str) -> None:
    """Give a session a document with a checkpoint and an open conflict; much quicker than by the calls themselves."""
    pk = uuid.UUID(session)
    for change, base in (([["set", "/a", 1]], 0), ([["set", "/a", 2]], 1), ([["set", "/a", 3]], 1)):
        verbs.update_now(pk, "main", "ops", change, Terms(base=base, strategy="manual"))
    history.keep_checkpoint(StateDocument.objects.get(session=pk).pk, "kept")


def refused(response: HttpResponse, name: str, status: int) -> bool:
    """Whether the answer is this documented refusal, in JSON, and says nothing else."""
    assert response.headers["Content-Type"] == JSON, response.content[:200]
    told = json.loads(response.content)
    assert (told["name"], response.status_code) == (name, status), told
    assert {"code", "name", "temporary", "retry_after", "message"} <= told.keys()
    return True
