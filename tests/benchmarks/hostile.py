"""Clients that ask and never read, beside one that works: what they cost the server, and what they cost the other."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from statistics import quantiles

import orjson

from tests import services
from tests.benchmarks import databases, machine, sides, wire
from tests.benchmarks.databases import Database
from tests.benchmarks.dialogue import Client
from tests.benchmarks.documents import MAIN, filled
from tests.benchmarks.peers import SUBPROTOCOL
from tests.benchmarks.report import Row, Table
from tests.benchmarks.scale import Scale

PER_SESSION = 10
DOCUMENT = 240_000
ROUND_SECONDS = 0.05
# Between two updates: the shipped limits allow 200 frames a second.
REST_SECONDS = 0.006
SHIPPED = {"BENCHMARK_SHIPPED_LIMITS": "1"}
_PING = b"\x89\x80" + bytes(4)


class Crowd:
    """Sockets of a thread of their own: each subscribes again and again to a document that it does not read."""

    def __init__(self, port: int, tokens: list[str], sockets: int) -> None:
        self._port, self._tokens = port, itertools.cycle(tokens)
        self._stopped = threading.Event()
        self.closed = 0
        self._sockets = [self._open() for _ in range(sockets)]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _open(self) -> socket.socket:
        one = socket.create_connection((services.HOST, self._port), 30)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.sendall(wire.handshake(self._port, sides.SESSION, SUBPROTOCOL))
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += one.recv(4096)
        connect = {"type": "connect", "token": next(self._tokens), "logs": {f"state:{MAIN}": None}}
        one.sendall(wire.text(orjson.dumps(connect)))
        # The last that it reads: it is known to be served.
        answer = b""
        while b'"type":"connected"' not in answer:
            answer += one.recv(4096)
            if b'"type":"bye"' in answer:
                raise ConnectionError(repr(answer[-300:]))
        one.setblocking(False)
        return one

    def _run(self) -> None:
        log = f"state:{MAIN}"
        for number in itertools.count():
            if self._stopped.wait(ROUND_SECONDS):
                return
            asked = wire.text(orjson.dumps({"type": "unsubscribe", "id": number, "log": log}))
            asked += wire.text(orjson.dumps({"type": "subscribe", "id": number, "log": log, "position": None}))
            for place, one in enumerate(self._sockets):
                try:
                    one.send(asked + _PING)
                except BlockingIOError:
                    continue
                except OSError:
                    self.closed += 1
                    one.close()
                    with contextlib.suppress(OSError):
                        self._sockets[place] = self._open()

    def close(self) -> None:
        self._stopped.set()
        self._thread.join()
        for one in self._sockets:
            one.close()


def run(scale: Scale) -> Iterator[Table]:
    """Return one table per database."""
    for opening in databases.all_databases():
        with opening as database:
            yield _table(replace(database, variables=database.variables | SHIPPED), scale)


def _table(database: Database, scale: Scale) -> Table:
    sockets = scale.unreading
    tokens = sides.prepared(database.variables, 1 + sockets // PER_SESSION)
    quiet: list[float] = []
    coming: list[float] = []
    loud: list[float] = []
    with sides.serving(database.variables) as server:
        for token in tokens:
            filled(server, token, DOCUMENT)
        worker = Client(server.port, sides.SESSION, tokens[0], {})
        _work(worker, scale.warm, [])
        before = _read_memory(server)
        for _ in range(scale.rounds):
            _work(worker, scale.seconds, quiet)
        crowd = Crowd(server.port, tokens[1:], sockets)
        with _watching(server) as memory:
            _work(worker, scale.seconds, coming)
            for _ in range(scale.rounds):
                _work(worker, scale.seconds, loud)
        crowd.close()
        worker.close()
    table = Table(f"hostile clients on {database.name}", "updates", _settings(database, scale))
    table.rows.append(_row("alone", quiet, None, {}))
    table.rows.append(_row(f"while {sockets} sockets begin", coming, quiet, {}))
    facts = {"grown MB": (max(memory) - before) / 2**20, "times closed": crowd.closed}
    table.rows.append(_row(f"beside {sockets} sockets that never read", loud, quiet, facts))
    return table


def _work(client: Client, seconds: float, latencies: list[float]) -> None:
    """Update one field, one request after the other, for so many seconds."""
    until = time.perf_counter() + seconds
    while (started := time.perf_counter()) < until:
        client.update(MAIN, f"value {started}")
        latencies.append(time.perf_counter() - started)
        time.sleep(REST_SECONDS)


@contextlib.contextmanager
def _watching(server: sides.AppServer) -> Iterator[list[float]]:
    """Read the server's memory ten times a second."""
    seen, over = [_read_memory(server)], threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            seen.append(_read_memory(server))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def _read_memory(server: sides.AppServer) -> float:
    assert server.process is not None
    return machine.resident_bytes(server.process.pid)


def _row(case: str, latencies: list[float], quiet: list[float] | None, facts: dict[str, float]) -> Row:
    p99 = _find_p99(latencies)
    facts = {"p99_ms": p99, **({"x quiet p99": p99 / _find_p99(quiet)} if quiet else {}), **facts}
    return Row(case, [len(latencies) / sum(latencies)], facts=facts)


def _find_p99(latencies: list[float]) -> float:
    return 1000 * (quantiles(latencies, n=100)[-1] if len(latencies) > 1 else latencies[0])


def _settings(database: Database, scale: Scale) -> dict[str, str]:
    return {
        "machine": machine.described(),
        "database": database.settings,
        "server": "one uvicorn process on one core with the limits that are shipped, " + " ".join(sides.options()),
        "load": f"one client, one update in flight, {1000 * REST_SECONDS:.0f} ms between two",
        "hostile": f"{scale.unreading} sockets of {scale.unreading // PER_SESSION} sessions that read nothing; each"
        f" leaves and follows a document of {DOCUMENT // 1000} KB and pings {1 / ROUND_SECONDS:.0f} times a second",
        "memory": "resident, at its highest, less than before they came",
        "rounds": f"{scale.rounds} of {scale.seconds} s each; one while they begin",
    }
