"""Servers that are killed at every point at which they may have written and not said so, or not written yet."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.faults.nemesis import BUSY_SECONDS, Nemesis
from tests.faults.points import PHASES, place_orders
from tests.faults.workload import until

# Where the servers of the runs commit: writes with the outbox, connects, ends of connections, presence, activity and
# leases, receipts, heard events, what is told of presence, and what keeps logs short.
POINTS = (
    "group_commit.write_group",
    "sessions.closing.close_connections",
    "sessions.connections.forget_receipts",
    "sessions.connections.renew_leases",
    "sessions.hearing.keep_heard",
    "sessions.lifecycle.count_activity_at",
    "sessions.resume.attach_group",
    "state.compaction._Group._drop_snapshots",
    "state.snapshots._write_snapshots",
    "topics.presence.move_all",
    "topics.telling.tell_changes",
)

# Threads of one server that may come to their points at the same moment: then one kill is the end of several orders.
AT_ONCE = 4


class Sweeper:
    """Orders one server to end itself at each point, before and after its COMMIT, and starts it again each time."""

    def __init__(self, nemesis: Nemesis, sqlite: Path, points: Sequence[str]) -> None:
        self._nemesis, self._orders, self._points = nemesis, place_orders(sqlite), points

    async def torment(self) -> None:
        """Let it end wherever it comes first of all that is left, until nothing is."""
        nemesis = self._nemesis
        (server,) = nemesis.servers
        # Given only while it serves: its start commits, too.
        kept = self._orders.with_suffix(".kept")
        kept.mkdir()
        for point in self._points:
            for phase in PHASES:
                (kept / f"{point} {phase}").touch()
        while left := sorted(order.name for order in kept.iterdir()):
            process = server.process
            assert process is not None
            kept.rename(self._orders)
            is_gone = await until(lambda: process.poll() is not None, BUSY_SECONDS)  # noqa: B023 - until it returns
            self._orders.rename(kept)
            if not is_gone:
                nemesis.history.add("nemesis", "calm", why=f"no server came to {', '.join(left)}")
                break
            nemesis.collect(server)
            await nemesis.begin(server)
        shutil.rmtree(kept)
        if not await nemesis.all_served():
            nemesis.history.add("nemesis", "calm", why="not every client came back")


def count_deaths(points: Sequence[str]) -> int:
    """Return how many servers end at these points, at the least."""
    return max(0, len(points) * len(PHASES) - AT_ONCE)
