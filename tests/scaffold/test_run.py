"""The passes of make test, the order of its tests, and its closing summary."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import pytest
from django.db import connection

from tests import javascript, programs
from tests.conftest import opens_database
from tests.ordering import deal_slow
from tests.run import Tally, compiling_tests, count, js, may_try_again, run_pytest, running_beside, summarise

REPORT = """<testsuites><testsuite>
<testcase name="a"/><testcase classname="t" name="b"><failure message="no"/></testcase>
<testcase name="c"><skipped message="no Redis"/></testcase><testcase name="d"><skipped message="no Redis"/></testcase>
</testsuite></testsuites>"""


def test_a_report_is_counted_with_its_reasons(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    tally = Tally("sqlite")
    count(tally, report, exit_code=1, fine={0})
    assert (tally.passed, tally.failed, tally.skipped) == (1, 1, {"no Redis": 2})
    assert tally.failures == ["t: b"]


def test_a_runner_that_breaks_off_is_a_failure(tmp_path: Path) -> None:
    tally = Tally("sqlite")
    count(tally, tmp_path / "never-written.xml", exit_code=139, fine={0, 5})
    assert tally.failed == 1


FAILS_ONCE = """
from pathlib import Path

MARK = Path(__file__).with_name("mark")

def test_steady(): pass
def test_broken(): assert not "broken"
def test_starved():
    MARK.write_text(MARK.read_text() + "x" if MARK.exists() else "x")
    assert MARK.read_text() == "xx"
"""


def test_what_fails_is_tried_once_more_and_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    Path(tmp_path, "test_program.py").write_text(FAILS_ONCE)
    Path(tmp_path, "pytest.ini").write_text("[pytest]\naddopts = -p no:django -p no:asyncio\n")
    monkeypatch.setattr("tests.run.ROOT", tmp_path)
    tally = Tally("sqlite")
    run_pytest(tally, [], processes=0)
    assert (tally.passed, tally.failed) == (2, 1)
    assert (tally.failures, tally.passed_alone) == (["test_program.py::test_broken"], ["test_program.py::test_starved"])
    assert summarise([tally]) == 1
    printed = capfd.readouterr().out
    assert "failed in sqlite: test_program.py::test_broken\n" in printed
    assert "failed in sqlite beside the other passes, then passed alone: test_program.py::test_starved\n" in printed


@pytest.mark.parametrize(
    "failures", [[], ["tests/a.py::a", "tests/faults/test_kill.py::b"], [f"tests/a.py::{n}" for n in range(4)]]
)
def test_many_failures_and_broken_promises_are_not_tried_again(failures: list[str]) -> None:
    assert not may_try_again(Tally("sqlite", failed=len(failures), failures=failures))
    assert may_try_again(Tally("sqlite", failed=1, failures=["tests/a.py::a"]))


def test_a_new_checkout_is_compiled_once_before_its_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(tmp_path, "pytest.ini").write_text("[pytest]\naddopts = -p no:django -p no:asyncio\n")
    Path(tmp_path, "tests").mkdir()
    Path(tmp_path, "tests", "test_program.py").write_text("def test_it(): raise RuntimeError\n")
    monkeypatch.setattr("tests.run.ROOT", tmp_path)
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    with compiling_tests():
        pass
    assert len(list(Path(tmp_path, "tests", "__pycache__").iterdir())) == 1
    monkeypatch.delattr("subprocess.Popen")
    with compiling_tests():
        pass


def test_a_failure_that_has_no_name_is_not_tried_again() -> None:
    assert not may_try_again(Tally("sqlite", failed=2, failures=["tests/a.py::a"]))


def test_a_skip_is_a_failure_in_ci_only(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    tally = Tally("js", passed=2)
    tally.skipped["no Node"] += 1
    monkeypatch.delenv("CI", raising=False)
    assert summarise([tally]) == 0
    monkeypatch.setenv("CI", "true")
    assert summarise([tally]) == 1
    printed = capsys.readouterr().out
    assert "skipped in js, 1 x: no Node" in printed
    assert printed.endswith("\n2 passed, 0 failed, 1 skipped\n")


def test_a_run_without_any_test_is_not_a_success() -> None:
    assert summarise([Tally("sqlite")]) == 1


def test_without_npm_the_javascript_pass_is_skipped_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_nothing() -> None:
        raise programs.Unavailable("no Node on this machine: install Node 20 or newer with npm")

    monkeypatch.setattr(programs, "node", find_nothing)
    tally = Tally("js")
    js(tally)
    assert (tally.failed, dict(tally.skipped)) == (0, {"no Node on this machine: install Node 20 or newer with npm": 1})


def test_a_javascript_pass_whose_packages_cannot_be_installed_is_skipped_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(programs, "node", lambda: None)
    monkeypatch.setattr(javascript, "install", lambda folder=None: 1)
    tally = Tally("js")
    js(tally)
    assert (tally.failed, tally.passed) == (0, 0)
    assert ["npm could not install" in reason for reason in tally.skipped] == [True]


def test_passes_beside_the_others_that_leave_no_figures_are_failures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/echo")
    with running_beside(["js", "browser"]) as tallies:
        assert tallies == []
    assert [(tally.name, tally.failed) for tally in tallies] == [("js", 1), ("browser", 1)]
    assert "js browser --tallies" in capsys.readouterr().out


def test_figures_of_passes_beside_the_others_arrive_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = Tally("js", passed=3, skipped=Counter({"no Node": 2}), seconds=1.5)
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho '{json.dumps([told.as_json()])}' > \"$4\"\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with running_beside(["js"]) as tallies:
        pass
    assert tallies == [told]


@pytest.mark.parametrize("processes", [1, 2, 3, 4])
@pytest.mark.parametrize("seconds", [[], [0] * 9, [30], [0, 20, 90, 0, 0, 20, 0, 0, 0, 0, 20], [20] * 7])
def test_each_process_begins_with_its_share_of_the_slow_tests(seconds: list[int], processes: int) -> None:
    tests = list(enumerate(seconds))
    ordered = deal_slow(tests, processes, lambda test: test[1])
    assert sorted(ordered) == tests
    parts, rest = [], ordered
    for left in range(processes, 0, -1):
        part, rest = rest[: len(rest) // left], rest[len(rest) // left :]
        parts.append([second for _, second in part])
    for part in parts:
        assert part == sorted(part, reverse=True)
    shares = [len([second for second in part if second]) for part in parts]
    assert max(shares) - min(shares) <= 1
    assert max(seconds, default=0) in {part[0] for part in parts if part} | {0}


def test_a_test_that_asks_for_no_database_is_known(request: pytest.FixtureRequest) -> None:
    assert not opens_database(request.node)
    with pytest.raises(RuntimeError, match="Database access not allowed"):
        connection.ensure_connection()


def test_a_test_that_asks_for_a_database_is_known(request: pytest.FixtureRequest, transactional_db: None) -> None:
    assert opens_database(request.node)
