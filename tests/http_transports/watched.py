"""Application of the project, as ASGI and WSGI servers load it, that also tells what its process holds."""

from __future__ import annotations

from typing import Any

import orjson
from django.core.wsgi import get_wsgi_application

from project import asgi
from session_mgmt.consumers.hub import hub

PATH = "/held"
left = 0


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Serve the project, and at ``PATH`` what is held for clients."""
    if scope["type"] != "http":
        await asgi.application(scope, receive, send)
    elif scope["path"] == PATH:
        await _tell(send)
    else:
        await _count_left(scope, receive, send)


async def _count_left(scope: Any, receive: Any, send: Any) -> None:
    """Serve one request, and note whether its answer came to no end."""
    global left
    is_over = False

    async def pass_on(message: Any) -> None:
        nonlocal is_over
        await send(message)
        is_over = message["type"] == "http.response.body" and not message.get("more_body", False)

    try:
        await asgi.application(scope, receive, pass_on)
    finally:
        left += not is_over


async def _tell(send: Any) -> None:
    serving = hub().serving
    followers = sum(len(feed.live) for feed in serving.feeds.values())
    told = {"polls": hub().held, "connections": len(serving.connections), "followers": followers, "left": left}
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": orjson.dumps(told)})


wsgi_application = get_wsgi_application()
