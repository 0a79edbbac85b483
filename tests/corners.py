"""Tests at the corners of what the package allows: other versions of Python and Django, each in its own environment.

    python -m tests.corners [-k NAME]        what `make corners` runs

An interpreter that this machine lacks is skipped, with the reason.
"""

from __future__ import annotations

import argparse
import glob
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ("requirements.txt", "requirements-dev.txt")
ENVIRONMENTS = ROOT / "var" / "corners"
# Tools that no test imports, and packages whose pin a corner replaces.
LEFT_OUT = re.compile(
    r"(?i)--requirement|(django|ruff|mypy|django-stubs\S*|djangorestframework-stubs|types-\S+|celery-types)=="
)
SELECTION = ["-q", "-m", "not browser and not js and not faults and not slow"]


@dataclass(frozen=True)
class Corner:
    """One pair of versions."""

    python: str
    django: str

    def __str__(self) -> str:
        return f"Python {self.python} with Django {self.django}"


CORNERS = [Corner("3.12", "5.2"), Corner("3.13", "6.1")]


def find_python(version: str) -> str | None:
    """Return an interpreter of this version that starts."""
    candidates = [
        shutil.which(f"python{version}"),
        *glob.glob(os.path.expanduser(f"~/.pyenv/versions/{version}.*/bin/python")),
    ]
    for candidate in filter(None, candidates):
        command = [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        if subprocess.run(command, capture_output=True, text=True).stdout.strip() == version:
            return candidate
    return None


def install_corner(corner: Corner, python: str) -> Path:
    """Set up the environment of a corner; return its interpreter."""
    folder = ENVIRONMENTS / f"python{corner.python}-django{corner.django}"
    inside = folder / "bin" / "python"
    if not inside.exists():
        subprocess.run([python, "-m", "venv", str(folder)], check=True)
    pins = [line for name in REQUIREMENTS for line in (ROOT / name).read_text(encoding="utf-8").splitlines()]
    listing = folder / "requirements.txt"
    kept = [line for line in pins if not LEFT_OUT.match(line)]
    listing.write_text("\n".join([*kept, f"Django~={corner.django}.0"]), encoding="utf-8")
    pip = [str(inside), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--requirement", str(listing)], check=True)
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--editable", str(ROOT)], check=True)
    return inside


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the Python tests at the corners.")
    parser.add_argument("arguments", nargs="*", help="passed to pytest")
    given = parser.parse_args().arguments
    failed = 0
    for corner in CORNERS:
        python = find_python(corner.python)
        if python is None:
            print(f"\n== {corner}: skipped, this machine has no Python {corner.python} ==", flush=True)
            continue
        print(f"\n== {corner} ==", flush=True)
        inside = install_corner(corner, python)
        failed += bool(subprocess.run([str(inside), "-m", "pytest", *SELECTION, *given], cwd=ROOT).returncode)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
