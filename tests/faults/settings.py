"""Settings of the project, with the declarations of the kill test and limits that its rate does not reach."""

from __future__ import annotations

import os
from datetime import timedelta

from project.settings import *  # noqa: F403

TRIM = int(os.environ.get("SESSION_MGMT_TEST_TRIM", "0"))
# Seconds that access tokens live, 0 for as long as anywhere (tests/faults/subject/apps.py does the rest).
TOKENS = float(os.environ.get("SESSION_MGMT_TEST_TOKENS", "0"))
# Name of a deliberate fault in the server (tests/faults/breakage.py).
BREAK = os.environ.get("SESSION_MGMT_TEST_BREAK", "")
# Whether webhooks are sent, and durable handlers write each event down (tests/faults/subject/apps.py).
HOOKS = bool(os.environ.get("SESSION_MGMT_TEST_HOOKS"))
FLUSH = float(os.environ.get("SESSION_MGMT_TEST_FLUSH", "0.5"))
INSTALLED_APPS = [*INSTALLED_APPS, "tests.faults.subject"]  # noqa: F405
ROOT_URLCONF = "tests.faults.subject.urls"
ALLOWED_HOSTS = ["*"]
if not DATABASE_URL and (LOCK := os.environ.get("SESSION_MGMT_TEST_LOCK")):  # noqa: F405
    # Seconds that SQLite waits for a lock.
    DATABASES["default"]["OPTIONS"]["timeout"] = float(LOCK)  # noqa: F405
if DATABASE_URL and (POOL := os.environ.get("SESSION_MGMT_TEST_POOL")):  # noqa: F405
    # Connections of a pool in each process, which looks at each before it gives it; seconds to wait for one.
    DATABASES["default"]["OPTIONS"]["pool"] = {"min_size": 0, "max_size": int(POOL), "timeout": 1.0}  # noqa: F405
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True  # noqa: F405
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"unexpected": {"()": "tests.faults.subject.IsUnexpected"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "filters": ["unexpected"]}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        # It logs a traceback of its own whenever Redis dies; R7 is about ours.
        "channels_redis": {"level": "CRITICAL"},
        # The security log too, so that the canary (tests/canary.py) looks at it.
        "session_mgmt": {"level": "INFO"},
    },
}
SESSION_MGMT = {
    **globals().get("SESSION_MGMT", {}),
    "ANONYMOUS_SESSIONS": True,
    "MAX_CONNECTIONS_PER_USER": 10_000,
    "MAX_FRAMES_PER_SECOND": 100_000.0,
    "MAX_ANONYMOUS_PER_ADDRESS": 10_000,
    "MAX_SOCKETS_PER_ADDRESS": 0,
    # A server lives for two seconds here: its rounds must come within them.
    "POSITION_CHECK_INTERVAL": float(os.environ.get("SESSION_MGMT_TEST_POSITIONS", "0.3")),
    "CONTROL_INTERVAL": float(os.environ.get("SESSION_MGMT_TEST_CONTROL", "0.3")),
    "DRAIN_INTERVAL": 0.3,
    "DOORBELL_DATABASE": os.environ.get("SESSION_MGMT_TEST_BELL", ""),
    "LEASE_FLUSH_INTERVAL": FLUSH,
    "LEASE_DURATION": timedelta(seconds=float(os.environ.get("SESSION_MGMT_TEST_LEASE", max(90.0, 2 * FLUSH)))),
    # With a shorter one a slow machine misses beats, and loses connections that a test counts.
    "HEARTBEAT_INTERVAL": float(os.environ.get("SESSION_MGMT_TEST_HEARTBEAT", "25.0")),
    "DRAIN_SPREAD": float(os.environ.get("SESSION_MGMT_TEST_DRAIN", "5.0")),
    # A log that reaches back over the whole run shows more; a trimmed one is what clients meet.
    "STREAM_ENTRIES": 10_000_000,
    "MAX_REVISIONS": TRIM or 10_000_000,
    "SNAPSHOT_EVERY": TRIM // 2 or 64,
    "MAX_LOG_BYTES": 10**10,
    "REPLAY_MOST": 1_000_000,
}
if os.environ.get("SESSION_MGMT_TEST_OTHER"):
    # Settings of another version, beside a server of these.
    SESSION_MGMT |= {
        "HEARTBEAT_INTERVAL": 3.0,
        "LEASE_FLUSH_INTERVAL": 0.2,
        "LEASE_DURATION": timedelta(seconds=20),
        "CONTROL_INTERVAL": 1.0,
        "POSITION_CHECK_INTERVAL": 1.0,
        "DRAIN_SPREAD": 1.0,
        "MAX_REVISIONS": 30,
        "SNAPSHOT_EVERY": 8,
        "REPLAY_MOST": 100,
        "COMPRESSION_THRESHOLD": 100,
    }
if HOOKS:
    SESSION_MGMT |= {
        "WEBHOOKS": True,
        "WEBHOOK_HTTP": True,
        "WEBHOOK_NETWORKS": ["127.0.0.0/8"],
        "WEBHOOK_TIMEOUT": 1.0,
    }
if TOKENS:
    # With next to no grace only the nonce tells a lost answer from a stolen token.
    SESSION_MGMT |= {"ACCESS_LIFETIME": timedelta(seconds=TOKENS), "REFRESH_GRACE": timedelta(milliseconds=1)}
# The demo has a function for messages too; that of the subject comes last, and is meant.
SILENCED_SYSTEM_CHECKS = ["session_mgmt.W023"]
