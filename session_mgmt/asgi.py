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
from session_mgmt.checks import list_mistakes
from session_mgmt.consumers.http_application import HttpApplication
from session_mgmt.consumers.lifespan import lifespan
from session_mgmt.consumers.prefix import SocketRouter
from session_mgmt.routing import websocket_urlpatterns


def application(django_application: Any, extra_websocket_urlpatterns: list[Any] | None = None) -> ProtocolTypeRouter:
    """Route HTTP to Django and WebSockets to the session consumer, which checks origin and token itself; polls and
    streams are answered before Django, which would hold a thread for each, and the other calls of clients pass through
    its middleware on one thread.

    A stopping server tells its clients first. While ``DEBUG`` is on, static files are served too, as ``runserver``
    does. Raises ``ImproperlyConfigured`` for mistakes that ``manage.py check`` tells as errors of this app.
    """
    _refuse_mistakes()
    # Imports the URL conf, REST framework and all: 0.3 s and 19 MB that the first client would wait for.
    info.list_endpoints(uuid.uuid4())
    patterns = [*websocket_urlpatterns, *(extra_websocket_urlpatterns or [])]
    http: Any = HttpApplication(django_application)
    if settings.DEBUG and apps.is_installed("django.contrib.staticfiles"):
        http = ASGIStaticFilesHandler(http)
    return ProtocolTypeRouter({"http": http, "websocket": SocketRouter(patterns), "lifespan": lifespan})


def _refuse_mistakes() -> None:
    # Only manage.py runs Django's system checks: a server of its own would start with a misspelt name.
    wrong = [f"{found.msg} {found.hint or ''}".strip() for found in list_mistakes()]
    if wrong:
        raise ImproperlyConfigured(" ".join(wrong))
