"""The wheel that a project installs: the package with its data, and nothing else of this repository."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = ("static/", "templates/", "locale/", "py.typed")


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in tracked.splitlines():
        if name.startswith("session_mgmt/") or name in {"pyproject.toml", "README.md", "LICENSE"}:
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([*command, str(source)], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


def tracked_below(folder: str) -> set[str]:
    listing = subprocess.run(["git", "ls-files", folder], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return set(listing.splitlines())


def test_the_wheel_holds_every_module_and_data_file(names: set[str]) -> None:
    wanted = {
        name
        for name in tracked_below("session_mgmt")
        if not name.startswith("session_mgmt/js/")
        and (name.endswith(".py") or name.removeprefix("session_mgmt/").startswith(DATA))
    }
    assert wanted - names == set()


def test_the_wheel_holds_nothing_else(names: set[str]) -> None:
    foreign = {name for name in names if not name.startswith(("session_mgmt/", "session_mgmt-"))}
    assert foreign == set()
    assert not any(name.startswith("session_mgmt/js/") for name in names)
