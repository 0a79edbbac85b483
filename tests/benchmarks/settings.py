"""The project's own settings for both sides of a benchmark: durable databases, and limits that its rates do not reach."""

from __future__ import annotations

from project.settings import *  # noqa: F403

INSTALLED_APPS = [*INSTALLED_APPS, "tests.benchmarks.baseline"]  # noqa: F405
ALLOWED_HOSTS = ["*"]
ASGI_APPLICATION = "tests.benchmarks.asgi.application"
# Without it Channels would open a connection for every message of the baseline.
DATABASES["default"] |= {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": False}  # noqa: F405
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}
# The clients of a benchmark send as fast as they are answered; the default limit is 200 frames a second for each.
SESSION_MGMT = {"MAX_FRAMES_PER_SECOND": 1_000_000.0}
