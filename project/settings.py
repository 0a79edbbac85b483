"""Settings of the runnable project.

Without any environment variable the project uses SQLite in var/, an in-process channel layer and an in-memory Celery
broker, so that one command runs everything. To scale out, set in the environment:

DATABASE_URL     postgres://user:password@host:port/name
REDIS_URL        redis://host:port/0, for the channel layer and as Celery broker
SECRET_KEY       required when DEBUG is off
DEBUG            1 or 0; on by default only while neither DATABASE_URL nor REDIS_URL is set
ALLOWED_HOSTS    names separated by commas
SQLITE_PATH      another place for the embedded database
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

import session_mgmt
from project.databases import build_postgres, build_sqlite

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = BASE_DIR / "var"


def read_flag(name: str, default: bool) -> bool:
    """Read an environment variable as a boolean: 1, true, yes and on (in any case) are true."""
    value = os.environ.get(name)
    return default if value is None else value.strip().lower() in {"1", "true", "yes", "on"}


DATABASE_URL = os.environ.get("DATABASE_URL", "")
REDIS_URL = os.environ.get("REDIS_URL", "")
DEBUG = read_flag("DEBUG", default=not (DATABASE_URL or REDIS_URL))
SECRET_KEY = os.environ.get("SECRET_KEY") or (
    "only for development: set SECRET_KEY in the environment" if DEBUG else ""
)
ALLOWED_HOSTS = [host for host in os.environ.get("ALLOWED_HOSTS", "").split(",") if host]

if not SECRET_KEY:
    raise ImproperlyConfigured("SECRET_KEY must be set in the environment when DEBUG is off")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "rest_framework",
    "drf_spectacular",
    "session_mgmt",
]

if find_spec("project.demo"):
    INSTALLED_APPS.append("project.demo")

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
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

ROOT_URLCONF = "project.urls"
ASGI_APPLICATION = "project.asgi.application"

DATABASES = {
    "default": build_postgres(DATABASE_URL)
    if DATABASE_URL
    else build_sqlite(Path(os.environ.get("SQLITE_PATH", VAR_DIR / "db.sqlite3")))
}

# Pub/sub, not the list layer: the list layer drops messages silently at 100 unread ones.
CHANNEL_LAYERS: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [REDIS_URL]}}
    if REDIS_URL
    else {"BACKEND": "channels.layers.InMemoryChannelLayer"}
}

CELERY_BROKER_URL = REDIS_URL or "memory://"
CELERY_RESULT_BACKEND = REDIS_URL or "cache+memory://"
# kombu's default of a second would delay every task of the in-memory broker by as much.
CELERY_BROKER_TRANSPORT_OPTIONS = {} if REDIS_URL else {"polling_interval": 0.05}
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULE = {**session_mgmt.beat_schedule()}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]

REST_FRAMEWORK = {"DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema"}
SPECTACULAR_SETTINGS = {"TITLE": "session_mgmt", "VERSION": session_mgmt.__version__}

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True
STATIC_URL = "/static/"
STATIC_ROOT = VAR_DIR / "static"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

if not DEBUG:
    SECURE_CONTENT_TYPE_NOSNIFF = True
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if read_flag("BEHIND_PROXY", default=False) else None
    SESSION_COOKIE_SECURE = read_flag("SECURE_COOKIES", default=True)
    CSRF_COOKIE_SECURE = read_flag("SECURE_COOKIES", default=True)
