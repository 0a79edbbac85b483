"""Copies of SQLite files: to migrate a new one takes four seconds of CPU, and longer than many tests do."""

from __future__ import annotations

import atexit
import contextlib
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
    folder = Path(tempfile.mkdtemp(prefix="session-mgmt-migrated-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    file = folder / "migrated.sqlite3"
    variables = {**os.environ, "DJANGO_SETTINGS_MODULE": "project.settings", "DEBUG": "1", "SQLITE_PATH": str(file)}
    variables |= {"DATABASE_URL": "", "REDIS_URL": ""}
    command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    subprocess.run(command, cwd=ROOT, env=variables, check=True)
    return file
