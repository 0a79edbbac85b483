"""A server of a database of its own, with settings of its own, beside the demo's."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.browser.conftest import ROOT
from tests.canary import check_log
from tests.sqlite_files import copy_migrated


@contextmanager
def serve(folder: Path, port: int, settings: str, *options: str, **environment: str) -> Iterator[Path]:
    """Serve the project under settings, and give the database; options are those of Uvicorn."""
    database, log = folder / "db.sqlite3", folder / "server.log"
    copy_migrated(database)
    environment = {**os.environ, "SQLITE_PATH": str(database), "DJANGO_SETTINGS_MODULE": settings, **environment}
    command = [sys.executable, "-m", "uvicorn", "project.asgi:application", "--port", str(port), *options]
    # A file, for a pipe that nobody reads ends a server that tells much.
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    try:
        while "Uvicorn running" not in log.read_text():
            assert process.poll() is None, f"the server did not start: {log.read_text()[-2000:]}"
            time.sleep(0.05)
        yield database
    finally:
        process.terminate()
        process.wait()
        check_log(log)
