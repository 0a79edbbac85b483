"""The requirements: floors without a known vulnerability, pins that keep them, and classifiers of what is tested."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

REQUIREMENTS = ("requirements.txt", "requirements-dev.txt")

# First version without a known vulnerability, and one that has it (docs/topics/security.md).
FLOORS = {
    "django": ("5.2.18", "5.2.17"),
    "orjson": ("3.11.6", "3.11.5"),
    "channels": ("4.3", "4.2"),
    "daphne": ("4.2.3", "4.2.1"),
    "autobahn": ("26.7.1", "26.6.9"),
    "msgpack": ("1.2.1", "1.2.0"),
    "redis": ("5", "4.5.4"),
    "celery": ("5.5", "5.2.1"),
    "websockets": ("14", "9.0"),
    "uvicorn": ("0.34", "0.11.6"),
}


def declare_requirements() -> Iterator[Requirement]:
    """Yield the requirements of the package and of its extras."""
    yield from map(Requirement, PROJECT["dependencies"])
    for extra in PROJECT["optional-dependencies"].values():
        yield from map(Requirement, extra)


def read_pins(*names: str) -> dict[str, Version]:
    pins = {}
    lines = [line for name in names or REQUIREMENTS for line in (ROOT / name).read_text(encoding="utf-8").splitlines()]
    for line in lines:
        if match := re.match(r"([\w.-]+)==([^\s;]+)", line):
            pins[match[1].lower().replace("_", "-")] = Version(match[2])
    return pins


@pytest.mark.parametrize("name", FLOORS)
@pytest.mark.requirement("ASVS 15.2.1")
def test_no_version_with_a_known_vulnerability_is_allowed(name: str) -> None:
    first, last_bad = FLOORS[name]
    found = [one for one in declare_requirements() if one.name.lower() == name]
    assert found
    for requirement in found:
        assert requirement.specifier.contains(first)
        assert not requirement.specifier.contains(last_bad)


def test_the_extras_have_what_celery_needs_for_a_broker_in_redis() -> None:
    needed = {one.name for one in map(Requirement, requires("kombu") or ()) if str(one.marker) == 'extra == "redis"'}
    extras = PROJECT["optional-dependencies"]
    assert "redis" in needed
    assert needed <= {Requirement(one).name for name in ("celery", "redis") for one in extras[name]}


@pytest.mark.requirement("ASVS 11.4.1", "ASVS 1.5.2")
def test_the_package_uses_no_weak_hash_and_unpacks_no_objects() -> None:
    words = re.compile(r"\b(?:md5|sha1)\(|\bimport (?:pickle|marshal|shelve)\b|from (?:pickle|marshal|shelve) import")
    found = {
        path.name: words.findall(path.read_text(encoding="utf-8")) for path in (ROOT / "session_mgmt").rglob("*.py")
    }
    # The answer to a handshake of RFC 6455, which protects nothing.
    assert {name: hits for name, hits in found.items() if hits} == {"handshake.py": ["sha1("]}


def test_the_pins_are_what_the_package_allows() -> None:
    pins = read_pins()
    wrong = {
        one.name: pins.get(one.name.lower().replace("_", "-"))
        for one in declare_requirements()
        if not one.specifier.contains(pins.get(one.name.lower().replace("_", "-"), Version("0")))
    }
    assert wrong == {}


def test_the_classifiers_name_what_is_tested() -> None:
    from tests.corners import CORNERS

    named = set(PROJECT["classifiers"])
    pins = read_pins()
    django = {f"{pins['django'].major}.{pins['django'].minor}", *(corner.django for corner in CORNERS)}
    python = {PROJECT["requires-python"].removeprefix(">="), *(corner.python for corner in CORNERS)}
    assert {one.rsplit(" ", 1)[1] for one in named if re.match(r"Framework :: Django :: \d", one)} == django
    assert {one.rsplit(" ", 1)[1] for one in named if re.match(r"Programming Language :: Python :: 3\.", one)} == python


WITHOUT = """
import sys
absent = set(sys.argv[1].split())
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name in absent:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Finder())
import celery.bin.worker, kombu.transport.redis, kombu.transport.filesystem, channels_redis.pubsub, psycopg_pool
"""


def test_a_running_project_imports_only_what_it_installs() -> None:
    # Some packages import others that they do not say they need.
    installed = {*read_pins("requirements.txt"), "session-mgmt"}
    owners = {
        name: {owner.lower().replace("_", "-") for owner in found} for name, found in packages_distributions().items()
    }
    absent = [name for name, found in owners.items() if not found & installed]
    assert "pytest" in absent and "celery" not in absent
    subprocess.run([sys.executable, "-c", WITHOUT, " ".join(absent)], check=True)
