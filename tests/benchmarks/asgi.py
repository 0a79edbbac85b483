"""Application with both sides; each server process of a benchmark serves one of them."""

from __future__ import annotations

import os
from typing import Any

import orjson
from channels.auth import AuthMiddlewareStack
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.benchmarks.settings")
django_application = get_asgi_application()

# Django must be set up before an import that may touch models.
from django.urls import path  # noqa: E402

import session_mgmt.asgi  # noqa: E402
from session_mgmt.bridge import bridge  # noqa: E402
from tests.benchmarks.baseline import halls  # noqa: E402
from tests.benchmarks.baseline.consumers import InPlace, Rewritten, Room, Updates  # noqa: E402
from tests.benchmarks.baseline.members import Member, RecordedMember  # noqa: E402


async def lane(scope: Any, receive: Any, send: Any) -> None:
    """Count the batches and writes of this process's writer lane, for the mean batch size."""
    body = orjson.dumps({"batches": bridge().lane.batches, "written": bridge().lane.written})
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Serve the REST side; any other path reports the lane's figures, ``/halls/<n>`` once members can be named."""
    if scope["type"] == "http" and scope["path"].startswith("/halls/"):
        halls.declare(int(scope["path"].rpartition("/")[2]))
    answer = ours if scope["type"] != "http" or scope["path"].startswith(("/api/", "/events/")) else lane
    await answer(scope, receive, send)


ours = session_mgmt.asgi.application(
    django_application,
    [
        path("plain/updates/", Updates.as_asgi()),
        path("plain/room/", Room.as_asgi()),
        path("plain/rewritten/<int:document>/", Rewritten.as_asgi()),
        path("plain/in-place/<int:document>/", InPlace.as_asgi()),
        path("plain/members/", AuthMiddlewareStack(Member.as_asgi())),
        path("plain/recorded-members/", AuthMiddlewareStack(RecordedMember.as_asgi())),
    ],
)
