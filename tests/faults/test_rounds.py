"""Rounds of faults go on until the time is over, and their verdicts decide about the exit code."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from tests.faults import rounds
from tests.faults.check import Verdict
from tests.faults.evidence import Violation
from tests.faults.run import Options, Outcome

pytestmark = pytest.mark.sqlite

KILL = {"type": "kill", "t": 0, "p": "nemesis", "ops": ["a"]}


def list_records(lost: bool) -> list[dict[str, Any]]:
    written = {"p": "one", "op": "a"}
    records = [{"type": "invoke", "t": 0, **written}, KILL, {"type": "ready", "t": 1, "p": "nemesis"}]
    return records if lost else [*records, {"type": "ok", "t": 2_000_000_001, **written}]


@pytest.fixture
def seeds_that_lose(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """No round is run; those of these seeds lose a write. The clock goes on by half a minute a round."""
    lose: set[int] = set()

    def judge(options: Options, kept: Path) -> Outcome:
        found = options.seed in lose
        violations = [Violation("S1", "a is lost")] if found else []
        return Outcome(Verdict(violations), list_records(found))

    minutes = itertools.count(0, 30)
    monkeypatch.setattr(rounds, "run_round", judge)
    monkeypatch.setattr(rounds, "list_kinds", lambda: list(rounds.KINDS)[:2])
    monkeypatch.setattr(rounds.time, "monotonic", lambda: next(minutes))
    return lose


def test_rounds_take_turns_until_the_time_is_over(
    seeds_that_lose: set[int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert rounds.main(["--minutes", "2", "--seed", "7", "--json", "--keep", str(tmp_path)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {kind: total["rounds"] for kind, total in told.items()} == dict(zip(rounds.KINDS, (2, 1), strict=False))
    first = told["kills, SQLite"]
    assert (first["acknowledged"], first["faults"], first["longest"], first["lost"]) == (2, 2, 2.0, 0)


def test_a_round_that_is_not_valid_is_named_by_its_seed(
    seeds_that_lose: set[int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    seeds_that_lose.add(8)
    assert rounds.main(["--minutes", "3", "--seed", "7", "--keep", str(tmp_path)]) == 1
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| kills, SQLite")]
    assert row.split(" | ")[5] == "1" and row.endswith("seed 8 |")


def test_no_round_is_no_success(seeds_that_lose: set[int], tmp_path: Path) -> None:
    assert rounds.main(["--minutes", "0", "--keep", str(tmp_path)]) == 1


def test_every_kind_demands_enough_to_prove_something() -> None:
    for kind, options in rounds.KINDS.items():
        assert options.demands.acknowledged >= 80, kind
        assert options.database == ("sqlite" if "SQLite" in kind else "postgres"), kind
