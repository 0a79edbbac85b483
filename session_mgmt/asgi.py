"""ASGI application in one call: ``application = session_mgmt.asgi.application(get_asgi_application())``."""

from __future__ import annotations

import uuid
from typing import Any

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured

if not apps.ready:
    raise ImproperlyConfigured(
        "Django is not set up yet: call get_asgi_application() before the import of session_mgmt.asgi."
    )

from channels.routing import ProtocolTypeRouter
from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler

from session_mgmt.actions.sessions import info
from session_mgmt.api.connections import throttle_poll
from session_mgmt.checks import list_mistakes
from session_mgmt.consumers.http_application import HttpApplication
from session_mgmt.consumers.lifespan import lifespan
from session_mgmt.consumers.prefix import SocketRouter
from session_mgmt.routing import websocket_urlpatterns


def application(django_application: Any, extra_websocket_urlpatterns: list[Any] | None = None) -> ProtocolTypeRouter:
    """Return an ASGI application that serves WebSockets by the session consumer and HTTP by Django. The consumer checks
    origin and token itself. Long polls and streams are answered before they reach Django, which would hold a thread for
    each of them. All other calls of clients pass through Django's middleware.

    When the server stops, clients are told to reconnect. While ``DEBUG`` is on, static files are served too, as
    ``runserver`` does. Raises ``ImproperlyConfigured`` for mistakes that ``manage.py check`` reports as errors of this
    app.
    """
    _refuse_mistakes()
    # This imports the URL conf and REST framework now; otherwise the first client would wait 0.3 s for it.
    info.list_endpoints(uuid.uuid4())
    patterns = [*websocket_urlpatterns, *(extra_websocket_urlpatterns or [])]
    http: Any = HttpApplication(django_application, throttle_poll)
    if settings.DEBUG and apps.is_installed("django.contrib.staticfiles"):
        http = ASGIStaticFilesHandler(http)
    return ProtocolTypeRouter({"http": http, "websocket": SocketRouter(patterns), "lifespan": lifespan})


def _refuse_mistakes() -> None:
    # Only manage.py runs Django's system checks: uvicorn alone would start with a misspelt setting.
    wrong = [f"{found.msg} {found.hint or ''}".strip() for found in list_mistakes()]
    if wrong:
        raise ImproperlyConfigured(" ".join(wrong))
