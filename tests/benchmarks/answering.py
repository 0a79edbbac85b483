"""Process beside a benchmark that is asked by lines, and answers each with a line of JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from tests.benchmarks import sides
from tests.benchmarks.databases import Database


class AnsweringProcess:
    """Process with a filled database; it says a first line when it is ready."""

    def __init__(self, module: str, *arguments: object, database: Database, cores: set[int] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)],
            cwd=sides.ROOT,
            env=database.variables | {"BENCHMARK_PERSISTENT": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=None if cores is None else lambda: os.sched_setaffinity(0, cores),
        )
        self._hear()

    def ask(self, *words: object) -> dict[str, Any]:
        """Return the answer to a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        return self._hear()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        self._process.communicate()
