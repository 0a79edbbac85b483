"""Ports of tests: each is given once, and no test lets the system choose one."""

from __future__ import annotations

import fcntl
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ports
from tests.ports import list_numbers, take_port

ROOT = Path(__file__).resolve().parents[2]
TAKE = "from tests.ports import take_port\nprint(*(take_port() for _ in range(20)))"
# Zero where a port belongs, and the question which number that came to.
CHOSEN_BY_SYSTEM = re.compile(
    r"""\b (?: bind | serve | start | start_server | create_server | \w*HTTPServer ) \(
    [^)]* (?: HOST | host | ["'] ) , \s* 0 \b
    | \b port \s* [=:] \s* 0 \b | ["']--port["'], \s* ["']0 | \.listen\( (?: 0 | \) )
    | (?: localhost | [\d.]{7,} | \] ) :0\b
    | getsockname | \.address\(\)""",
    re.VERBOSE,
)


def find_chosen(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if CHOSEN_BY_SYSTEM.search(line)]


@pytest.fixture
def port() -> int:
    """A number of this test alone; asked for before the counter is another one."""
    return take_port()


@pytest.fixture
def counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A counter that no other process moves."""
    path = tmp_path / "counter"
    monkeypatch.setattr(ports, "COUNTER", path)
    return path


def test_processes_are_given_different_numbers_none_of_which_an_outgoing_connection_gets() -> None:
    command = [sys.executable, "-S", "-c", TAKE]
    running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    given = [int(number) for process in running for number in process.communicate()[0].split()]
    assert len(set(given)) == len(given) == 60
    lowest, highest = map(int, ports.OUTGOING.read_text().split())
    assert set(given) <= set(list_numbers()) and set(given).isdisjoint(range(lowest, highest + 1))


def test_one_process_at_a_time_chooses(counter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []

    def look(port: int) -> bool:
        with counter.open() as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        looked.append(port)
        return len(looked) == 2

    monkeypatch.setattr(ports, "_is_free", look)
    assert take_port() == looked[1] == looked[0] + 1


def test_a_number_that_somebody_listens_on_is_passed_over(port: int, counter: Path) -> None:
    with socket.create_server(("127.0.0.1", port)):
        counter.write_text(str(port - 1))
        assert take_port() != port
    counter.write_text(str(port - 1))
    assert take_port() == port


def test_after_the_last_number_comes_the_first(counter: Path) -> None:
    counter.write_text(str(list_numbers()[-1]))
    assert take_port() in list_numbers()[:-1]


@pytest.mark.parametrize(
    ("outgoing", "expected"),
    [
        ("32768\t60999\n", range(20_000, 30_000)),
        ("25000 60999", range(20_000, 25_000)),
        ("15000 60999", range(61_000, 65_536)),
        ("1024 65535", range(20_000, 30_000)),
        (None, range(20_000, 30_000)),
    ],
)
def test_the_numbers_are_none_of_outgoing_connections(
    outgoing: str | None, expected: range, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "OUTGOING", tmp_path / "range")
    if outgoing is not None:
        ports.OUTGOING.write_text(outgoing)
    assert list_numbers() == expected


@pytest.mark.parametrize(
    "line",
    [
        'start_server(serve, "127.0.0.1", 0)',
        "start_server(serve, services.HOST, 0, limit=1)",
        'probe.bind(("", 0))',
        'ThreadingHTTPServer(("127.0.0.1", 0), Handler)',
        'probe.bind(("::1", 0))',
        "uvicorn.Config(application, port=0)",
        '["demo", "--port", "0"]',
        'http.listen(0, "127.0.0.1");',
        "http.listen({ port: 0 });",
        "http.listen()",
        "server.address().port",
        'bind = "127.0.0.1:0"',
        "listening.sockets[0].getsockname()[1]",
    ],
)
def test_a_line_that_lets_the_system_choose_is_found(line: str) -> None:
    assert find_chosen(f"first\n  {line}\n") == [line]


def test_no_test_lets_the_system_choose_a_port() -> None:
    files = [path for kind in ("*.py", "*.mjs") for path in (ROOT / "tests").rglob(kind)]
    files += (ROOT / "session_mgmt/js/tests").rglob("*.ts")
    found = {
        str(path.relative_to(ROOT)): lines
        for path in files
        if "node_modules" not in path.parts
        and path != Path(__file__)
        and (lines := find_chosen(path.read_text(encoding="utf-8")))
    }
    assert found == {}, "tests.ports.take_port gives a number that nobody else gets"
