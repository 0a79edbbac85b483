"""Fixtures of the whole suite: real servers, started when first asked for."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import shutil
from collections.abc import Generator, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from django.conf import settings
from django.db import connection, connections
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis
from pytest_django.live_server_helper import LiveServer

from project.databases import build_postgres
from session_mgmt.api import operations
from session_mgmt.backends.budgets import budgets
from session_mgmt.bridge import bridge
from session_mgmt.registry import registry
from session_mgmt.testing import inline_bridge
from tests import held_connections, ordering, programs, services
from tests.canary import canary
from tests.emptying import emptying_quickly
from tests.ports import take_port
from tests.settings import DATABASE
from tests.sqlite_files import migrating_once, name_folder
from tests.suites.packages import installed

FIRST_PROCESS = "gw0"
DATABASE_FIXTURES = {"db", "transactional_db", "django_db_setup", "postgres_url", "postgres_server", "database_url"}
# Taken out of the environment, so that a process which a test starts does not use a server the test did not mean.
GIVEN_URLS = {name: os.environ.pop(name, "") for name in ("DATABASE_URL", "REDIS_URL")}

# How long an example takes says how busy the machine is, and nothing about the code.
hypothesis.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis.load_profile("any machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-services", action="store_true", default="CI" in os.environ, help="fail where a server is missing"
    )
    parser.addoption(
        "--only-databases", action="store_true", help="leave out the tests that open no database: another pass has them"
    )


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Hand the given servers to a test process of pytest-xdist, which starts without them in its environment, and
    remove at the end what the processes share.
    """
    node.workerinput["given_urls"] = GIVEN_URLS
    atexit.register(shutil.rmtree, name_folder(node.workerinput["testrunuid"]), ignore_errors=True)


def pytest_configure(config: pytest.Config) -> None:
    gc.disable()
    GIVEN_URLS.update(getattr(config, "workerinput", {}).get("given_urls", {}))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests that only make sense on the other database, and let every process begin with slow ones."""
    if unlike := [item.nodeid for item in items if " at 0x" in item.nodeid]:
        raise pytest.UsageError(f"An address in memory, which differs in each process, is in the name of {unlike[0]}.")
    other = "sqlite" if DATABASE == "postgres" else "postgres"
    left_out = [item for item in items if item.get_closest_marker(other) and not item.get_closest_marker(DATABASE)]
    if config.getoption("--only-databases"):
        left_out += [item for item in items if item not in left_out and not opens_database(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        gone = set(left_out)
        items[:] = [item for item in items if item not in gone]
    processes = getattr(config, "workerinput", {}).get("workercount", 1)
    items[:] = ordering.deal_slow(items, processes, _read_seconds)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Let the garbage collector pass over the tests themselves: walking thousands of them takes a fifth of a run."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_runtest_setup() -> None:
    services.ended.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a test that fails what its servers have said: why one refused something is told nowhere else."""
    report = yield
    if report.failed:
        report.sections += [(f"log of {name}", log) for name, log in services.list_logs() if log]
    return report


def opens_database(item: pytest.Item) -> bool:
    """Tell whether the test can reach a database: pytest-django refuses it to any test that does not ask for it."""
    is_marked = item.get_closest_marker("django_db") or item.get_closest_marker(DATABASE)
    return bool(is_marked or not DATABASE_FIXTURES.isdisjoint(getattr(item, "fixturenames", ())))


def _read_seconds(item: pytest.Item) -> int:
    slow = item.get_closest_marker("slow")
    return 0 if slow is None else slow.args[0] if slow.args else ordering.SLOW_SECONDS


@contextlib.contextmanager
def or_skip(config: pytest.Config) -> Iterator[None]:
    """Turn `programs.Unavailable` into a skip with its reason, or a failure where services are required."""
    try:
        yield
    except programs.Unavailable as reason:
        if config.getoption("--require-services"):
            pytest.fail(str(reason), pytrace=False)
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def postgres_url(pytestconfig: pytest.Config) -> Iterator[str]:
    """A PostgreSQL server shared by the whole run: DATABASE_URL as given, else one of our own."""
    if GIVEN_URLS["DATABASE_URL"]:
        yield GIVEN_URLS["DATABASE_URL"]
        return
    with or_skip(pytestconfig), services.postgres() as server:
        yield server.url


@pytest.fixture(scope="session")
def redis_url(pytestconfig: pytest.Config) -> Iterator[str]:
    """A Redis server shared by this process's tests: REDIS_URL as given, else one of our own.

    Tests flush it, so that of several test processes only the first may use the one that was given.
    """
    if GIVEN_URLS["REDIS_URL"] and os.environ.get("PYTEST_XDIST_WORKER", FIRST_PROCESS) == FIRST_PROCESS:
        yield GIVEN_URLS["REDIS_URL"]
        return
    with or_skip(pytestconfig), services.redis() as server:
        yield server.url


@pytest.fixture
def postgres_server(pytestconfig: pytest.Config) -> Iterator[services.Postgres]:
    """A PostgreSQL server of this test alone, to kill, pause and restart."""
    with or_skip(pytestconfig), services.postgres() as server:
        yield server


@pytest.fixture
def redis_server(pytestconfig: pytest.Config) -> Iterator[services.Redis]:
    """A Redis server of this test alone, to kill, pause and restart."""
    with or_skip(pytestconfig), services.redis() as server:
        yield server


@pytest.fixture(scope="session")
def live_server() -> Iterator[LiveServer]:
    """Serve this project in a thread, as pytest-django does, on a port of the tests."""
    server = LiveServer(f"127.0.0.1:{take_port()}")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def chromium(pytestconfig: pytest.Config) -> Path:
    """The path of the Chromium program."""
    with or_skip(pytestconfig):
        return programs.chromium()


@pytest.fixture(scope="session")
def packages(pytestconfig: pytest.Config) -> Path:
    """The folder of the npm packages that hold public suites and real documents."""
    with or_skip(pytestconfig):
        return installed()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    request: pytest.FixtureRequest, django_db_modify_db_settings_parallel_suffix: None
) -> None:
    """Point Django at the PostgreSQL server before pytest-django creates the test database on it."""
    if DATABASE == "postgres":
        entry = build_postgres(request.getfixturevalue("postgres_url"))
        keep = {key: entry[key] for key in ("NAME", "USER", "PASSWORD", "HOST", "PORT", "OPTIONS")}
        settings.DATABASES["default"].update(keep)
        connections["default"].settings_dict.update(keep)


@pytest.fixture(scope="session")
def migrating(django_db_modify_db_settings: None) -> Iterator[contextlib.ExitStack]:
    """Migrate SQLite's test database in one process of a run only, until this is closed; other settings have others."""
    with contextlib.ExitStack() as stack:
        if DATABASE == "sqlite" and settings.SETTINGS_MODULE == "tests.settings":
            stack.enter_context(migrating_once(connection))
        yield stack


@pytest.fixture(scope="session")
def django_db_setup(
    watched_connections: None, migrating: contextlib.ExitStack, django_db_setup: None, django_db_blocker: Any
) -> Iterator[None]:
    """Empty only what tests have filled, and end with no connection open: PostgreSQL drops no database in use."""
    migrating.close()
    with (
        django_db_blocker.unblock(),
        emptying_quickly([alias for alias in connections if connections[alias].settings_dict["NAME"]]),
    ):
        with django_db_blocker.block():
            yield
        bridge().close()
    assert held_connections.list_held(by_app=True) == []


@pytest.fixture(autouse=True, scope="session")
def watched_logs() -> Iterator[None]:
    """Look at everything that is logged, for all of the run; servers that live as long as it are looked at last."""
    with canary.watching():
        yield
    assert canary.take() == []


@pytest.fixture(autouse=True)
def no_secret_logged(watched_logs: None) -> Iterator[None]:
    """Let no test log a token or a nonce, itself or by a server that it started."""
    yield
    assert canary.take() == []


@pytest.fixture(autouse=True)
def fresh_process() -> None:
    """Let no test find what an earlier one has used up or computed in the memory of this process."""
    budgets().clear()
    operations.health.forget()


@pytest.fixture(autouse=True)
def registry_as_before() -> Iterator[None]:
    """Take back the topics and functions that a test has declared: they would answer in later tests as well."""
    before = {table.name: copy_table(getattr(registry, table.name)) for table in fields(registry)}
    yield
    for name, table in before.items():
        setattr(registry, name, table)


def copy_table(table: Any) -> Any:
    """Return a copy of a table of the registry, with copies of the lists in it."""
    if isinstance(table, list):
        return table[:]
    return {key: entries[:] if isinstance(entries, list) else entries for key, entries in table.items()}


@pytest.fixture
def on_this_thread(db: None) -> Iterator[None]:
    """Run all reads and writes inside the test's own transaction.

    With the lane's threads a test would have to commit, and then cost a flush of all tables.
    """
    with inline_bridge():
        yield


@pytest.fixture(autouse=True, scope="session")
def watched_connections() -> Iterator[None]:
    """Know which thread holds a database connection, for all of the run."""
    with held_connections.watching():
        yield


@pytest.fixture(autouse=True)
def no_connection_left(watched_connections: None) -> Iterator[None]:
    """Let no thread of a test keep a database connection: the test database could not be dropped."""
    with held_connections.thread_of_async_code():
        yield
    assert held_connections.list_held(by_app=False) == []


@pytest.fixture
def database_environment(transactional_db: None) -> dict[str, str]:
    """Environment variables with which a process of project.settings works on this test's database."""
    environment = {"DEBUG": "1", "SECRET_KEY": settings.SECRET_KEY}
    entry = connection.settings_dict
    if DATABASE == "sqlite":
        return environment | {"SQLITE_PATH": str(entry["NAME"])}
    account = quote(entry["USER"]) + (f":{quote(entry['PASSWORD'])}" if entry["PASSWORD"] else "")
    url = urlsplit(f"postgres://{account}@{entry['HOST']}:{entry['PORT']}/{entry['NAME']}")
    return environment | {"DATABASE_URL": url.geturl()}
