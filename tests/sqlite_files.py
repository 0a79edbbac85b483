"""Copies of SQLite files: to migrate a new one takes four seconds of CPU, and longer than many tests do."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# Names the folder in which all passes of tests/run.py share files.
SHARED = "SESSION_MGMT_SHARED_FILES"


def copy_file(source: Path, target: Path) -> None:
    """Copy a database with all that is committed, also what is still in its write-ahead log."""
    with contextlib.closing(sqlite3.connect(source)) as one, contextlib.closing(sqlite3.connect(target)) as other:
        one.backup(other)


def copy_migrated(target: Path) -> None:
    """Make a file with the project's tables and nothing in them. Raises CalledProcessError."""
    copy_file(make_once("project.sqlite3", _migrate), target)


def make_once(name: str, make: Callable[[Path], None]) -> Path:
    """Return a database that one process of a run makes for all of them; nobody may write to it."""
    made = _find_folder() / name
    with _locked(made):
        if not made.exists():
            new = made.with_suffix(".new")
            make(new)
            _keep(new, made)
    return made


@contextlib.contextmanager
def migrating_once(connection: Any) -> Iterator[None]:
    """Let one process of a run migrate its test database; all others begin with a copy, and have nothing to migrate."""
    made, creation = _find_folder() / "tests.sqlite3", connection.creation
    erase = creation._create_test_db

    def erase_and_copy(*args: Any, **options: Any) -> Any:
        file = erase(*args, **options)
        if made.exists():
            copy_file(made, file)
        return file

    with _locked(made):
        creation._create_test_db = erase_and_copy
        yield
        creation._create_test_db = erase
        if not made.exists():
            _keep(connection.settings_dict["NAME"], made)


def _keep(file: Path, made: Path) -> None:
    # A process that is stopped meanwhile leaves nothing that another one would take.
    whole = made.with_suffix(".whole")
    copy_file(file, whole)
    whole.rename(made)


@contextlib.contextmanager
def _locked(made: Path) -> Iterator[None]:
    """Keep other processes of the run from making the same file."""
    with made.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@lru_cache(maxsize=1)
def _find_folder() -> Path:
    """Return where the processes of a run share files; one that runs alone has a folder of its own."""
    if given := os.environ.get(SHARED):
        return Path(given)
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", "")
    folder = name_folder(run) if run else Path(tempfile.mkdtemp(prefix="session-mgmt-migrated-"))
    if not run:
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.mkdir(exist_ok=True)
    return folder


def name_folder(run: str) -> Path:
    """Return where the processes of a run of pytest-xdist share files; the process that starts them removes it."""
    return Path(tempfile.gettempdir(), f"session-mgmt-migrated-{run}")


def _migrate(file: Path) -> None:
    variables = {**os.environ, "DJANGO_SETTINGS_MODULE": "project.settings", "DEBUG": "1", "SQLITE_PATH": str(file)}
    variables |= {"DATABASE_URL": "", "REDIS_URL": ""}
    command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    subprocess.run(command, cwd=ROOT, env=variables, check=True)
