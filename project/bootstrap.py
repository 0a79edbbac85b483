"""Set up the virtual environment if it is missing or out of date, then run Python in it.

    python3 project/bootstrap.py --runtime manage.py demo
    python3 project/bootstrap.py -m pytest tests/protocol

It needs nothing but a Python with venv. Without arguments it only sets up. The packages are those of
requirements-dev.txt, or with --runtime those of requirements.txt; they are installed again when these files,
pyproject.toml or the interpreter change.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
OLDEST = (3, 11)
KNOWN = ("python3.13", "python3.12", "python3.11")
INTERRUPTED = 130
# Where the output is no terminal, a line for every package would be noise.
REPORT_EVERY = 10
# pip's line for a package that it has, fetches, or finds as a file.
_FETCHED = re.compile(r"(?:Requirement already satisfied:|Collecting|Processing) (?:\S*/)?([\w.]+(?:-[A-Za-z][\w.]*)*)")


@dataclass(frozen=True)
class Kind:
    """One set of packages; `stamp` marks an environment that has them."""

    files: tuple[str, ...]
    stamp: str

    @property
    def stamp_file(self) -> Path:
        return VENV / self.stamp

    def compute_stamp(self) -> str:
        """Return a digest of everything that the set depends on; another value means: install again."""
        digest = hashlib.sha256(sys.version.encode())
        for name in (*self.files, "pyproject.toml"):
            digest.update((ROOT / name).read_bytes())
        return digest.hexdigest()

    def is_ready(self) -> bool:
        """Return True if the environment has these packages."""
        return PYTHON.exists() and self.stamp_file.exists() and self.stamp_file.read_text() == self.compute_stamp()


RUNTIME = Kind(("requirements.txt",), "set-up-to-run")
EVERYTHING = Kind(("requirements.txt", "requirements-dev.txt"), "set-up-for")


def require_recent_python() -> None:
    """Start again under a newer interpreter of this machine if this one is too old."""
    if sys.version_info >= OLDEST:
        return
    for name in KNOWN:
        found = shutil.which(name)
        if found:
            os.execv(found, [found, *sys.argv])
    sys.exit("Python 3.11 or newer is needed. Where it has another name: make demo PYTHON=/path/to/python3.11")


def has_same_python() -> bool:
    """Return True if the environment's interpreter starts and has this version, so that it can be kept."""
    ask = "import sys; print(sys.version)"
    try:
        answer = subprocess.run([PYTHON, "-c", ask], capture_output=True, text=True, timeout=60)
    except OSError:
        return False
    return answer.stdout.strip() == sys.version.strip()


def count_packages(kind: Kind) -> int:
    """Return the number of pinned packages of a set."""
    return sum(len(re.findall(r"^[\w.-]+==", (ROOT / name).read_text(), re.MULTILINE)) for name in kind.files)


def show_progress(done: int, total: int, name: str) -> None:
    """Print how far the installation is: one line that changes on a terminal, some lines elsewhere."""
    if sys.stderr.isatty():
        print(f"\r  {done} of {total}: {name:40.40}", end="\n" if done == total else "", file=sys.stderr, flush=True)
    elif done % REPORT_EVERY == 0 or done == total:
        print(f"  {done} of {total} packages", file=sys.stderr, flush=True)


def run_pip(*arguments: str, total: int = 0) -> None:
    """Run `pip install`, show its progress, and end with its last lines if it fails."""
    command = [str(PYTHON), "-m", "pip", "install", "--progress-bar", "off", "--disable-pip-version-check", *arguments]
    output: list[str] = []
    pip = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert pip.stdout is not None
    with pip:
        done = 0
        for line in pip.stdout:
            output.append(line)
            found = _FETCHED.match(line)
            if found and done < total:
                done += 1
                show_progress(done, total, found[1])
            elif total and line.startswith("Installing"):
                print("  installing ...", file=sys.stderr, flush=True)
    if pip.returncode:
        print("".join(output[-20:]), file=sys.stderr)
        sys.exit(f"Set-up failed at: pip install {' '.join(arguments)}\nNothing was marked as done; run it again.")


def set_up(kind: Kind) -> None:
    """Install a set of packages and the checkout, and mark the environment."""
    if find_spec("ensurepip") is None:
        sys.exit("This Python has no venv. On Debian and Ubuntu: apt install python3-venv")
    total = count_packages(kind)
    print(f"Setting up {VENV.name}/ with {total} packages (once) ...", file=sys.stderr, flush=True)
    for known in (RUNTIME, EVERYTHING):
        known.stamp_file.unlink(missing_ok=True)
    if not has_same_python():
        venv.EnvBuilder(with_pip=True, clear=VENV.exists(), symlinks=True).create(VENV)
    run_pip("--requirement", str(ROOT / kind.files[-1]), total=total)
    # The build backend is one of the requirements, so that the checkout installs without fetching another copy.
    run_pip("--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    print("  done", file=sys.stderr, flush=True)
    for known in {RUNTIME, kind}:
        known.stamp_file.write_text(known.compute_stamp())


@contextlib.contextmanager
def lock_folder() -> Iterator[None]:
    """Let one set-up run at a time: two would overwrite each other.

    The lock is the folder itself, so it leaves no file behind.
    """
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("Waiting for another set-up to finish ...", file=sys.stderr, flush=True)
        fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(folder)


def main() -> None:
    require_recent_python()
    arguments = sys.argv[1:]
    kind = RUNTIME if arguments[:1] == ["--runtime"] else EVERYTHING
    if kind is RUNTIME:
        del arguments[0]
    try:
        with lock_folder():
            if not (kind.is_ready() or EVERYTHING.is_ready()):
                set_up(kind)
    except KeyboardInterrupt:
        print("\nSet-up was interrupted. Nothing was marked as done; run it again.", file=sys.stderr)
        sys.exit(INTERRUPTED)
    if arguments:
        os.chdir(ROOT)
        # Replace this process, so that Ctrl-C and exit codes belong to the program alone.
        os.execv(PYTHON, [str(PYTHON), *arguments])


if __name__ == "__main__":
    main()
