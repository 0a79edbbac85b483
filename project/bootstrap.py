"""Set up the virtual environment if it is missing or out of date, then run Python in it.

    python3 project/bootstrap.py manage.py demo
    python3 project/bootstrap.py -m pytest tests/protocol

It needs nothing but a Python with venv. Without arguments it only sets up. The packages are those of requirements.txt;
they are installed again when that file, pyproject.toml or the interpreter changes.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "set-up-for"
REQUIREMENTS = ROOT / "requirements.txt"
OLDEST = (3, 11)
KNOWN = ("python3.13", "python3.12", "python3.11")


def require_recent_python() -> None:
    """Start again under a newer interpreter of this machine if this one is too old."""
    if sys.version_info >= OLDEST:
        return
    for name in KNOWN:
        found = shutil.which(name)
        if found:
            os.execv(found, [found, *sys.argv])
    sys.exit("Python 3.11 or newer is needed. Where it has another name: make demo PYTHON=/path/to/python3.11")


def compute_stamp() -> str:
    """Return a digest of everything that the environment depends on; another value means: install again."""
    digest = hashlib.sha256(sys.version.encode())
    for path in (REQUIREMENTS, ROOT / "pyproject.toml"):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def is_ready() -> bool:
    return PYTHON.exists() and STAMP.exists() and STAMP.read_text() == compute_stamp()


def has_same_python() -> bool:
    """Return True if the environment's interpreter starts and has this version, so that it can be kept."""
    ask = "import sys; print(sys.version)"
    try:
        answer = subprocess.run([PYTHON, "-c", ask], capture_output=True, text=True, timeout=60)
    except OSError:
        return False
    return answer.stdout.strip() == sys.version.strip()


def run_pip(*arguments: str) -> None:
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    if subprocess.run(command, cwd=ROOT).returncode:
        sys.exit(f"Set-up failed at: pip install {' '.join(arguments)}\nNothing was marked as done; run it again.")


def set_up() -> None:
    if find_spec("ensurepip") is None:
        sys.exit("This Python has no venv. On Debian and Ubuntu: apt install python3-venv")
    print(f"Setting up {VENV.name}/ (once, about a minute) ...", file=sys.stderr, flush=True)
    STAMP.unlink(missing_ok=True)
    if not has_same_python():
        venv.EnvBuilder(with_pip=True, clear=VENV.exists(), symlinks=True).create(VENV)
    run_pip("--requirement", str(REQUIREMENTS))
    # The build backend is one of the requirements, so that the checkout installs without fetching another copy.
    run_pip("--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    STAMP.write_text(compute_stamp())


def main() -> None:
    require_recent_python()
    # Two set-ups at once would overwrite each other. The lock is the folder itself, so it leaves no file behind.
    folder = os.open(ROOT, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    if not is_ready():
        set_up()
    os.close(folder)
    if sys.argv[1:]:
        os.chdir(ROOT)
        # Replace this process, so that Ctrl-C and exit codes belong to the program alone.
        os.execv(PYTHON, [str(PYTHON), *sys.argv[1:]])


if __name__ == "__main__":
    main()
