"""Kill test: 20 clients, 20 SIGKILLs with a hundred requests unanswered, none lost, none doubled.

Whether the checker sees a broken build depends on what the clients were told, and on no database: one pass tries it.
"""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from tests.faults.check import INVALID, VALID
from tests.faults.run import Options, execute, report
from tests.services import Redis
from tests.settings import DATABASE

# Seconds before the first kill, and most seconds between two: a run goes on until enough has happened, and what longer
# pauses add is more of the same writes, and CPU time.
CALM, PAUSE = 0.3, 0.3
KILLS = int(os.environ.get("SESSION_MGMT_KILLS", "20"))
SEED = int(os.environ.get("SESSION_MGMT_SEED", "1"))
# Of twenty clients together still more than are demanded; each kill has all of them sent again.
PIPELINE = 8
# Beside those that are sent again: more of the same writes cost CPU time, and show nothing.
REST_AFTER = 1
FEW = Options(clients=10, kills=3, unanswered=60, calm=CALM, pause=PAUSE, seed=SEED)
# Two servers, from which others are taken away: what matters is who is told of it, and not how much is on its way.
AWAY = replace(FEW, servers=2, pipeline=4, unanswered=30, rest_after=REST_AFTER)
RESTORE = replace(FEW, kills=2, restore=True)

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.slow(90)
def test_no_write_is_lost_or_doubled_by_twenty_kills(database_url: str) -> None:
    options = Options(
        database=DATABASE, kills=KILLS, pipeline=PIPELINE, rest_after=REST_AFTER, calm=CALM, pause=PAUSE, seed=SEED
    )
    outcome = execute(options, database_url)
    print(report(options, outcome))
    assert outcome.verdict.code == VALID, report(options, outcome)


@pytest.mark.sqlite
def test_no_write_is_lost_or_doubled_where_logs_are_trimmed(database_url: str) -> None:
    kills = max(3, KILLS // 6)
    options = replace(
        FEW, database=DATABASE, kills=kills, rest_after=REST_AFTER, trim=20, outages=True, transport="any"
    )
    outcome = execute(options, database_url)
    print(report(options, outcome))
    assert outcome.verdict.code == VALID, report(options, outcome)


def test_no_base_of_a_lost_history_is_accepted_after_a_restored_backup(database_url: str) -> None:
    options = replace(RESTORE, database=DATABASE, transport="any")
    outcome = execute(options, database_url)
    print(report(options, outcome))
    assert outcome.verdict.code == VALID, report(options, outcome)


@pytest.mark.sqlite
def test_the_checker_catches_a_server_that_takes_the_number_of_a_lost_version_for_a_base(database_url: str) -> None:
    options = replace(RESTORE, kills=0, broken="accept_any_base", sought=frozenset({"S4"}))
    outcome = execute(options, database_url)
    print(report(options, outcome))
    assert "S4" in {violation.promise for violation in outcome.verdict.violations}, report(options, outcome)


@pytest.mark.redis
@pytest.mark.slow(40)
def test_nothing_is_lost_with_two_servers_while_redis_is_killed_and_flushed(
    database_url: str, redis_server: Redis
) -> None:
    options = replace(AWAY, database=DATABASE, kills=max(2, KILLS // 10), scale=True, turns=max(3, KILLS // 6))
    outcome = execute(options, database_url, redis_server)
    print(report(options, outcome))
    assert outcome.verdict.code == VALID, report(options, outcome)


@pytest.mark.postgres
@pytest.mark.slow(60)
def test_nothing_is_lost_and_no_topic_denied_while_postgres_restarts_pauses_and_ends_connections() -> None:
    options = replace(AWAY, database=DATABASE, kills=3, bell=True, outages=True)
    outcome = execute(options)
    print(report(options, outcome))
    assert outcome.verdict.code == VALID, report(options, outcome)


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("broken", "promises"),
    [
        ("ack_before_commit", {"S1", "S5", "T1", "T4"}),
        ("skip_fence", {"L4", "S6"}),
        ("double_drain", {"S6", "T3"}),
    ],
)
def test_the_checker_catches_a_broken_build(broken: str, promises: set[str], database_url: str) -> None:
    # Only a kill takes away what was acknowledged too soon.
    kills = FEW.kills if broken == "ack_before_commit" else 0
    options = replace(FEW, kills=kills, broken=broken, sought=frozenset(promises))
    outcome = execute(options, database_url)
    print(report(options, outcome))
    assert outcome.verdict.code == INVALID, report(options, outcome)
    assert promises & {violation.promise for violation in outcome.verdict.violations}


@pytest.mark.sqlite
def test_the_fence_holds_where_a_replaced_connection_is_not_told(database_url: str) -> None:
    options = replace(FEW, database=DATABASE, kills=1, broken="ignore_replacement")
    outcome = execute(options, database_url)
    assert outcome.verdict.code == VALID, report(options, outcome)
