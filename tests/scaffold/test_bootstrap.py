"""Setting up the environment: the right packages, progress, and plain words when it fails or is interrupted."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
# An interpreter of an environment: it answers its version, and writes down what pip and programs are asked.
FAKE_PYTHON = """#!{python}
import os, sys
asked = sys.argv[1:]
if asked[0] == "-c":
    print(sys.version)
elif asked[:3] == ["-m", "pip", "install"]:
    with open("{log}", "a") as log:
        print(*asked[3:], file=log)
    print("Collecting Django==5.2.19 (from -r requirements.txt (line 4))", flush=True)
    print("Processing /wheels/python_dateutil-2.9.0.post0-py2.py3-none-any.whl", flush=True)
    if os.environ.get("PIP") == "waits":
        sys.stdin.read()  # until the test or the set-up ends it
    if os.environ.get("PIP") == "fails":
        print("ERROR: no such wheel")
        sys.exit(1)
    print("Installing collected packages: Django")
else:
    print("ran", *asked)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the files that the set-up reads, and an environment whose interpreter is a fake."""
    for name in ("project/bootstrap.py", "requirements.txt", "requirements-dev.txt", "pyproject.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(FAKE_PYTHON.format(python=sys.executable, log=tmp_path / "asked"))
    python.chmod(0o755)
    return tmp_path


def start(checkout: Path, *arguments: str, pip: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(checkout / "project" / "bootstrap.py"), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PIP": pip},
        # A run in the background ignores Ctrl-C, and would hand that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def run(checkout: Path, *arguments: str, pip: str = "") -> tuple[int, str, str]:
    with start(checkout, *arguments, pip=pip) as process:
        out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def list_installed(checkout: Path) -> list[str]:
    """Return the files of requirements that pip was asked for, so far."""
    log = checkout / "asked"
    lines = log.read_text().splitlines() if log.exists() else []
    return [Path(line.split()[-1]).name for line in lines if "--requirement" in line]


def test_the_demo_installs_what_runs_and_no_tools(checkout: Path) -> None:
    assert run(checkout, "--runtime", "manage.py", "demo")[:2] == (0, "ran manage.py demo\n")
    assert list_installed(checkout) == ["requirements.txt"]
    pinned = (ROOT / "requirements.txt").read_text().lower()
    assert not [tool for tool in ("pytest", "mypy", "playwright", "ruff", "hypothesis") if f"{tool}==" in pinned]


def test_an_environment_with_everything_is_enough_for_the_demo(checkout: Path) -> None:
    run(checkout, "-m", "pytest")
    assert run(checkout, "--runtime", "manage.py", "demo")[:2] == (0, "ran manage.py demo\n")
    assert list_installed(checkout) == ["requirements-dev.txt"]


def test_the_demos_environment_is_completed_for_the_tests(checkout: Path) -> None:
    run(checkout, "--runtime")
    run(checkout, "-m", "pytest")
    assert list_installed(checkout) == ["requirements.txt", "requirements-dev.txt"]


def test_a_changed_requirement_installs_again(checkout: Path) -> None:
    run(checkout, "--runtime")
    (checkout / "requirements.txt").write_text("Django==5.2.20\n")
    run(checkout, "--runtime")
    assert list_installed(checkout) == ["requirements.txt", "requirements.txt"]


def test_progress_is_shown(checkout: Path) -> None:
    (checkout / "requirements.txt").write_text("Django==5.2.19\npython-dateutil==2.9.0.post0\n")
    err = run(checkout, "--runtime")[2]
    assert err.splitlines() == [
        "Setting up .venv/ with 2 packages (once) ...",
        "  2 of 2 packages",
        "  installing ...",
        "  done",
    ]


def test_a_failure_shows_what_pip_said_and_marks_nothing(checkout: Path) -> None:
    code, _, err = run(checkout, "--runtime", "manage.py", pip="fails")
    assert code == 1
    assert "ERROR: no such wheel" in err and "run it again" in err and "Traceback" not in err
    assert not (checkout / ".venv" / "set-up-to-run").exists()


def test_an_interruption_has_no_traceback_and_marks_nothing(checkout: Path) -> None:
    (checkout / "requirements.txt").write_text("Django==5.2.19\npython-dateutil==2.9.0.post0\n")
    with start(checkout, "--runtime", "manage.py", pip="waits") as process:
        assert process.stderr is not None
        while "2 of 2" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        err = process.stderr.read()
    assert process.returncode == 130
    assert "Set-up was interrupted" in err and "Traceback" not in err
    assert not (checkout / ".venv" / "set-up-to-run").exists()
