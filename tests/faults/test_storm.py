"""Everybody comes back at once and the server is killed in the middle: nobody is lost, nothing is doubled.

SESSION_MGMT_STORM is the number of clients: 2000 and 5000 are for a machine with nothing else to do.
"""

from __future__ import annotations

import os

import pytest

from tests.faults.check import INVALID, VALID
from tests.faults.storm import OF_CLIENTS, PROMISED_SECONDS, Options, brew, describe

CLIENTS = int(os.environ.get("SESSION_MGMT_STORM", "300"))
SEED = int(os.environ.get("SESSION_MGMT_SEED", "1"))

pytestmark = [pytest.mark.faults, pytest.mark.slow(30)]


@pytest.mark.timeout(600 + 10 * PROMISED_SECONDS * CLIENTS / OF_CLIENTS)
def test_nobody_is_lost_in_a_storm_with_a_kill_in_the_middle(database_url: str) -> None:
    options = Options(clients=CLIENTS, seed=SEED)
    outcome = brew(options, database_url)
    print(describe(options, outcome))
    assert outcome.verdict.code == VALID, describe(options, outcome)
    assert outcome.notes == []


@pytest.mark.sqlite
@pytest.mark.timeout(600)
def test_the_checker_catches_a_group_that_is_refused_for_the_sake_of_one(database_url: str) -> None:
    options = Options(clients=20, seed=SEED, strangers=2, broken="refuse_together")
    outcome = brew(options, database_url)
    print(describe(options, outcome))
    assert outcome.verdict.code == INVALID, describe(options, outcome)
    assert "R5" in {violation.promise for violation in outcome.verdict.violations}
