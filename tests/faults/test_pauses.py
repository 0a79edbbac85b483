"""Servers that stand still as a whole and go on lose and double nothing, and undo nothing that came later.

By hand: ``python -m tests.faults --pauses 20 --servers 2 --transport any``.
"""

from __future__ import annotations

import pytest

from tests.faults.check import VALID
from tests.faults.run import Options, execute, report
from tests.settings import DATABASE

PAUSED = Options(
    database=DATABASE,
    clients=10,
    kills=0,
    pauses=2,
    unanswered=60,
    servers=2,
    transport="any",
    rest_after=4,
    calm=0.2,
    pause=0.3,
)

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(600)]


def test_what_a_server_writes_after_it_stood_still_counts_once_or_not_at_all(database_url: str) -> None:
    outcome = execute(PAUSED, database_url)
    print(report(PAUSED, outcome))
    assert outcome.verdict.code == VALID, report(PAUSED, outcome)
