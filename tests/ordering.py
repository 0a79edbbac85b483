"""Order of the tests: no process may be left alone at the end with a test of a minute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

# Of a slow test that does not say how slow it is.
SLOW_SECONDS = 20


def deal_slow(tests: Sequence[T], processes: int, read_seconds: Callable[[T], int]) -> list[T]:
    """Return the tests in an order in which each process begins with its share of the slow ones, the slowest first.

    pytest-xdist cuts the list into equal parts, one for each process. Later a process without work takes tests from
    the end of another one's part, where the quick ones are.
    """
    slow = sorted((test for test in tests if read_seconds(test)), key=read_seconds, reverse=True)
    quick = [test for test in tests if not read_seconds(test)]
    ordered: list[T] = []
    for process in range(processes):
        size = (len(tests) - len(ordered)) // (processes - process)
        mine = slow[process::processes]
        room = max(size - len(mine), 0)
        ordered += [*mine, *quick[:room]]
        del quick[:room]
    return ordered + quick
