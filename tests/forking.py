"""Servers that are forked from a process which has imported their application: a start then costs no imports.

As a program: import the application, then carry out one order for each line of standard input, and end with it.

    python -m tests.forking project.asgi:application

A fork has nothing of an earlier server but imported modules, as under a server that preloads its application. A server
that was killed and is forked again finds what the database holds, and no more. Servers of the same settings come from
the same process, whatever database each is given.
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
# Variables of project/settings.py that name a database: each server is given its own.
URL, FILE = "DATABASE_URL", "SQLITE_PATH"
PLACE = ("NAME", "USER", "PASSWORD", "HOST", "PORT")
# Of this process, and of no server.
NOT_TOLD = "PYTEST_CURRENT_TEST"
# So many processes with an application are kept, each of 100 MB.
MOST_KEPT = 6


class Forked:
    """Server that somebody else has forked, with what is used of ``Popen``: nobody but its parent learns its code."""

    def __init__(self, args: Sequence[str], pid: int) -> None:
        self.args, self.pid = args, pid
        self.returncode: int | None = None
        self._ended = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """Return 0 once the process has ended."""
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """Return once the process has ended. Raises ``TimeoutExpired``."""
        if self._look(timeout) is None:
            raise subprocess.TimeoutExpired(list(self.args), timeout or 0)
        return 0

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._ended], [], [], timeout)[0]:
            self.returncode = 0
            os.close(self._ended)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal; harmless once the process has ended."""
        if self.poll() is None:
            signal.pidfd_send_signal(self._ended, number)


class Nursery:
    """Process that has imported an application with the given environment, and forks servers."""

    def __init__(self, application: str, environment: Mapping[str, str]) -> None:
        self._application = application
        self._folder = tempfile.TemporaryDirectory(prefix="session-mgmt-nursery-")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.forking", application],
            cwd=ROOT,
            env={**environment, FILE: str(Path(self._folder.name, "nobody.sqlite3"))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )

    def fork(self, command: Sequence[str], log: Path, database: Mapping[str, str]) -> Forked:
        """Start a server program on this database; what it says is added to the log."""
        assert self._process.stdin is not None and self._process.stdout is not None
        order = {"command": list(command), "log": str(log), "database": dict(database)}
        print(json.dumps(order), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self._application} could not be imported (see above).")
        return Forked(command, int(answer))

    def close(self) -> None:
        """End the process; servers that it has forked live on."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._folder.cleanup()


_kept: OrderedDict[tuple[str, frozenset[tuple[str, str]]], Nursery] = OrderedDict()


def fork_server(application: str, environment: Mapping[str, str], command: Sequence[str], log: Path) -> Forked:
    """Start a server, such as uvicorn, as the command would in this environment; the process that forks it has
    imported the application, and is kept for the next one.
    """
    settings = {name: value for name, value in environment.items() if name not in (URL, FILE, NOT_TOLD)}
    # Of a database only the kind decides what is imported.
    settings[URL] = "postgres:///nobody" if environment.get(URL) else ""
    key = (application, frozenset(settings.items()))
    if key not in _kept:
        while len(_kept) >= MOST_KEPT:
            _kept.popitem(last=False)[1].close()
        _kept[key] = Nursery(application, settings)
    _kept.move_to_end(key)
    return _kept[key].fork(command, log, {name: environment.get(name, "") for name in (URL, FILE)})


@atexit.register
def _close_kept() -> None:
    while _kept:
        _kept.popitem()[1].close()


def serve_orders(application: str, orders: IO[str], answers: IO[str]) -> None:
    """Fork a server for each line, and answer with its process id."""
    import uvicorn.importer
    import uvicorn.main

    import session_mgmt.uvicorn  # noqa: F401 - named in the arguments

    uvicorn.importer.import_from_string(application)
    # A fork has only the thread that forks: locks that others hold stay locked in it for ever.
    assert threading.active_count() == 1, threading.enumerate()
    signal.signal(signal.SIGCHLD, _collect_ended)
    for line in orders:
        order = json.loads(line)
        pid = os.fork()
        if not pid:
            _become_server(order)
        print(pid, file=answers, flush=True)


def _collect_ended(*_: object) -> None:
    """Wait for each server that has ended: no zombie stays, and its CPU time counts as the tests'."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _become_server(order: dict[str, Any]) -> None:
    # Its own children it has to wait for.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    log = os.open(str(order["log"]), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    _use_database(order["database"])
    # It exits as any program does, with what is registered for that.
    program, *arguments = order["command"]
    sys.argv = [program, *arguments]
    runpy.run_module(program, run_name="__main__", alter_sys=True)
    sys.exit()


def _use_database(variables: Mapping[str, str]) -> None:
    """Do what project/settings.py does with these variables, whose values it has read already."""
    from django.db import DEFAULT_DB_ALIAS, connections

    from project.databases import build_postgres, build_sqlite

    os.environ.update(variables)
    entry = build_postgres(variables[URL]) if variables[URL] else build_sqlite(Path(variables[FILE]))
    # The rest of the entry is not the database's but of the settings, which may have changed it.
    connections.settings[DEFAULT_DB_ALIAS].update({name: entry[name] for name in PLACE if name in entry})


if __name__ == "__main__":
    serve_orders(sys.argv[1], sys.stdin, sys.stdout)
