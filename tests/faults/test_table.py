"""The table of faults has every one of the plan, and names tests that are there."""

from __future__ import annotations

from pathlib import Path

from tests.faults.table import FAULTS

TESTS = Path(__file__).resolve().parents[1]
PROCESSES = [f"F{number}" for number in range(14)]
CLIENTS = [f"C{number}" for number in (*range(1, 8), *range(11, 15), 19, 20)]


def test_every_fault_of_the_plan_has_a_test() -> None:
    assert [fault.number for fault in FAULTS] == PROCESSES + CLIENTS
    assert [fault for fault in FAULTS if f"def {fault.test}(" not in (TESTS / fault.file).read_text()] == []
    assert [fault.number for fault in FAULTS if not fault.in_tests] == []
