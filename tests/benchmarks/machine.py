"""Machine of a benchmark, and its division: server on one core, load on another."""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path


def cores() -> tuple[set[int], set[int]]:
    """Return the cores of the server and of the load; the same set if there is only one, or if anyone may be used."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2 or os.environ.get("BENCHMARK_ANY_CORE"):
        return set(usable), set(usable)
    return {usable[0]}, {usable[1]}


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and all its threads, from the scheduler's own account."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def resident_bytes(pid: int) -> float:
    """Return the resident memory of a process."""
    return 1024.0 * int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0])


def count_threads(pid: int) -> int:
    """Return the number of threads of a process."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("Threads:")[2].split()[0])


def children(pid: int) -> list[int]:
    """Return the child processes of a process."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def family_seconds(pid: int) -> float:
    """Return the CPU time of a process and its children, ended ones included, in steps of 10 ms."""
    total = 0
    for one in (pid, *children(pid)):
        with contextlib.suppress(OSError):
            # utime, stime, cutime and cstime of proc(5).
            total += sum(map(int, Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()[11:15]))
    return total / os.sysconf("SC_CLK_TCK")


def described() -> str:
    """Describe processor, cores, system and Python."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    processor = names[0].partition(": ")[2] if names else platform.machine()
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{processor}, {os.cpu_count()} cores, {system}"
