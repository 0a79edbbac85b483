"""The app inside a project that does everything differently (`settings.py`), in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.docs.pages import ROOT


def test_the_app_works_in_a_hostile_host_project() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--ds=tests.hostile.settings"]
    # Its databases are SQLite files of its own, whatever this run uses.
    environment = os.environ | {"SESSION_MGMT_TEST_DB": "sqlite"}
    done = subprocess.run(
        [*command, "tests/hostile/inside.py"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
