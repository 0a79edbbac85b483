"""Servers that are forked from a process which has imported their application: a start then costs no imports.

As a program: set Django up, then carry out one order for each line of standard input, and end with it.

    python -m tests.forking

Orders of the first process are for further ones, each with an application and settings of its own: what all of them
import before it is imported once. Those fork the servers. A fork has nothing of an earlier server but imported
modules, as under a server that preloads its application. A server that was killed and is forked again finds what the
database holds, and no more. Servers of the same settings come from the same process, whatever database each is given.
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
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
# Variables of project/settings.py that name a database: each server is given its own.
URL, FILE = "DATABASE_URL", "SQLITE_PATH"
PLACE = ("NAME", "USER", "PASSWORD", "HOST", "PORT")
# What may change the settings of a process that has set Django up: variables of the tests' settings, and of Redis.
LATE, REDIS = "SESSION_MGMT_TEST_", "REDIS_URL"
# Of this process, and of no server.
NOT_TOLD = "PYTEST_CURRENT_TEST"
# So many processes that have set Django up are kept, each of 100 MB; what they fork shares most of that.
MOST_KEPT = 3


class Forked:
    """Server that somebody else has forked, with what is used of ``Popen``: nobody but its parent learns its code."""

    def __init__(self, args: Sequence[str], pid: int) -> None:
        self.args, self.pid = args, pid
        self.returncode: int | None = None
        self._ended = -1
        try:
            self._ended = os.pidfd_open(pid)
        except ProcessLookupError:
            # It ended at once, and its parent has collected it: what it said is in its log.
            self.returncode = 0

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


class Line:
    """Process that is given orders, a line each, and answers each with the number of the process that it forked."""

    def __init__(self, what: str, orders: IO[str], answers: IO[str]) -> None:
        self._what, self._orders, self._answers = what, orders, answers

    def give(self, **order: Any) -> int:
        """Give an order. Raises ``RuntimeError`` if the process has failed."""
        answer = ""
        with suppress(BrokenPipeError):
            print(json.dumps(order), file=self._orders, flush=True)
            answer = self._answers.readline()
        if not answer:
            raise RuntimeError(f"{self._what} could not be imported (see above).")
        return int(answer)

    def close(self) -> None:
        """Let the process end; servers that it has forked live on."""
        with suppress(BrokenPipeError):
            self._orders.close()
        # It closes its end when it ends.
        self._answers.read()
        self._answers.close()


class Nursery:
    """Process that has set Django up with the given environment, and those that it forked for applications."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="session-mgmt-nursery-")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.forking"],
            cwd=ROOT,
            env={**environment, FILE: str(Path(self._folder.name, "nobody.sqlite3"))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._line = Line("Django", self._process.stdin, self._process.stdout)
        self._applications: dict[tuple[str, frozenset[tuple[str, str]]], Line] = {}

    def fork(self, application: str, late: Mapping[str, str], **server: Any) -> int:
        """Start a server of an application with these variables, and return its process id."""
        key = (application, frozenset(late.items()))
        if key not in self._applications:
            self._applications[key] = self._fork_application(application, late)
        return self._applications[key].give(**server)

    def _fork_application(self, application: str, late: Mapping[str, str]) -> Line:
        pipes = [Path(self._folder.name, f"{name}-{len(self._applications)}") for name in ("orders", "answers")]
        for pipe in pipes:
            os.mkfifo(pipe)
        self._line.give(application=application, variables=dict(late), pipes=[str(pipe) for pipe in pipes])
        # Each waits for the other end to be opened, in the same order.
        return Line(application, pipes[0].open("w"), pipes[1].open())

    def close(self) -> None:
        """End the processes; servers that they have forked live on."""
        for line in (*self._applications.values(), self._line):
            line.close()
        self._process.wait()
        self._folder.cleanup()


_kept: OrderedDict[frozenset[tuple[str, str]], Nursery] = OrderedDict()
# Two threads may order at once, and each must be given the answer to its own order.
_ordering = threading.Lock()


def fork_server(application: str, environment: Mapping[str, str], command: Sequence[str], log: Path) -> Forked:
    """Start a server, such as uvicorn, as the command would in this environment; the process that forks it has
    imported the application, and is kept for the next one.
    """
    database = {name: environment.get(name, "") for name in (URL, FILE)}
    late = {name: value for name, value in environment.items() if name.startswith(LATE) or name == REDIS}
    settings = {name: environment[name] for name in environment.keys() - {*database, *late, NOT_TOLD}}
    # Of a database only the kind decides what is imported.
    settings[URL] = "postgres:///nobody" if database[URL] else ""
    key = frozenset(settings.items())
    with _ordering:
        if key not in _kept:
            while len(_kept) >= MOST_KEPT:
                _kept.popitem(last=False)[1].close()
            _kept[key] = Nursery(settings)
        _kept.move_to_end(key)
        pid = _kept[key].fork(application, late, command=list(command), log=str(log), database=database)
    return Forked(command, pid)


@atexit.register
def _close_kept() -> None:
    while _kept:
        _kept.popitem()[1].close()


def serve_orders() -> None:
    """Set Django up, and fork a process for each application that is ordered."""
    import django

    import_module("uvicorn.main")
    # Named in the arguments of servers.
    import_module("session_mgmt.uvicorn")
    django.setup()
    _fork_for_each(sys.stdin, sys.stdout, _become_nursery)


def _become_nursery(order: dict[str, Any]) -> None:
    # In place of the pipes of the first process, whose other end would never see them closed.
    orders, answers = order["pipes"]
    _put_in_place(0, os.open(orders, os.O_RDONLY))
    _put_in_place(1, os.open(answers, os.O_WRONLY))
    _change_settings(order["variables"])
    import_module("uvicorn.importer").import_from_string(order["application"])
    with open(0, closefd=False) as lines, open(1, "w", closefd=False) as said:
        _fork_for_each(lines, said, _become_server)
    sys.exit()


def _put_in_place(target: int, source: int) -> None:
    os.dup2(source, target)
    os.close(source)


def _fork_for_each(orders: IO[str], answers: IO[str], become: Callable[[dict[str, Any]], None]) -> None:
    """Fork for each line, and answer with the process id."""
    # A fork has only the thread that forks: locks that others hold stay locked in it for ever.
    assert threading.active_count() == 1, threading.enumerate()
    signal.signal(signal.SIGCHLD, _collect_ended)
    for line in orders:
        pid = os.fork()
        if not pid:
            become(json.loads(line))
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


def _change_settings(variables: Mapping[str, str]) -> None:
    """Let settings be what they would be with these variables, as ``override_settings`` does."""
    conf, signals = import_module("django.conf"), import_module("django.core.signals")
    os.environ.update(variables)
    for name in {"project.settings", conf.settings.SETTINGS_MODULE}:
        sys.modules.pop(name, None)
    fresh = import_module(conf.settings.SETTINGS_MODULE)
    for name in filter(str.isupper, dir(fresh)):
        value = getattr(fresh, name)
        # A database is changed where it is opened.
        if name != "DATABASES" and value != getattr(conf.settings, name, None):
            setattr(conf.settings, name, value)
            signals.setting_changed.send(sender=conf.settings, setting=name, value=value, enter=True)
    _open_as(fresh.DATABASES)


def _use_database(variables: Mapping[str, str]) -> None:
    """Do what project/settings.py does with these variables, whose values it has read already."""
    databases = import_module("project.databases")
    os.environ.update(variables)
    url, file = variables[URL], variables[FILE]
    entry = databases.build_postgres(url) if url else databases.build_sqlite(Path(file))
    # The rest of the entry is not the database's but of the settings, which may have changed it.
    _open_as({"default": {name: entry[name] for name in PLACE if name in entry}})


def _open_as(databases: Mapping[str, Any]) -> None:
    connections = import_module("django.db").connections
    for alias, entry in databases.items():
        connections.settings[alias].update(entry)


if __name__ == "__main__":
    serve_orders()
