"""A host project with conventions of its own: everything here that could be in the way of a reusable app is so."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from project.databases import build_postgres

SCRATCH = Path(tempfile.mkdtemp(prefix="session-mgmt-hostile-"))
atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)

SECRET_KEY = "a key for tests only, long enough for every check: 0123456789"
DEBUG = False
ALLOWED_HOSTS = ["*"]
USE_TZ = False
TIME_ZONE = "America/New_York"
USE_I18N = True
LANGUAGE_CODE = "de"
AUTH_USER_MODEL = "accounts.Person"
ROOT_URLCONF = "tests.hostile.urls"
FORCE_SCRIPT_NAME = "/shop"
STATIC_URL = "static/"
STATIC_ROOT = SCRATCH / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"},
}
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
DATA_UPLOAD_MAX_MEMORY_SIZE = 1000

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
    "tests.hostile.accounts",
]

MIDDLEWARE = [
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


def _database(name: str) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": SCRATCH / f"{name}.sqlite3",
        "ATOMIC_REQUESTS": True,
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
        "TEST": {"NAME": SCRATCH / f"test-{name}.sqlite3"},
    }


DATABASES = {"default": _database("default"), "people": _database("people")}
if PEOPLE_URL := os.environ.get("HOSTILE_PEOPLE_URL"):
    postgres = build_postgres(PEOPLE_URL)
    DATABASES["people"] = {**postgres, "ATOMIC_REQUESTS": True, "TEST": {"NAME": "hostile_people"}}
DATABASE_ROUTERS = ["tests.hostile.routers.People"]
SESSION_MGMT = {"database": "people", "WEBSOCKET_PATH": "/live/"}

# What the project wants of its own API, and what ours must not take over.
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.SessionAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAdminUser"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.FormParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.BrowsableAPIRenderer"],
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.PageNumberPagination",
    "DEFAULT_VERSIONING_CLASS": "rest_framework.versioning.AcceptHeaderVersioning",
    "DEFAULT_THROTTLE_CLASSES": ["rest_framework.throttling.AnonRateThrottle"],
    "DEFAULT_THROTTLE_RATES": {"anon": "1/day"},
    "EXCEPTION_HANDLER": "tests.hostile.urls.no_handler",
    "PAGE_SIZE": 1,
}
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
