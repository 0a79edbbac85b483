"""Calls over HTTP and changes of the transport lose and double nothing: what the checker of the kill test says of them.

By hand: ``python -m tests.faults --transport http --kills 30``, ``--transport longpoll --cuts 30``, and
``--transport any --switching 0.5 --switches 300 --cuts 30``.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.faults.check import INVALID, VALID
from tests.faults.run import Options, execute, report
from tests.settings import DATABASE

FEW = Options(clients=5, kills=0, unanswered=0, calm=0.2, pause=0.3, transport="http")
KILLED = replace(FEW, database=DATABASE, kills=3, unanswered=25, servers=2)
# Each cut ends all attachments, and each next one is by another transport; the clients go on changing theirs after it.
CHANGING = replace(FEW, database=DATABASE, transport="any", cuts=5, switching=0.3, switches=6 * FEW.clients)

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(600)]


def judge(options: Options, database_url: str) -> None:
    outcome = execute(options, database_url)
    print(report(options, outcome))
    assert outcome.verdict.code == VALID, report(options, outcome)


def test_two_servers_without_a_broker_answer_any_call_once_while_they_are_killed(database_url: str) -> None:
    judge(KILLED, database_url)


def test_everything_arrives_once_while_connections_are_cut_and_every_client_changes_its_transport(
    database_url: str,
) -> None:
    judge(CHANGING, database_url)


@pytest.mark.sqlite
@pytest.mark.parametrize(("broken", "promises"), [("skip_fence", {"L4", "S6"}), ("double_drain", {"S6", "T3"})])
def test_the_checker_catches_a_broken_build_over_http(broken: str, promises: set[str], database_url: str) -> None:
    options = replace(FEW, broken=broken, sought=frozenset(promises))
    outcome = execute(options, database_url)
    assert outcome.verdict.code == INVALID, report(options, outcome)
    assert promises & {violation.promise for violation in outcome.verdict.violations}


@pytest.mark.sqlite
def test_the_checker_catches_all_by_which_readers_are_misled(database_url: str) -> None:
    sought = frozenset({"T2", "T3", "P1", "T8"})
    options = replace(FEW, transport="any", switching=0.3, broken="mislead_readers", sought=sought, each=True)
    outcome = execute(options, database_url)
    found = {violation.promise for violation in outcome.verdict.violations}
    assert sought <= found, report(options, outcome)
    told = " ".join(violation.text for violation in outcome.verdict.violations)
    assert all(words in told for words in ("as a page of", "of its part", "does not have")), told
