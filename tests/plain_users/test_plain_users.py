"""The app with users who have little (`settings.py`), in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.docs.pages import ROOT


@pytest.mark.sqlite
def test_every_path_of_identity_works_for_users_without_is_active_and_with_a_text_as_key() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--ds=tests.plain_users.settings"]
    done = subprocess.run(
        [*command, "tests/plain_users/inside.py"],
        cwd=ROOT,
        env=os.environ | {"SESSION_MGMT_TEST_DB": "sqlite"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
