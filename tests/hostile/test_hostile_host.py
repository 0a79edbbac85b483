"""The app inside a project that does everything differently (`settings.py`), in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.docs.pages import ROOT

pytestmark = pytest.mark.slow


def run_inside(**environment: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--ds=tests.hostile.settings"]
    done = subprocess.run(
        [*command, "tests/hostile/inside.py"],
        cwd=ROOT,
        # Its databases are its own, whatever this run uses.
        env=os.environ | {"SESSION_MGMT_TEST_DB": "sqlite", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.sqlite
def test_the_app_works_in_a_hostile_host_project() -> None:
    run_inside()


@pytest.mark.postgres
def test_the_app_works_in_a_hostile_host_project_on_postgres(postgres_url: str) -> None:
    run_inside(HOSTILE_PEOPLE_URL=postgres_url)
