"""A server of a database of its own, with settings of its own, beside the demo's."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.browser.conftest import ROOT
from tests.canary import check_log
from tests.sqlite_files import copy_migrated
from tests.started import start_server


@contextmanager
def serve(folder: Path, port: int, settings: str, *options: str, **environment: str) -> Iterator[Path]:
    """Serve the project under settings, and give the database; options are those of Uvicorn."""
    database, log = folder / "db.sqlite3", folder / "server.log"
    copy_migrated(database)
    environment = {**os.environ, "SQLITE_PATH": str(database), "DJANGO_SETTINGS_MODULE": settings, **environment}
    command = [sys.executable, "-m", "uvicorn", "project.asgi:application", "--port", str(port), *options]
    process = start_server(command, ROOT, environment, log)
    try:
        yield database
    finally:
        process.terminate()
        process.wait()
        check_log(log)
