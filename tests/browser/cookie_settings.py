"""Settings of a server whose pages prove their sessions by a cookie, with a login that is due after seconds."""

from __future__ import annotations

from datetime import timedelta

from project.settings import *  # noqa: F403 - settings are made to be taken over whole

ALLOWED_HOSTS = ["*"]
SESSION_MGMT = {
    "anonymous_sessions": True,
    "token_mode": "cookie",
    "login_check_interval": timedelta(seconds=8),
}
