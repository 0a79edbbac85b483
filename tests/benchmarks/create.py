"""Process that creates sessions and prints the rate of each round of each case as JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable

import django

from tests.benchmarks import machine

django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402

from session_mgmt.actions.sessions import lifecycle  # noqa: E402

METADATA = {"agent": "benchmark", "locale": "en"}


def contrib() -> None:
    """Create a session like a view that reads a key first and then stores a value."""
    store = SessionStore()
    store.create()
    store.update(METADATA)
    store.save()


def contrib_once() -> None:
    """Create a session at the least cost."""
    store = SessionStore()
    store.update(METADATA)
    store.save()


def ours() -> None:
    lifecycle.create_session(metadata=METADATA)


def ours_of_user() -> Callable[[], None]:
    """Create sessions of several users in turn, so that no user reaches the limit."""
    users = [get_user_model().objects.create(username=f"user {os.getpid()} {number}") for number in range(100)]
    turn = iter(range(10**9))

    def create() -> None:
        lifecycle.create_session(user=users[next(turn) % len(users)], metadata=METADATA)

    return create


def rate(create: Callable[[], None], count: int) -> float:
    """Return the number of sessions per second."""
    started = time.perf_counter()
    for _ in range(count):
        create()
    return count / (time.perf_counter() - started)


def main(rounds: int, count: int, names: list[str]) -> dict[str, list[float]]:
    """Run rounds of all cases in turn, after one that only warms up."""
    os.sched_setaffinity(0, machine.cores()[0])
    cases = {"contrib": contrib, "contrib_once": contrib_once, "ours": ours, "ours_of_user": ours_of_user()}
    for name in names:
        rate(cases[name], max(1, count // 10))
    rates: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            rates[name].append(rate(cases[name], count))
    return rates


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])))
