"""The TypeScript SDK's tests and build, under the Node of this machine or of a wheel. Standard library only.

    python -m tests.javascript build | check

What session_mgmt/js/package.json offers: the script `build` writes into the folder OUT_DIR (without it: the committed
place), and `test:junit` writes its results as JUnit XML to the file JUNIT_FILE.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests import programs

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "session_mgmt" / "js"
BUILT = ROOT / "session_mgmt" / "static" / "session_mgmt"
STAMP = SOURCE / "node_modules" / ".set-up-for"


def exists() -> bool:
    return (SOURCE / "package.json").exists()


def npm(*arguments: str, **environment: str) -> int:
    """Run npm in the SDK's folder, with our Node first on PATH; the answer is its exit code."""
    node, command = programs.node()
    path = f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return subprocess.run(
        [*command, *arguments], cwd=SOURCE, env={**os.environ, "PATH": path, **environment}
    ).returncode


def install() -> None:
    """The locked packages, when the lock file has changed since the last time."""
    wanted = hashlib.sha256((SOURCE / "package-lock.json").read_bytes()).hexdigest()
    if STAMP.exists() and STAMP.read_text() == wanted:
        return
    if npm("ci", "--no-audit", "--no-fund"):
        raise RuntimeError("npm ci failed")
    STAMP.write_text(wanted)


def build() -> int:
    install()
    return npm("run", "--silent", "build")


def check() -> int:
    """1, with the names of the files, when the committed build is not what the source builds."""
    install()
    with tempfile.TemporaryDirectory() as folder:
        if npm("run", "--silent", "build", OUT_DIR=folder):
            return 1
        fresh = {path.relative_to(folder): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}
    if not fresh:
        print("the build wrote nothing into OUT_DIR")
        return 1
    stale = [str(name) for name, data in fresh.items() if not is_same(BUILT / name, data)]
    for name in stale:
        print(f"{name} is not what session_mgmt/js builds: run make js and commit it")
    return 1 if stale else 0


def is_same(path: Path, data: bytes) -> bool:
    return path.exists() and path.read_bytes() == data


def main() -> int:
    if not exists():
        print("session_mgmt/js has no package.json yet: nothing to build")
        return 0
    programs.install_missing(["Node"])
    return {"build": build, "check": check}[sys.argv[1]]()


if __name__ == "__main__":
    sys.exit(main())
