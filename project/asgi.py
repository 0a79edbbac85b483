"""ASGI application: Django for HTTP, session_mgmt for WebSockets."""

from __future__ import annotations

import os

from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django_application = get_asgi_application()

# Django must be set up before an import that may touch models.
import session_mgmt.asgi  # noqa: E402

if settings.DEBUG:
    # Only `runserver` serves static files by itself; in a deployment the proxy does.
    django_application = ASGIStaticFilesHandler(django_application)

application = session_mgmt.asgi.application(django_application)
