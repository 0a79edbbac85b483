"""The mistakes of a first hour: each is told in words that name the remedy, and the shortest way works."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection
from django.test import override_settings
from django.urls import clear_url_caches, get_resolver

import session_mgmt
from session_mgmt import asgi
from session_mgmt.models.outages import explain_outage, is_unmigrated
from session_mgmt.registry import on, registry, topic
from session_mgmt.shortcuts import publish
from session_mgmt.testing import inline_bridge
from tests.docs.pages import ROOT

SDK = "/static/session_mgmt/session-client.js"


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own, without this one's settings."""
    clean = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, env={**clean, **environment}, capture_output=True, text=True, timeout=60)


# -- the ASGI application ----------------------------------------------------------------------------------------------


async def answer_of_django(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 418, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def get_status(application: Any, path: str) -> int:
    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b""}
    scope |= {
        "headers": [(b"host", b"testserver")],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("testserver", 80),
    }
    communicator = ApplicationCommunicator(application, scope)
    await communicator.send_input({"type": "http.request", "body": b""})
    start = await communicator.receive_output(10)
    while (await communicator.receive_output(10)).get("more_body"):
        pass
    await communicator.wait(30)
    return int(start["status"])


def test_the_addresses_are_known_before_the_first_client_comes() -> None:
    clear_url_caches()
    asgi.application(answer_of_django)
    # Set when the URL conf is imported, which costs 0.3 s.
    assert "urlconf_module" in vars(get_resolver())


async def test_any_server_serves_the_sdk_while_developing() -> None:
    with override_settings(DEBUG=True):
        assert await get_status(asgi.application(answer_of_django), SDK) == 200
        assert await get_status(asgi.application(answer_of_django), "/cart/") == 418


async def test_static_files_are_left_to_the_deployment_without_debug() -> None:
    with override_settings(DEBUG=False):
        assert await get_status(asgi.application(answer_of_django), SDK) == 418


def test_an_import_before_django_is_set_up_names_the_remedy() -> None:
    failed = run_python("import session_mgmt.asgi", DJANGO_SETTINGS_MODULE="project.settings", DEBUG="1")
    assert "ImproperlyConfigured: Django is not set up yet: call get_asgi_application()" in failed.stderr


def test_an_app_that_is_not_installed_names_the_remedy() -> None:
    code = (
        "from django.conf import settings; settings.configure(INSTALLED_APPS=['django.contrib.auth',"
        " 'django.contrib.contenttypes']); import django; django.setup(); import session_mgmt.shortcuts"
    )
    assert "ImproperlyConfigured: Add 'session_mgmt' to INSTALLED_APPS." in run_python(code).stderr


def test_an_import_in_settings_names_the_remedy() -> None:
    failed = run_python("import session_mgmt.shortcuts", DJANGO_SETTINGS_MODULE="project.settings", DEBUG="1")
    assert "In settings import nothing but session_mgmt itself" in failed.stderr


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"idel_timeout": timedelta(hours=1)}, "unknown name 'idel_timeout'. Did you mean 'idle_timeout'?"),
        ({"max_ops": "many"}, "'max_ops'] has the wrong type. It must be of type int."),
        (["max_ops"], "SESSION_MGMT is not a dict."),
        ({"on_login": "maybe"}, "on_login is unknown."),
        ({"may_claim": "nowhere.at_all"}, "may_claim cannot be used"),
    ],
)
def test_wrong_settings_are_told_by_a_server_that_runs_no_checks(given: Any, message: str) -> None:
    with override_settings(SESSION_MGMT=given), pytest.raises(ImproperlyConfigured) as told:
        asgi.application(answer_of_django)
    assert message in str(told.value)


class Elsewhere:
    """A router that sends the session tables to another database than the users'."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return "elsewhere" if model._meta.app_label == "session_mgmt" else None

    db_for_write = db_for_read


def test_what_a_check_refuses_is_refused_by_a_server_that_runs_none(
    orders: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with override_settings(DATABASE_ROUTERS=[Elsewhere()]), pytest.raises(ImproperlyConfigured, match="routes session"):
        asgi.application(answer_of_django)
    topic("orders:{number:int}")(lambda session, number: True)
    with pytest.raises(ImproperlyConfigured, match="Declare the exact pattern first"):
        asgi.application(answer_of_django)
    registry.topics.pop()
    monkeypatch.setattr(connection, "vendor", "mysql")
    with pytest.raises(ImproperlyConfigured, match="Sessions cannot be stored"):
        asgi.application(answer_of_django)


def test_a_server_starts_where_a_check_only_warns() -> None:
    with override_settings(SESSION_MGMT={"absolute_timeout": timedelta(days=60)}):
        assert asgi.application(answer_of_django)


# -- declarations ------------------------------------------------------------------------------------------------------


@pytest.fixture
def orders() -> Any:
    before = registry.topics[:]
    registry.topics[:] = []

    @topic("orders:{pk}")
    def may_follow(session: Any, pk: str) -> bool:
        return True

    yield
    registry.topics[:] = before


@pytest.mark.django_db
def test_publishing_to_an_undeclared_topic_is_told_while_developing(
    orders: None, caplog: pytest.LogCaptureFixture, settings: Any
) -> None:
    settings.DEBUG = True
    with inline_bridge(), caplog.at_level(logging.WARNING, "session_mgmt"):
        publish("orders:42", 1)
        assert caplog.messages == []
        publish("order:42", 1)
        publish("42", 1, ephemeral=True)
        settings.DEBUG = False
        publish("order:43", 1)
    first, second = caplog.messages
    assert "'order:42'" in first and "Did you mean 'orders:{pk}'?" in first
    assert "session_topics.py" in second


def test_a_misspelt_event_type_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="Did you mean 'session_expired'"):
        on("session_expire")


@pytest.mark.parametrize(("given", "seconds"), [(20, 20.0), (0.5, 0.5), (timedelta(minutes=1), 60.0)])
def test_the_cleanup_interval_is_a_timedelta_or_seconds(given: Any, seconds: float) -> None:
    entry = session_mgmt.beat_schedule(cleanup_interval=given)["session_mgmt.cleanup"]
    assert entry["schedule"] == seconds and entry["options"]["expires"] < seconds


@pytest.mark.parametrize("given", ["20", None, 0, -1, True, timedelta(0), float("inf"), float("nan")])
def test_a_cleanup_interval_that_is_none_is_refused_where_it_is_written(given: Any) -> None:
    with pytest.raises(ValueError, match="cleanup_interval is a timedelta or a positive number of seconds"):
        session_mgmt.beat_schedule(cleanup_interval=given)


# -- a database without tables -----------------------------------------------------------------------------------------

UNMIGRATED = """
import json, logging
import django
django.setup()
from django.test import Client
from session_mgmt.bridge.crossing import bridge
from session_mgmt.exceptions import SessionMgmtError
from session_mgmt.shortcuts import create_session, publish

logging.disable()
told = {}
try:
    publish("orders:42", 1)
except SessionMgmtError as error:
    told["publish"] = error.as_dict()
client = Client(SERVER_NAME="localhost")
answer = client.get("/api/sessions/01937a52-7a39-7bd1-a71b-3c1f6e0ad9a1/", headers={"authorization": "Bearer sma_x"})
told["rest"] = answer.json()
told["health"] = [client.get("/api/health/").status_code]
bridge().close()
print(json.dumps(told))
"""


def test_missing_tables_are_told_as_such_and_not_as_an_overload(tmp_path: Path) -> None:
    answer = run_python(
        UNMIGRATED, DJANGO_SETTINGS_MODULE="project.settings", DEBUG="1", SQLITE_PATH=str(tmp_path / "empty.sqlite3")
    )
    assert answer.returncode == 0, answer.stderr
    told = json.loads(answer.stdout)
    for where in ("publish", "rest"):
        assert told[where]["name"] == "unavailable"
        assert "manage.py migrate" in told[where]["message"]
    assert told["health"] == [503]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("statement", "missing"),
    [
        ("SELECT 1 FROM session_mgmt_nothing", True),
        ("SELECT no_column FROM session_mgmt_client", True),
        ("SELECT 1 +", False),
        ("INSERT INTO session_mgmt_stream (id) VALUES (NULL)", False),
    ],
)
def test_a_missing_table_or_column_is_known_on_every_database(statement: str, missing: bool) -> None:
    with pytest.raises(DatabaseError) as failed, connection.cursor() as cursor:
        cursor.execute(statement)
    assert is_unmigrated(failed.value) is missing
    assert ("migrate" in str(explain_outage(failed.value))) is missing
