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
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def copy_file(source: Path, target: Path) -> None:
    """Copy a database with all that is committed, also what is still in its write-ahead log."""
    with contextlib.closing(sqlite3.connect(source)) as one, contextlib.closing(sqlite3.connect(target)) as other:
        one.backup(other)


def copy_migrated(target: Path) -> None:
    """Make a file with the project's tables and nothing in them. Raises CalledProcessError."""
    copy_file(_make_migrated(), target)


@lru_cache(maxsize=1)
def _make_migrated() -> Path:
    """Make the file, or take the one that another process of the same run has made."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", "")
    folder = name_folder(run) if run else Path(tempfile.mkdtemp(prefix="session-mgmt-migrated-"))
    if not run:
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.mkdir(exist_ok=True)
    made = folder / "migrated.sqlite3"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            # A process that is stopped meanwhile leaves nothing that another one would take.
            _migrate(folder / "new.sqlite3")
            copy_file(folder / "new.sqlite3", folder / "whole.sqlite3")
            (folder / "whole.sqlite3").rename(made)
    return made


def name_folder(run: str) -> Path:
    """Return where the processes of a run of pytest-xdist share the file; the process that starts them removes it."""
    return Path(tempfile.gettempdir(), f"session-mgmt-migrated-{run}")


def _migrate(file: Path) -> None:
    variables = {**os.environ, "DJANGO_SETTINGS_MODULE": "project.settings", "DEBUG": "1", "SQLITE_PATH": str(file)}
    variables |= {"DATABASE_URL": "", "REDIS_URL": ""}
    command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    subprocess.run(command, cwd=ROOT, env=variables, check=True)
