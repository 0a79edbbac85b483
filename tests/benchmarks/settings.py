"""Project settings for both sides: durable databases, and limits that the rates do not reach."""

from __future__ import annotations

import os

from project.settings import *  # noqa: F403

INSTALLED_APPS = [*INSTALLED_APPS, "tests.benchmarks.baseline"]  # noqa: F405
ALLOWED_HOSTS = ["*"]
ASGI_APPLICATION = "tests.benchmarks.asgi.application"
# Django's default is a connection for every message of a plain consumer; session_mgmt holds its own either way. Kept
# open without a pool, connections would leak under ASGI: a deployment must not do that, and so no benchmark does.
if os.environ.get("BENCHMARK_PERSISTENT"):
    if os.environ.get("DATABASE_URL"):
        DATABASES["default"]["OPTIONS"]["pool"] = {"min_size": 4, "max_size": 40}  # noqa: F405
    else:
        DATABASES["default"]["CONN_MAX_AGE"] = None  # noqa: F405
if os.environ.get("BENCHMARK_KEEP_WAL") and not os.environ.get("DATABASE_URL"):
    # Then the file of the write-ahead log only grows, and its size tells what was written.
    DATABASES["default"]["OPTIONS"]["init_command"] += "PRAGMA wal_autocheckpoint=0;"  # noqa: F405
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}
if os.environ.get("BENCHMARK_EVENTSTREAM"):
    INSTALLED_APPS.append("django_eventstream")
    ROOT_URLCONF = "tests.benchmarks.baseline.events"
    EVENTSTREAM_STORAGE_CLASS = "django_eventstream.storage.DjangoModelStorage"
# The clients of a benchmark send as fast as they are answered; the default limit is 200 frames a second for each.
# All of them have one address.
SESSION_MGMT = {
    "MAX_FRAMES_PER_SECOND": 1_000_000.0,
    "MAX_SOCKETS_PER_ADDRESS": 0,
    "MAX_REQUESTS_PER_SECOND": 0.0,
    "MAX_CONNECTIONS_PER_SESSION": 1_000_000,
}
SESSION_MGMT["DOORBELL_DATABASE"] = os.environ.get("BENCHMARK_DOORBELL", "")
if os.environ.get("BENCHMARK_SHIPPED_LIMITS"):
    # All clients of this machine have one address, and would be refused before they could do harm.
    SESSION_MGMT = {"MAX_REQUESTS_PER_SECOND": 1_000_000.0}
if os.environ.get("BENCHMARK_NO_SNAPSHOTS"):
    SESSION_MGMT["SNAPSHOT_EVERY"] = 10**9
