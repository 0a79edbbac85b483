"""Both sides of a benchmark: a server process on one core, and its load on another."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests import services
from tests.benchmarks import machine
from tests.forking import fork_server

ROOT = Path(__file__).resolve().parents[2]
PORTABLE = "websockets-sansio"
APPLICATION = "tests.benchmarks.asgi:application"


def options(way: str = "") -> list[str]:
    """Return uvicorn's options with a class for WebSockets: a name that it knows, or a path in Python."""
    way = way or os.environ.get("BENCHMARK_WS") or PORTABLE
    return ["--loop", "uvloop", "--ws", way, "--ws-per-message-deflate", "false", "--ws-max-size", "1048576"]


QUIET = ["--ws-ping-interval", "0", "--no-access-log", "--log-level", "warning"]
UPDATES, ROOM, SESSION = "/plain/updates/", "/plain/room/", "/ws/session/"


def environment(database_url: str, sqlite_path: Path, redis_url: str = "") -> dict[str, str]:
    """Return the variables of both sides, without the caller's own servers."""
    clean = {key: value for key, value in os.environ.items() if key not in {"DATABASE_URL", "REDIS_URL"}}
    clean |= {"DJANGO_SETTINGS_MODULE": "tests.benchmarks.settings", "SECRET_KEY": "for benchmarks only", "DEBUG": "0"}
    clean |= {"SQLITE_PATH": str(sqlite_path), "DATABASE_URL": database_url, "REDIS_URL": redis_url}
    return clean


def prepared(variables: Mapping[str, str], sessions: int, *sizes: int) -> list[str]:
    """Create the tables, so many sessions, and documents of the baseline. Return the sessions' tokens."""
    command = [sys.executable, "-m", "tests.benchmarks.prepare", str(sessions), *map(str, sizes)]
    answer = subprocess.run(command, cwd=ROOT, env=dict(variables), check=True, stdout=subprocess.PIPE, text=True)
    tokens: list[str] = json.loads(answer.stdout.splitlines()[-1])
    return tokens


class Server(services.Server):
    """Server process on its own core."""

    def popen_options(self) -> dict[str, object]:
        core = machine.cores()[0]
        return {"cwd": ROOT, "preexec_fn": lambda: os.sched_setaffinity(0, core)}


class AppServer(Server):
    """Benchmarks' application under uvicorn, with one of its classes for WebSockets."""

    def __init__(self, variables: Mapping[str, str], way: str = "") -> None:
        super().__init__()
        self.variables, self._way = dict(variables), way

    def launch(self) -> services.Process:
        if os.environ.get("BENCHMARK_FORKED"):
            # Nobody reads the figures of such a run: its servers may share the memory of what they import.
            return fork_server(APPLICATION, self.variables, self._list_words(), self.log)
        return super().launch()

    def command(self) -> list[str]:
        return [sys.executable, "-m", *self._list_words()]

    def _list_words(self) -> list[str]:
        return ["uvicorn", APPLICATION, "--host", services.HOST, "--port", str(self.port), *options(self._way), *QUIET]

    def popen_options(self) -> dict[str, object]:
        return {**super().popen_options(), "env": self.variables}

    def is_ready(self) -> bool:
        try:
            self.lane()
        except OSError:
            return False
        return True

    def lane(self) -> dict[str, int]:
        """Return the number of batches of the writer lane, and of their writes."""
        with urllib.request.urlopen(f"http://{services.HOST}:{self.port}/", timeout=5) as answer:
            done: dict[str, int] = json.load(answer)
        return done


def serving(variables: Mapping[str, str], way: str = "") -> contextlib.AbstractContextManager[AppServer]:
    """Start a server that ends with the block."""
    return services.running(AppServer(variables, way))


class Load:
    """Load of one server, or of several in turns; its connections stay open between rounds."""

    def __init__(
        self, servers: Server | Sequence[Server], kind: str, path: str, connections: int, tokens: list[str], **plan: Any
    ) -> None:
        self.servers = [servers] if isinstance(servers, Server) else list(servers)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.load"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        fixed = {"ports": [server.port for server in self.servers], "servers": self.numbers()}
        fixed["cores"] = sorted(machine.cores()[1])
        started = time.perf_counter()
        self.ask(kind=kind, path=path, connections=connections, tokens=tokens, **plan, **fixed)
        self.opening_seconds = time.perf_counter() - started

    def numbers(self) -> list[int]:
        """Return the process ids of the servers, which change when one is started again."""
        return [server.process.pid for server in self.servers if server.process is not None]

    def run(self, **round_: Any) -> dict[str, Any]:
        """Run one round and return its work, seconds, CPU of both sides, latencies, and the lanes' batches."""
        before = self._lanes()
        result = self.ask(**round_)
        return result | {name: count - before[name] for name, count in self._lanes().items()}

    def _lanes(self) -> Counter[str]:
        counted = Counter[str]()
        for server in self.servers:
            assert isinstance(server, AppServer)
            counted.update(server.lane())
        return counted

    def ask(self, **line: Any) -> dict[str, Any]:
        """Have one line of the plan or one round carried out."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps(line), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("The load generator ended early.")
        result: dict[str, Any] = json.loads(answer)
        return result

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()
