"""Every test of the project, in passes, and one summary at the end: what `make test` runs.

    tests/run.py [sqlite] [postgres] [js] [browser]        without names: all of them

Exits with 1 when anything failed, and with CI in the environment also when anything was skipped.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests import javascript, programs, services, sqlite_files  # noqa: E402 - this file runs as a script

PYTHON_ONLY = "not browser and not js"
# The pure rooms never see a database: the SQLite pass has run them already. Elsewhere `--only-databases` knows which
# tests open one; here it saves the time of reading the files.
PURE = ("tests/protocol", "tests/documents", "tests/client", "tests/docs")
NO_TESTS_COLLECTED = 5
# A test that fails is tried once more, alone: the passes share the machine, and a browser may have starved. More
# failures than these have another cause; and what judges a promise of the package may not break it even once.
MAY_FAIL_ONCE = 3
MAY_NEVER_FAIL = "tests/faults/"
# Where temporary files go if it has so much room: all passes together use about one GB at the same time.
MEMORY, MEMORY_BYTES = "/dev/shm", 4 * 2**30
# One per core: the passes run side by side, so that one computes while another waits for a server or a lock.
PROCESSES = min(4, os.cpu_count() or 1)


@dataclass
class Tally:
    """What one pass came to; `skipped` counts the skips by reason, the lists name tests."""

    name: str
    passed: int = 0
    failed: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    passed_alone: list[str] = field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Return the figures as plain data."""
        return {**vars(self), "skipped": dict(self.skipped)}

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Tally:
        """Return the tally of ``as_json``."""
        return cls(**{**told, "skipped": Counter(told["skipped"])})

    def add_report(self, path: Path) -> None:
        """Count the cases of a JUnit XML file; an expected failure counts as a skip, for it is no promise kept."""
        for case in ElementTree.parse(path).iter("testcase"):
            skip = case.find("skipped")
            if case.find("failure") is not None or case.find("error") is not None:
                self.failed += 1
                self.failures.append(f"{case.get('classname')}: {case.get('name')}")
            elif skip is not None:
                self.skipped[skip.get("message") or (skip.text or "").strip() or "no reason given"] += 1
            else:
                self.passed += 1


def count(tally: Tally, report: Path, exit_code: int, fine: set[int]) -> None:
    """Read the report; a runner that broke off, or failed without saying which test did, is one failure."""
    if report.exists() and report.stat().st_size:
        tally.add_report(report)
    if exit_code not in fine and not tally.failed:
        tally.failed += 1


def find_marked(marker: str) -> list[str]:
    """Return the files that mention a marker: to collect all files takes longer than the few tests of some passes."""
    return sorted(str(file) for file in Path(ROOT, "tests").rglob("test_*.py") if f"mark.{marker}" in file.read_text())


def run_pytest(tally: Tally, arguments: list[str], processes: int = PROCESSES, **environment: str) -> None:
    """Run tests in so many processes, and those few that fail once more, alone."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = functools.partial(subprocess.run, cwd=ROOT, env={**os.environ, **environment})
        command = [sys.executable, "-m", "pytest", "-q", "-o", f"cache_dir={folder}"]
        spread = ["-n", str(processes), "--dist", "worksteal", f"--junitxml={folder / 'report.xml'}"]
        exit_code = run([*command, *spread, *arguments]).returncode
        count(tally, folder / "report.xml", exit_code, fine={0, NO_TESTS_COLLECTED})
        tally.failures = read_failures(folder)
        if may_try_again(tally):
            print(f"\n== {tally.name}, once more and alone: {', '.join(tally.failures)} ==", flush=True)
            exit_code = run([*command, *tally.failures]).returncode
            count_second(tally, read_failures(folder), exit_code)


def read_failures(folder: Path) -> list[str]:
    """Return the tests that pytest's cache in this folder remembers as failed, by their node ids."""
    failed = folder / "v" / "cache" / "lastfailed"
    return sorted(json.loads(failed.read_text())) if failed.exists() else []


def may_try_again(tally: Tally) -> bool:
    if any(name.startswith(MAY_NEVER_FAIL) for name in tally.failures):
        return False
    return 0 < tally.failed == len(tally.failures) <= MAY_FAIL_ONCE


def count_second(tally: Tally, failures: list[str], exit_code: int) -> None:
    """Count as passed what did not fail the second time; a run that broke off has shown nothing."""
    if exit_code not in (0, 1):
        return
    tally.passed_alone = [name for name in tally.failures if name not in failures]
    tally.failures = failures
    tally.passed += len(tally.passed_alone)
    tally.failed -= len(tally.passed_alone)


def sqlite(tally: Tally) -> None:
    # The longest pass by a quarter: one process more, so that it does not end alone on an idle machine.
    run_pytest(tally, ["-m", PYTHON_ONLY], processes=PROCESSES + 1, SESSION_MGMT_TEST_DB="sqlite")


def postgres(tally: Tally) -> None:
    if not os.environ.get("DATABASE_URL"):
        tally.skipped["the whole pass: no PostgreSQL server (see above)"] += 1
        return
    ignored = [f"--ignore={folder}" for folder in PURE]
    run_pytest(tally, ["-m", PYTHON_ONLY, "--only-databases", *ignored], SESSION_MGMT_TEST_DB="postgres")


def js(tally: Tally) -> None:
    if not javascript.exists():
        tally.skipped["session_mgmt/js has no package.json yet"] += 1
        return
    try:
        programs.node()
    except programs.Unavailable as reason:
        tally.skipped[str(reason)] += 1
        return
    if not javascript.install_packages():
        tally.skipped["npm could not install the packages of the lock file (see above)"] += 1
        return
    run_pytest(tally, ["-m", "js", *find_marked("js")], processes=0, SESSION_MGMT_TEST_DB="sqlite")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        count(tally, report, javascript.test(report), fine={0})


def browser(tally: Tally) -> None:
    # One process: a browser is many already.
    run_pytest(tally, ["-m", "browser", *find_marked("browser")], processes=0, SESSION_MGMT_TEST_DB="sqlite")


PASSES: dict[str, Callable[[Tally], None]] = {"sqlite": sqlite, "postgres": postgres, "js": js, "browser": browser}
# Passes that run side by side, one after the other within a lane. The first lane that has work shows its progress.
LANES = (("sqlite",), ("postgres",), ("js", "browser"))


def keep_bytecode() -> None:
    """Let the hundreds of processes to come find compiled modules: each would compile all that it imports again."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


def keep_files_in_memory() -> None:
    """Put temporary files on Linux's file system in memory: databases of tests outlive a killed process there too.

    Not where the user has named a folder, nor in a container that gives it little room or runs no program from it.
    """
    if "TMPDIR" in os.environ or not os.path.ismount(MEMORY):
        return
    system = os.statvfs(MEMORY)
    if system.f_bavail * system.f_frsize >= MEMORY_BYTES and not system.f_flag & os.ST_NOEXEC:
        os.environ["TMPDIR"] = MEMORY


@contextlib.contextmanager
def compiling_tests() -> Iterator[None]:
    """Compile a new checkout once, while servers are fetched and started: else each process does it, and all at once.

    Pytest compiles as it collects. What fails there fails again in the passes, which tell it.
    """
    if any(Path(ROOT, "tests").rglob("__pycache__/*-pytest-*.pyc")):
        yield
        return
    command = [sys.executable, "-m", "pytest", "--collect-only", "-p", "no:cacheprovider"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        yield


def share_files(stack: contextlib.ExitStack) -> None:
    """Give all passes a folder for what each would else make for itself."""
    if sqlite_files.SHARED not in os.environ:
        os.environ[sqlite_files.SHARED] = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="session-mgmt-shared-")
        )


def start_services(stack: contextlib.ExitStack) -> None:
    """One server of each kind for all passes, told to them by the environment."""
    for name in services.STARTERS:
        variable, starter = services.STARTERS[name]
        if os.environ.get(variable):
            continue
        try:
            os.environ[variable] = stack.enter_context(starter()).url
        except programs.Unavailable as reason:
            print(reason, file=sys.stderr)


def run(name: str) -> Tally:
    tally = Tally(name)
    print(f"\n== {name} ==", flush=True)
    began, before = time.monotonic(), _read_cpu()
    PASSES[name](tally)
    tally.seconds, tally.cpu_seconds = time.monotonic() - began, _read_cpu() - before
    return tally


def _read_cpu() -> float:
    """Return the CPU time of all processes that have ended below this one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextlib.contextmanager
def running_beside(names: Sequence[str]) -> Iterator[list[Tally]]:
    """Run passes in a process of their own; at the end, print what they said, and give their tallies."""
    tallies: list[Tally] = []
    with tempfile.TemporaryDirectory() as folder:
        said, report = Path(folder, "said"), Path(folder, "tallies.json")
        # Tests flush Redis, so that each lane needs one of its own.
        variables = {**os.environ, "REDIS_URL": ""}
        command = [sys.executable, __file__, *names, "--tallies", str(report)]
        with said.open("wb") as output:
            process = subprocess.Popen(command, env=variables, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield tallies
        except BaseException:
            process.terminate()
            raise
        finally:
            process.wait()
            print(said.read_text(errors="replace"), flush=True)
        if report.exists():
            tallies += map(Tally.from_json, json.loads(report.read_text()))
        else:
            tallies += [Tally(name, failed=1) for name in names]


def run_all(chosen: Sequence[str]) -> list[Tally]:
    """Run passes, those of one lane one after the other."""
    lanes = [lane for names in LANES if (lane := [name for name in names if name in chosen])]
    with contextlib.ExitStack() as stack:
        others = [stack.enter_context(running_beside(lane)) for lane in lanes[1:]]
        tallies = [run(name) for name in lanes[0]]
    return tallies + [tally for beside in others for tally in beside]


def summarise(tallies: list[Tally]) -> int:
    """Print the summary; the answer is the exit code."""
    passed, failed = sum(tally.passed for tally in tallies), sum(tally.failed for tally in tallies)
    skipped = sum(tally.skipped.total() for tally in tallies)
    print("\n== summary ==")
    for tally in tallies:
        print(
            f"{tally.name:9} {tally.passed} passed, {tally.failed} failed, {tally.skipped.total()} skipped"
            f" in {tally.seconds:.0f} s, {tally.cpu_seconds:.0f} s of CPU"
        )
    for tally in tallies:
        for name in tally.failures:
            print(f"failed in {tally.name}: {name}")
        for name in tally.passed_alone:
            print(f"failed in {tally.name} beside the other passes, then passed alone: {name}")
        for reason, times in tally.skipped.items():
            print(f"skipped in {tally.name}, {times} x: {reason}")
    not_allowed = bool(skipped) and "CI" in os.environ
    if not_allowed:
        print("Nothing may be skipped in CI.")
    print(f"\n{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 1 if failed or not_allowed or not passed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Run every test of the project.")
    parser.add_argument("passes", nargs="*", metavar="PASS", help=f"of {', '.join(PASSES)}; all without any")
    parser.add_argument("--tallies", type=Path, metavar="FILE", help="write the figures there, for a run around this")
    arguments = parser.parse_args()
    chosen = arguments.passes or list(PASSES)
    if not set(chosen) <= set(PASSES):
        parser.error(f"passes are {', '.join(PASSES)}")
    keep_bytecode()
    keep_files_in_memory()
    with contextlib.ExitStack() as stack:
        with compiling_tests():
            programs.install_missing(list(programs.WHEELS))
            start_services(stack)
        share_files(stack)
        tallies = run_all(chosen)
    if arguments.tallies:
        arguments.tallies.write_text(json.dumps([tally.as_json() for tally in tallies]))
        return 0
    return summarise(tallies)


if __name__ == "__main__":
    sys.exit(main())
