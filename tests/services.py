"""Real PostgreSQL and Redis servers for tests, fault tests and benchmarks: no root, no Docker, standard library only.

Where a server comes from, in this order: DATABASE_URL / REDIS_URL (used as given), a program on this machine, the
program inside a PyPI wheel (tests/programs.py).

    with services.postgres() as server:      # .url .kill() .pause() .resume() .restart()
        ...

From a shell, with DATABASE_URL and REDIS_URL set for the command:

    python -m tests.services [--durable] postgres redis -- COMMAND ...
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import glob
import os
import pwd
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias, TypeVar

from tests import forking, programs
from tests.canary import check_log
from tests.ports import take_port

HOST = "127.0.0.1"
START_SECONDS = 180
STOP_SECONDS = 20
SHOWN_LINES = 60
# That PostgreSQL gives.
CONNECTIONS = 200

# Waits for its standard input to close, which happens however its parent dies, and then ends the server.
REAPER = "import os, sys; sys.stdin.read(); os.kill(int(sys.argv[1]), 9)"


Process: TypeAlias = "subprocess.Popen[bytes] | forking.Forked"
ServerT = TypeVar("ServerT", bound="Server")

# What servers said that have ended since the last test began, for a test that fails.
ended: list[tuple[str, str]] = []
_started: list[Server] = []


def list_logs() -> list[tuple[str, str]]:
    """List servers with the end of what each has said: those that run, and those that have just ended."""
    return ended + [server.tell() for server in _started]


def wait_until(ready: Callable[[], bool], process: Process, log: Path) -> None:
    """Block until `ready()`; RuntimeError with the end of the log when the process ends or START_SECONDS pass."""
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            tail = log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{process.args!r} did not become ready (exit {process.returncode}):\n{tail}")
        time.sleep(0.02)


class Server:
    """One server process on a loopback port, with its files in a scratch folder; `url` reaches it."""

    scheme = ""
    stop_signal = signal.SIGTERM

    def __init__(self, durable: bool = False) -> None:
        self.durable = durable
        self.port = take_port()
        self.folder = Path(tempfile.mkdtemp(prefix="session-mgmt-server-"))
        self.log = self.folder / "log"
        self.process: Process | None = None
        self.reaper: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)

    @property
    def url(self) -> str:
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    def is_ready(self) -> bool:
        raise NotImplementedError

    def popen_options(self) -> dict[str, object]:
        return {}

    def start(self) -> None:
        """Start on the same port and files as before; returns when the server answers."""
        self.process = self.launch()
        if self not in _started:
            _started.append(self)
        self.reaper = subprocess.Popen(
            [sys.executable, "-SEc", REAPER, str(self.process.pid)], stdin=subprocess.PIPE, start_new_session=True
        )
        wait_until(self.is_ready, self.process, self.log)

    def launch(self) -> Process:
        """Start the process, as the leader of a session of its own."""
        with self.log.open("ab") as log:
            process: Process = subprocess.Popen(  # type: ignore[call-overload]
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C ends the tests first, and they end the server
                **self.popen_options(),
            )
        return process

    def family(self) -> list[int]:
        """The process and its children: PostgreSQL's back ends are sessions of their own, so no group holds them."""
        assert self.process is not None
        found = [self.process.pid]
        for stat in glob.glob("/proc/[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = Path(stat).read_text().rpartition(")")[2].split()
                if int(fields[1]) == self.process.pid:
                    found.append(int(stat.split("/")[2]))
        return found

    def signal_all(self, number: signal.Signals) -> None:
        for pid in self.family():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def pause(self) -> None:
        """Stop scheduling it: connections stay open and nothing answers."""
        self.signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal_all(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, as a crash; `start()` brings it back with whatever was durable."""
        assert self.process is not None
        # A process that is stopped has no more children.
        self.process.send_signal(signal.SIGSTOP)
        ends = []
        for pid in self.family():
            with contextlib.suppress(ProcessLookupError):
                ends.append(os.pidfd_open(pid))
        self.signal_all(signal.SIGKILL)
        self.wait()
        # On a busy machine, later: PostgreSQL does not start as long as a back end of the last one lives.
        for end in ends:
            select.select([end], [], [])
            os.close(end)

    def stop(self) -> None:
        """An orderly end, by force after STOP_SECONDS."""
        if self.process is None:
            return
        self.resume()
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.signal_all(signal.SIGKILL)
        self.wait()

    def wait(self) -> None:
        """Collect the process, and before it the reaper, whose number could by then belong to somebody else."""
        assert self.process is not None and self.reaper is not None
        self.reaper.kill()
        self.reaper.communicate()
        self.process.wait()
        self.process = self.reaper = None

    def restart(self) -> None:
        """An orderly stop and a start on the same port."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop, look at the log, and remove every file; harmless when repeated."""
        atexit.unregister(self.close)
        self.stop()
        if self in _started:
            _started.remove(self)
            ended.append(self.tell())
        check_log(self.log)
        shutil.rmtree(self.folder, ignore_errors=True)

    def tell(self) -> tuple[str, str]:
        """Return what this server is, and the last lines of its log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return f"{type(self).__name__} on port {self.port}", "\n".join(lines[-SHOWN_LINES:])


class Postgres(Server):
    """PostgreSQL with one superuser, `postgres`, and no password. `durable` keeps fsync on.

    `model` is a server that has been stopped: this one begins with a copy of its databases.
    """

    stop_signal = signal.SIGINT  # "fast": does not wait for clients to leave

    def __init__(self, durable: bool = False, model: Postgres | None = None, connections: int = CONNECTIONS) -> None:
        binaries = programs.postgres()
        super().__init__(durable)
        self.connections = connections
        self.data = self.folder / "data"
        self.account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None  # the server refuses to run as root
        if self.account:
            os.chown(self.folder, self.account.pw_uid, self.account.pw_gid)
            binaries = within_reach(binaries, self.folder)
        self.binaries = binaries
        if model is None:
            self.initialise()
        else:
            # With owner and modes, without which the server does not start.
            subprocess.run(["cp", "-a", str(model.data), str(self.data)], check=True)

    @property
    def url(self) -> str:
        return f"postgres://postgres@{HOST}:{self.port}/postgres"

    def popen_options(self) -> dict[str, object]:
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("LC_", "PG")) and name not in {"LANG", "LANGUAGE"}
        }
        options: dict[str, object] = {"cwd": self.folder, "env": environment}
        if self.account:
            options |= {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}
        return options

    def initialise(self) -> None:
        arguments = ["--locale=C", "-A", "trust", "-E", "UTF8", "-U", "postgres", "--no-sync", "-D", str(self.data)]
        result = subprocess.run(  # type: ignore[call-overload]
            [str(self.binaries / "initdb"), *arguments], capture_output=True, text=True, **self.popen_options()
        )
        if result.returncode:
            raise RuntimeError(f"initdb failed:\n{result.stdout}{result.stderr}")

    def command(self) -> list[str]:
        options = [f"max_connections={self.connections}", "listen_addresses=" + HOST, "unix_socket_directories="]
        if not self.durable:
            # synchronous_commit stays on: without it a SIGKILL of the server takes acknowledged commits with it.
            options += ["fsync=off", "full_page_writes=off"]
        flags = [flag for option in options for flag in ("-c", option)]
        return [str(self.binaries / "postgres"), "-D", str(self.data), "-p", str(self.port), *flags]

    def is_ready(self) -> bool:
        """The last line of postmaster.pid, as pg_ctl reads it; its first tells a stale file from a crash apart."""
        assert self.process is not None
        try:
            lines = (self.data / "postmaster.pid").read_text().split("\n")
        except OSError:
            return False
        return lines[0] == str(self.process.pid) and len(lines) > 7 and lines[7].strip() == "ready"


class Redis(Server):
    """Redis without snapshots: a kill loses everything, unless `durable` turns the append-only file on."""

    def __init__(self, durable: bool = False) -> None:
        self.program = programs.redis()
        super().__init__(durable)

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def command(self) -> list[str]:
        files = ["--dir", str(self.folder), "--save", "", "--appendonly", "yes" if self.durable else "no"]
        return [str(self.program), "--bind", HOST, "--port", str(self.port), *files]

    def is_ready(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), timeout=20) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        return False


def within_reach(binaries: Path, folder: Path) -> Path:
    """`binaries`, or a copy in `folder` when another user could not walk to it, as in a home of mode 0700."""
    if all(parent.stat().st_mode & 0o001 for parent in binaries.parents):
        return binaries
    tree = binaries.parent
    # The programs find their libraries by a path relative to themselves: <package>/../<package>.libs.
    copy = folder / "programs" / tree.parent.name / tree.name
    shutil.copytree(tree, copy, symlinks=True)
    libraries = tree.parent.with_name(tree.parent.name + ".libs")
    if libraries.is_dir():
        shutil.copytree(libraries, folder / "programs" / libraries.name)
    return copy / binaries.name


@contextlib.contextmanager
def running(server: ServerT) -> Iterator[ServerT]:
    try:
        server.start()
        yield server
    finally:
        server.close()


def postgres(durable: bool = False) -> contextlib.AbstractContextManager[Postgres]:
    """A PostgreSQL server of one's own; Unavailable (tests.programs) when there is none."""
    return running(Postgres(durable))


def redis(durable: bool = False) -> contextlib.AbstractContextManager[Redis]:
    """A Redis server of one's own; Unavailable (tests.programs) when there is none."""
    return running(Redis(durable))


STARTERS = {"postgres": ("DATABASE_URL", postgres), "redis": ("REDIS_URL", redis)}


def main() -> int:
    parser = argparse.ArgumentParser(description="Run a command with real servers around it.")
    parser.add_argument("--durable", action="store_true", help="fsync and the append-only file on, as benchmarks need")
    parser.add_argument("services", nargs="+", choices=sorted(STARTERS))
    own, command = sys.argv[1:], []
    if "--" in own:
        cut = own.index("--")
        own, command = own[:cut], own[cut + 1 :]
    arguments = parser.parse_args(own)
    environment = dict(os.environ)
    with contextlib.ExitStack() as stack:
        for name in arguments.services:
            variable, starter = STARTERS[name]
            if not environment.get(variable):
                environment[variable] = stack.enter_context(starter(arguments.durable)).url
            print(f"{variable}={environment[variable]}", flush=True)
        if command:
            return subprocess.run(command, env=environment).returncode
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main())
