"""Packages that the app can do without: what needs one says so where it is set, with the command that installs it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.docs.pages import ROOT

OPTIONAL = (
    *("redis", "channels_redis", "msgpack", "psycopg", "psycopg2", "celery", "kombu", "ua_parser", "zstandard"),
    *("cryptography", "drf_spectacular", "httpx", "websockets", "daphne", "autobahn", "uvicorn", "httptools", "uvloop"),
)
# A project of its own, in which none of them is to be found.
PROJECT = """
import json, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
from django.conf import settings
settings.configure(**{{
    "SECRET_KEY": "only for a test, and long enough for everything that wants a key of fifty characters",
    "DATABASES": {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}}},
    "INSTALLED_APPS": ["django.contrib.auth", "django.contrib.contenttypes", "rest_framework", "session_mgmt"],
    "ROOT_URLCONF": "shop_urls",
    "ALLOWED_HOSTS": ["testserver"],
    **{changed!r},
}})
import django, types
django.setup()
from django.urls import include, path
sys.modules["shop_urls"] = types.ModuleType("shop_urls")
sys.modules["shop_urls"].urlpatterns = [path("", include("session_mgmt.urls"))]
"""
CHECK = """
from django.core.checks import run_checks
print(json.dumps([[found.id, f"{found.msg} {found.hint}"] for found in run_checks() if found.level >= 30]))
"""
USE = """
from django.core.asgi import get_asgi_application
from django.core.management import call_command
from django.test import Client
from session_mgmt import tasks
from session_mgmt.asgi import application
from session_mgmt.testing import inline_bridge
call_command("migrate", verbosity=0)
application(get_asgi_application())
with inline_bridge():
    made = Client().post("/sessions/", {}, content_type="application/json")
    place = f"/sessions/{made.json()['session']['session_id']}/state/main/"
    proof = {"HTTP_AUTHORIZATION": f"Bearer {made.json()['token']}"}
    body = {"ops": [["set", "/a", "x" * 50_000]]}
    written = Client().patch(place, body, content_type="application/json", **proof)
    read = Client().get(place, **proof)
    schema = Client().get("/schema/", **proof)
    tasks.cleanup_sessions()
print(json.dumps([made.status_code, written.status_code, read.status_code, schema.status_code]))
"""
KEY = ("k1", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
PUBSUB = {"default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer"}}


def run(code: str, **changed: object) -> subprocess.CompletedProcess[str]:
    program = PROJECT.format(absent=OPTIONAL, changed=changed) + code
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.mark.sqlite
def test_the_app_works_without_any_of_them() -> None:
    done = run(USE, SESSION_MGMT={"anonymous_sessions": True})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [201, 200, 200, 200]


@pytest.mark.sqlite
def test_what_needs_one_of_them_is_told_by_the_checks_with_the_command_that_installs_it() -> None:
    done = run(CHECK, SESSION_MGMT={"state_keys": (KEY,), "encrypt_state": True}, CHANNEL_LAYERS=PUBSUB)
    assert done.returncode == 0, done.stderr
    told = dict(json.loads(done.stdout))
    assert 'pip install "session_mgmt[redis]"' in told["session_mgmt.E036"]
    assert 'session_mgmt[crypto]"' in told["session_mgmt.E010"]


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("import session_mgmt.client", 'pip install "session_mgmt[client]"'),
        ("from django.core.management import call_command; call_command('serve')", "pip install"),
    ],
)
def test_what_is_imported_or_run_without_its_package_names_the_remedy(code: str, remedy: str) -> None:
    done = run(code)
    assert done.returncode != 0
    assert remedy in done.stderr.splitlines()[-1], done.stderr
