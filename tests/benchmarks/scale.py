"""Amount of work of a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """Counts and seconds of one run; all are bounded, and so is a run."""

    rounds: int = 3
    seconds: float = 4.0
    warm: float = 1.0
    creations: int = 300
    connections: int = 64
    window: int = 16
    listeners: int = 1000
    publications: int = 4
    changes: int = 1200
    rewrites: int = 10
    returns: int = 40
    large: int = 5_000_000
    sessions: int = 100_000
    guests: int = 1000
    members: int = 5000
    missed: int = 50
    killed: int = 500
    beats: float = 25.0
    settle: float = 1.0
    outbox: int = 4000
    processes: tuple[int, ...] = (1, 2, 4)
    variants: int = 3
    unreading: int = 50


FULL = Scale()
QUICK = Scale(
    rounds=3,
    seconds=1.5,
    warm=0.5,
    creations=80,
    changes=600,
    rewrites=4,
    returns=10,
    sessions=10_000,
    guests=300,
    killed=150,
    outbox=1000,
)
TINY = Scale(
    rounds=1,
    seconds=0.4,
    warm=0.05,
    creations=3,
    connections=4,
    window=2,
    listeners=10,
    publications=2,
    changes=6,
    rewrites=1,
    returns=2,
    large=50_000,
    sessions=200,
    guests=8,
    members=20,
    missed=4,
    killed=6,
    beats=0.3,
    settle=0.1,
    outbox=8,
    processes=(2,),
    variants=1,
    unreading=10,
)
