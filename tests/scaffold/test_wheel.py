"""The distributions that a project installs: the package with its data, and nothing else of this repository."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = ("static/", "templates/", "py.typed")
BUILD = "import sys; from setuptools import build_meta; build_meta.build_{kind}(sys.argv[1])"


def list_tracked(*folders: str) -> set[str]:
    """Return the files of the repository, below some folders if given."""
    command = ["git", "ls-files", *folders]
    return set(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines())


def build_distribution(kind: str, source: Path, folder: Path) -> Path:
    """Build a wheel or a source distribution of a folder."""
    folder.mkdir()
    command = [sys.executable, "-c", BUILD.format(kind=kind), str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tracked files, so that nothing of this folder's own gets into a distribution."""
    source = tmp_path_factory.mktemp("checkout")
    for name in list_tracked():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    return source


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    built = build_distribution("wheel", checkout, tmp_path_factory.mktemp("built") / "wheel")
    return set(zipfile.ZipFile(built).namelist())


@pytest.fixture(scope="module")
def unpacked(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an unpacked source distribution."""
    folder = tmp_path_factory.mktemp("sdist")
    built = build_distribution("sdist", checkout, folder / "built")
    with tarfile.open(built) as archive:
        archive.extractall(folder, filter="data")
    return folder / built.name.removesuffix(".tar.gz")


def list_files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_wheel_holds_every_module_and_data_file(wheel: set[str]) -> None:
    wanted = {
        name
        for name in list_tracked("session_mgmt")
        if not name.startswith("session_mgmt/js/")
        and (name.endswith(".py") or name.removeprefix("session_mgmt/").startswith(DATA))
    }
    assert wanted - wheel == set()


def test_the_wheel_holds_nothing_else(wheel: set[str]) -> None:
    foreign = {name for name in wheel if not name.startswith(("session_mgmt/", "session_mgmt-"))}
    assert foreign == set()
    assert not any(name.startswith("session_mgmt/js/") for name in wheel)


def test_the_source_distribution_holds_the_package_its_sources_and_its_docs(unpacked: Path) -> None:
    assert list_tracked("session_mgmt", "docs") - list_files(unpacked) == set()
    assert {"README.md", "CHANGELOG.md", "LICENSE", "SECURITY.md", "pyproject.toml"} <= list_files(unpacked)


def test_the_source_distribution_holds_no_part_of_the_tests_or_of_the_project(unpacked: Path) -> None:
    folders = {name.split("/")[0] for name in list_files(unpacked) if "/" in name}
    assert folders == {"docs", "session_mgmt", "session_mgmt.egg-info"}
    assert not any("node_modules" in name for name in list_files(unpacked))


def test_a_wheel_of_the_source_distribution_is_the_wheel(unpacked: Path, wheel: set[str], tmp_path: Path) -> None:
    built = build_distribution("wheel", unpacked, tmp_path / "wheel")
    assert set(zipfile.ZipFile(built).namelist()) == wheel
