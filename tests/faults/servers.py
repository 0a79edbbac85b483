"""Servers under test, as child processes in process groups of their own."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import psycopg

from tests import services
from tests.forking import fork_server
from tests.sqlite_files import copy_migrated

HOST = services.HOST
ROOT = Path(__file__).resolve().parents[2]
HEALTH_SECONDS = 20
APPLICATION = "project.asgi:application"


class AppServer(services.Server):
    """Project under uvicorn on one port, forked from a process that has imported it: kill tests start it often."""

    scheme = "http"

    def __init__(self, name: str, environment: Mapping[str, str]) -> None:
        super().__init__()
        self.name = name
        self.environment = environment

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/api/"

    def launch(self) -> services.Process:
        options = ["--host", HOST, "--port", str(self.port), "--no-access-log", "--log-level", "warning"]
        sockets = ["--ws", "session_mgmt.uvicorn:WebSocketProtocol", "--ws-per-message-deflate", "false"]
        return fork_server(APPLICATION, self.environment, ["uvicorn", APPLICATION, *options, *sockets], self.log)

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(self.url + "health/", timeout=HEALTH_SECONDS) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def kill(self) -> None:
        """SIGKILL of the whole process group: killing a parent alone would leave workers that still serve."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.wait()

    def output(self) -> list[str]:
        return self.log.read_text(errors="replace").splitlines()


class ServedApp(AppServer):
    """Project under ``manage.py serve``, started as an operator does: it ends as a process of its own."""

    def launch(self) -> services.Process:
        return services.Server.launch(self)

    def command(self) -> list[str]:
        return [sys.executable, "manage.py", "serve", f"{HOST}:{self.port}", "--level", "warning"]

    def popen_options(self) -> dict[str, object]:
        return {"cwd": ROOT, "env": dict(self.environment)}


def environment(
    database_url: str, redis_url: str, sqlite_path: Path, broken: str | None, trim: int = 0, tokens: float = 0.0
) -> dict[str, str]:
    """Build the variables of project/settings.py; nothing of the caller's own servers gets through."""
    clean = {key: value for key, value in os.environ.items() if key not in {"DATABASE_URL", "REDIS_URL"}}
    clean |= {"DJANGO_SETTINGS_MODULE": "tests.faults.settings", "SECRET_KEY": "for the kill test only", "DEBUG": "0"}
    clean |= {"SQLITE_PATH": str(sqlite_path), "PYTHONUNBUFFERED": "1"}
    if database_url:
        clean["DATABASE_URL"] = database_url
    if redis_url:
        clean["REDIS_URL"] = redis_url
    if trim:
        clean["SESSION_MGMT_TEST_TRIM"] = str(trim)
    if tokens:
        clean["SESSION_MGMT_TEST_TOKENS"] = str(tokens)
    if broken:
        clean["SESSION_MGMT_TEST_BREAK"] = broken
    return clean


def migrate(variables: Mapping[str, str]) -> None:
    """Make the tables, unless they are there; a file of SQLite is a copy. Raises ``RuntimeError``."""
    if not variables.get("DATABASE_URL"):
        copy_migrated(Path(variables["SQLITE_PATH"]))
    elif not _has_tables(variables["DATABASE_URL"]):
        said = manage(variables, "migrate", "--verbosity", "0")
        if not _has_tables(variables["DATABASE_URL"]):
            raise RuntimeError(said)


def manage(variables: Mapping[str, str], *arguments: str) -> str:
    """Run a command of manage.py in a fork, and return what it said."""
    with tempfile.NamedTemporaryFile("r", prefix="session-mgmt-command-", errors="replace") as log:
        fork_server(APPLICATION, variables, ["manage", *arguments], Path(log.name)).wait()
        return log.read()


def _has_tables(url: str) -> bool:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT to_regclass('django_migrations')").fetchone() != (None,)
