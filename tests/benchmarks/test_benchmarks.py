"""Benchmarks still run from end to end; the figures measured here mean nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.benchmarks import sides
from tests.benchmarks.__main__ import BENCHMARKS

SMALL = [sys.executable, "-m", "tests.benchmarks", "--scale", "tiny", "--json"]


@pytest.mark.sqlite
@pytest.mark.slow
@pytest.mark.timeout(300)  # it starts three servers
@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_tiny_benchmark_answers_every_case_and_loses_no_connection(name: str, redis_url: str) -> None:
    environment = {**os.environ, "REDIS_URL": redis_url, "BENCHMARK_DATABASES": "sqlite"}
    answer = subprocess.run(
        [*SMALL, name], cwd=sides.ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    (table,) = (json.loads(line) for line in answer.stdout.splitlines())
    assert table["rows"] and table["settings"]["database"].endswith("synchronous=FULL")
    for row in table["rows"]:
        assert (row["case"], row.get("lost", 0), row.get("refused", 0)) == (row["case"], 0, 0)
        assert row["median"] > 0 or "plain" in row["case"]
