"""Settings of the test suite: one database per run, chosen by SESSION_MGMT_TEST_DB (sqlite or postgres)."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

DATABASE = os.environ.get("SESSION_MGMT_TEST_DB", "sqlite")
if DATABASE not in {"sqlite", "postgres"}:
    raise ValueError(f"SESSION_MGMT_TEST_DB is {DATABASE!r}; it must be sqlite or postgres")

SCRATCH = Path(tempfile.mkdtemp(prefix="session-mgmt-tests-"))
atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)

SECRET_KEY = "a key for tests only, long enough for every check: 0123456789"
DEBUG = False
ALLOWED_HOSTS = ["*"]
USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = True
ROOT_URLCONF = "tests.urls"
ASGI_APPLICATION = "project.asgi.application"
STATIC_URL = "/static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "rest_framework",
    "session_mgmt",
    "tests.shop",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

if DATABASE == "sqlite":
    # A file, not memory: lanes and the read pool are threads of their own with connections of their own.
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": SCRATCH / "db.sqlite3",
            "OPTIONS": {
                "timeout": 20,
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            },
            "TEST": {"NAME": SCRATCH / "test.sqlite3"},
        }
    }
else:
    # Host, port, user and password are filled in by the fixture that starts the server (tests/conftest.py).
    DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "postgres"}}

CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
CELERY_BROKER_URL = "memory://"
CELERY_RESULT_BACKEND = "cache+memory://"
