"""ASGI application: Django for HTTP, session_mgmt for WebSockets."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django_application = get_asgi_application()

# Django must be set up before this import, which needs its models.
import session_mgmt.asgi  # noqa: E402

application = session_mgmt.asgi.application(django_application)
