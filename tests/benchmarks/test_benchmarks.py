"""Benchmarks still run from end to end; the figures measured here mean nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from tests.benchmarks import processes, rivals, sides
from tests.benchmarks.__main__ import BENCHMARKS, main
from tests.sqlite_files import make_once

SMALL = ["tests.benchmarks", "--scale", "tiny", "--json"]
DURABLE = {"sqlite": "synchronous=FULL", "postgres": "fsync=on, synchronous_commit=on, full_page_writes=on"}
# A benchmark of several processes has none to compare on SQLite.
ON_POSTGRES = {"scale"}
# Of both classes for WebSockets; the others begin a server of only one, and so take half as long.
BOTH_WAYS = {"roundtrip"}
NEVER = ("lost", "refused", "unwanted", "doubled", "missing of each", "deaf after")


@pytest.fixture(scope="session")
def migrated() -> Path:
    """A file with the tables, for all benchmarks, in whatever process of the run they are."""
    return make_once("benchmarks.sqlite3", make_tables)


def make_tables(file: Path) -> None:
    command = [sys.executable, "-m", "tests.benchmarks.prepare", "0"]
    subprocess.run(command, cwd=sides.ROOT, env=sides.environment("", file), check=True, stdout=subprocess.DEVNULL)


@pytest.mark.sqlite
@pytest.mark.slow
@pytest.mark.timeout(600)  # it starts several servers
@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_tiny_benchmark_answers_every_case_and_loses_no_connection(
    name: str,
    redis_url: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    database = "postgres" if name in ON_POSTGRES else "sqlite"
    environment = {"REDIS_URL": redis_url, "BENCHMARK_DATABASES": database}
    # Other tests keep one of the cores busy, and nobody reads these figures.
    environment |= {"BENCHMARK_ANY_CORE": "1", "BENCHMARK_FORKED": "1"}
    if name not in BOTH_WAYS:
        environment["BENCHMARK_WS"] = rivals.OWN
    if database == "postgres":
        request.getfixturevalue("postgres_url")  # or a skip that says why there is none
    else:
        environment["BENCHMARK_MIGRATED"] = str(request.getfixturevalue("migrated"))
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    # In this process, so that the benchmarks share the one from which their servers are forked.
    monkeypatch.setattr(sys, "argv", [*SMALL, name])
    assert main() == 0
    (table,) = (json.loads(line) for line in capfd.readouterr().out.splitlines())
    assert table["rows"] and DURABLE[database] in table["settings"]["database"]
    for row in table["rows"]:
        # A peer may lose what was missed; that is its figure.
        is_peer = any(peer in row["case"] for peer in (rivals.PLAIN, rivals.SOCKET_IO))
        never = NEVER[:2] if is_peer else NEVER
        assert (row["case"], *(row.get(fact, 0) for fact in never)) == (row["case"], *(0 for _ in never))
        assert row["median"] > 0 or "plain" in row["case"]


@pytest.mark.sqlite
def test_a_redis_that_carries_doorbells_runs_while_it_is_measured(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It starts one of its own then.
    monkeypatch.delenv("REDIS_URL", raising=False)
    with processes.start_carriers() as carriers:
        assert [name for name, _ in carriers] == ["", "LISTEN", "Redis"]
        with redis.Redis.from_url(carriers[-1][1]["REDIS_URL"]) as client:
            assert client.ping()
