"""Settings of an API for pages of another origin, given in the environment; its Django compresses what it answers."""

from __future__ import annotations

import os
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from project.settings import *  # noqa: F403 - settings are made to be taken over whole
from project.settings import MIDDLEWARE as PROJECTS

HEADERS = {
    "Access-Control-Allow-Headers": "Authorization, Content-Type, If-Match",
    "Access-Control-Allow-Methods": "DELETE, GET, PATCH, POST, PUT",
    "Access-Control-Expose-Headers": "ETag, Retry-After, X-Session-Mgmt",
}


def let_pages_call(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Answer as a CORS package that lets every origin call."""

    def answer(request: HttpRequest) -> HttpResponse:
        response = HttpResponse() if request.method == "OPTIONS" else get_response(request)
        for name, value in {**HEADERS, "Access-Control-Allow-Origin": request.headers.get("Origin", "")}.items():
            response.headers.setdefault(name, value)
        return response

    return answer


MIDDLEWARE = ["django.middleware.gzip.GZipMiddleware", f"{__name__}.let_pages_call", *PROJECTS]
SESSION_MGMT = {"anonymous_sessions": True, "allowed_origins": (os.environ["PAGES_ORIGIN"],)}
