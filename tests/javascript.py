"""The TypeScript SDK's tests and build, under the Node of this machine or of a wheel. Standard library only.

python -m tests.javascript build | check
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests import programs

SOURCE = Path(__file__).resolve().parent.parent / "session_mgmt" / "js"
SUITES = Path(__file__).resolve().parent / "suites"


def exists() -> bool:
    return (SOURCE / "package.json").exists()


def npm(*arguments: str, folder: Path = SOURCE, stdout: int | None = None) -> int:
    """Run npm in a folder, with our Node first on PATH; the answer is its exit code."""
    node, command = programs.node()
    path = f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = {**os.environ, "PATH": path}
    return subprocess.run([*command, *arguments], cwd=folder, env=environment, stdout=stdout).returncode


def script(name: str, *arguments: str) -> int:
    """Run a script of package.json after installing what the lock file asks for; the answer is its exit code."""
    return install() or npm("run", "--silent", name, "--", *arguments)


def install(folder: Path = SOURCE) -> int:
    """The locked packages of a folder, when the lock file has changed since the last time."""
    wanted = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    stamp = folder / "node_modules" / ".set-up-for"
    with locked(folder):
        if stamp.exists() and stamp.read_text() == wanted:
            return 0
        # It tells what it does where nobody reads results from.
        exit_code = npm("ci", "--no-audit", "--no-fund", folder=folder, stdout=sys.stderr.fileno())
        if not exit_code:
            stamp.write_text(wanted)
        return exit_code


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder: two passes at once would install over each other."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def install_packages() -> bool:
    """Install the locked packages of the SDK and of the public suites; return whether that succeeded."""
    return not (install() or install(SUITES))


def test(report: Path) -> int:
    """The SDK's tests, with a JUnit XML report."""
    return script("test", "--reporter=default", "--reporter=junit", f"--outputFile.junit={report}")


def build() -> int:
    """Write the bundles into session_mgmt/static/."""
    return script("build")


def check() -> int:
    """Not 0 when the types do not fit, or when the committed bundles are not what the source builds."""
    return script("check") or script("verify")


def main() -> int:
    if not exists():
        print("session_mgmt/js has no package.json yet: nothing to build")
        return 0
    programs.install_missing(["Node"])
    return {"build": build, "check": check}[sys.argv[1]]()


if __name__ == "__main__":
    sys.exit(main())
