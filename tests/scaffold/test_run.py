"""The closing summary of make test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import javascript, programs
from tests.run import Tally, count, js, summarise

REPORT = """<testsuites><testsuite>
<testcase name="a"/><testcase name="b"><failure message="no"/></testcase>
<testcase name="c"><skipped message="no Redis"/></testcase><testcase name="d"><skipped message="no Redis"/></testcase>
</testsuite></testsuites>"""


def test_a_report_is_counted_with_its_reasons(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    tally = Tally("sqlite")
    count(tally, report, exit_code=1, fine={0})
    assert (tally.passed, tally.failed, tally.skipped) == (1, 1, {"no Redis": 2})


def test_a_runner_that_breaks_off_is_a_failure(tmp_path: Path) -> None:
    tally = Tally("sqlite")
    count(tally, tmp_path / "never-written.xml", exit_code=139, fine={0, 5})
    assert tally.failed == 1


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
